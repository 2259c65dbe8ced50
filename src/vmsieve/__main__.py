"""``python -m vmsieve``: the command line."""

from vmsieve.pipeline.cli import run

if __name__ == "__main__":
    run()
