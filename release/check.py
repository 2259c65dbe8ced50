"""The checklist of a release: each step is ok, failed or skipped, with the reason.

    make release-check                      everything; half an hour
    make release-check SKIP="test perf"     without these steps

What is built is left in ``dist``, output of the commands in ``build/release``. Exit status 1: a step failed.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from release.steps import STEPS as ALL
from release.steps import SkipError, StepError, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def run(steps: Mapping[str, Callable[[Work], str]], skip: set[str], folder: Path) -> int:
    """Run ``steps``, print a line for each and the sum; return the exit status."""
    counts = {"ok": 0, "failed": 0, "skipped": 0}
    for name, step in steps.items():
        try:
            if name in skip:
                raise SkipError("as asked")
            result, reason = "ok", step(Work(folder, name))
        except SkipError as skipped:
            result, reason = "skipped", str(skipped)
        except (StepError, OSError) as failed:
            result, reason = "failed", str(failed)
        counts[result] += 1
        print(f"{result:9}{name:10}{reason}", flush=True)
    print("\n" + ", ".join(f"{number} {result}" for result, number in counts.items()))
    return 1 if counts["failed"] else 0


def main() -> int:
    """Run the checklist of this project."""
    from release.steps import ROOT

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip", action="append", default=[], choices=[*ALL], help="leave out this step; repeatable")
    return run(ALL, set(parser.parse_args().skip), ROOT)


if __name__ == "__main__":
    sys.exit(main())
