"""``python -m vmsieve``: the command line."""

from vmsieve.pipeline.start import run

if __name__ == "__main__":
    run()
