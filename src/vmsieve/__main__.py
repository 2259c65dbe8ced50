"""``python -m vmsieve``: the command line."""

from vmsieve.pipeline.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
