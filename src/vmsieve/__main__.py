"""``python -m vmsieve``: runs the command line."""

from vmsieve.pipeline.cli.start import run

if __name__ == "__main__":
    run()
