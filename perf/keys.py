"""Effect of each VMCOREINFO key: dumps are classified at level 31 without it.

    python -m perf.keys VMCORE...                 a table for each dump
    python -m perf.keys --together VMCORE...      one table for all of them

Each key in turn is removed from VMCOREINFO, then all of them. The missing keys may come from three sets of origins: all
that the dump has (the copy of VMCOREINFO in memory, symbols, types), symbols and types alone, or nothing. A result is
*same*: the same pages are kept; *+N, exit S*: N more pages are kept, with that exit status and reason; or *LOST N*:
pages are dropped that are kept with all keys. Lost pages are errors: the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.resolver import MEMORY, SYMBOLS, TYPES
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.report import Report
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmsieve.formats.inputs import Source

__all__ = ["main"]

#: Origins of missing keys; ``None`` in a table's rows stands for all keys.
_ORIGINS: Final[dict[str, tuple[str, ...]]] = {
    "all of the dump": (MEMORY, SYMBOLS, TYPES), "symbols and types": (SYMBOLS, TYPES), "nothing": (),
}  # fmt: skip
_ALL: Final = "all keys"
#: Characters of a sentence shown.
_SAID_MOST: Final = 160


@dataclass(frozen=True)
class Outcome:
    """Classification of a dump without a key, compared with all keys.

    Attributes:
        lost: Page frames dropped that are kept otherwise.
        more: Page frames kept that are dropped otherwise.
        status: The exit status that a dump would end with.
        said: The first sentence on the reason.
    """

    lost: int
    more: int
    status: int
    said: str = ""

    @property
    def same(self) -> bool:
        """True if the pages and the exit status are those of the whole dump."""
        return not self.lost and not self.more and self.status == EXIT_OK

    def __str__(self) -> str:
        if self.same:
            return "same"
        lost = f"**LOST {self.lost:,}**, " if self.lost else ""
        return f"{lost}{f'+{self.more:,}' if self.more else 'same pages'}, exit {self.status}"


@dataclass(frozen=True)
class Result:
    """All outcomes of one dump: for each key, and for all, one for each set of origins."""

    name: str
    release: str
    pages: int
    asked: frozenset[str]
    rows: dict[str, tuple[Outcome, ...]]

    def lost(self) -> bool:
        """True if a page is ever dropped that should be kept."""
        return any(outcome.lost for row in self.rows.values() for outcome in row)


def _classified(source: Source, text: bytes | None, origins: tuple[str, ...], whole: int | None) -> tuple[int, Outcome]:
    """The kept pages as one number, and how they compare to ``whole``, with VMCOREINFO as if the dump had ``text``."""
    source.vmcoreinfo = text
    knowledge = gather_knowledge(source, origins=origins)
    found = scan(source, knowledge, 31, Silent())
    report = Report("", "")
    report.add_scan(found)
    kept = int.from_bytes(b"".join(found.kept), "little")
    whole = kept if whole is None else whole
    said = next((line for line in (*found.notes, *knowledge.notes) if not line.startswith("taken where")), "")
    return kept, Outcome(_ones(whole & ~kept), _ones(kept & ~whole), report.exit_status(), said)


def _ones(bits: int) -> int:
    return bin(bits).count("1")


def examine(path: str) -> Result:
    """Classify the dump at ``path`` without each of its keys, and without any."""
    with closing(open_source(path)) as source:
        knowledge = gather_knowledge(source)
        info = knowledge.info
        if info is None or knowledge.problem is not None:
            raise SystemExit(f"{path}: {knowledge.problem}: it is not classified with all of its keys")
        whole, _ = _classified(source, info.text, (), None)
        rows: dict[str, tuple[Outcome, ...]] = {}
        lines = info.text.splitlines(keepends=True)
        for key in info.keys:
            text = b"".join(line for line in lines if line.partition(b"=")[0] != key.encode())
            rows[key] = tuple(_classified(source, text, origins, whole)[1] for origins in _ORIGINS.values())
        rows[_ALL] = tuple(_classified(source, None, origins, whole)[1] for origins in _ORIGINS.values())
        return Result(Path(path).name, info.release or "", _ones(whole), _asked(source, info.text), rows)


def _asked(source: Source, text: bytes) -> frozenset[str]:
    """Return the keys that classification reads."""
    source.vmcoreinfo = text
    knowledge = gather_knowledge(source, origins=())
    scan(source, knowledge, 31, Silent())
    return frozenset(knowledge.info.used if knowledge.info is not None else ())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _code(key: str) -> str:
    return key if key == _ALL else f"`{key}`"


def one(result: Result) -> str:
    """Format one dump: a row for each key that makes a difference, and one for the others."""
    rows = []
    spare = [key for key, row in result.rows.items() if all(outcome.same for outcome in row)]
    for key, row in result.rows.items():
        if key not in spare:
            said = next((outcome.said for outcome in reversed(row) if outcome.said), "")
            rows.append([_code(key), *map(str, row), said[:_SAID_MOST]])
    unasked = sum(key not in result.asked for key in spare)
    rows.append([f"{len(spare)} other keys, {unasked} of them never asked for", *["same"] * len(_ORIGINS), ""])
    head = ["without", *(f"asked: {way}" for way in _ORIGINS), "what is said then"]
    return f"### {result.name}\n\n{result.release}, {result.pages:,} pages kept\n\n{_table(head, rows)}\n"


def together(results: Sequence[Result]) -> str:
    """Format several dumps: a row for each key that makes a difference in any of them."""
    rows = []
    for key in dict.fromkeys(key for result in results for key in result.rows):
        having = [result.rows[key] for result in results if key in result.rows]
        if not all(outcome.same for row in having for outcome in row):
            cells = [_of_several([row[column] for row in having]) for column in range(len(_ORIGINS))]
            rows.append([_code(key), str(len(having)), *cells])
    return _table(["without", "dumps", *(f"asked: {way}" for way in _ORIGINS)], rows) + "\n"


def _of_several(outcomes: Sequence[Outcome]) -> str:
    """Sum up the outcomes of several dumps."""
    other = [outcome for outcome in outcomes if not outcome.same]
    if not other:
        return "same"
    lost = sum(outcome.lost for outcome in other)
    status = "/".join(str(status) for status in sorted({outcome.status for outcome in other}))
    more = sorted(outcome.more for outcome in other)
    span = "same pages" if not more[-1] else f"+{more[0]:,}" if more[0] == more[-1] else f"+{more[0]:,} to {more[-1]:,}"
    part = f" ({len(other)} of {len(outcomes)})" if len(other) < len(outcomes) else ""
    return f"{f'**LOST {lost:,}**, ' if lost else ''}{span}, exit {status}{part}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; return 1 if a page is ever lost."""
    parser = argparse.ArgumentParser(prog="python -m perf.keys", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a dump that vmsieve understands")
    parser.add_argument("--together", action="store_true", help="one table for all of them")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    results = []
    for path in arguments.inputs:
        results.append(examine(path))
        if not arguments.together:
            print(one(results[-1]), flush=True)
    if arguments.together:
        print(together(results))
    lost = [result.name for result in results if result.lost()]
    for name in lost:
        print(f"{name}: pages are lost", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
