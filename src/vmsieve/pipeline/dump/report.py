"""The report of a dump, as text and as JSON."""

from __future__ import annotations

import time

from vmsieve.filters.rules import rules
from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.dump.account import Survey
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.errors import OutputError
    from vmsieve.formats.inputs import LeftOut
    from vmsieve.pipeline.dump.copy import Copied
    from vmsieve.pipeline.dump.order import Pass
    from vmsieve.pipeline.dump.scan import Scan
    from vmsieve.pipeline.process.signals import Interrupted


def size_text(size: float) -> str:
    """Format a number of bytes, in units of 1024."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1000 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError


@record
class Report:
    """One dump's report."""

    input: str  # as asked for
    output: str
    level: int = 0  # dump level of the output: the one asked for, combined with that of the input
    page_size: int = 4096
    total: int = 0  # page frames from 0 to the highest
    existing: int = 0  # page frames of the machine
    chosen: int = 0  # page frames to write
    uncovered: int = 0  # page frames without a struct page; they are kept
    survey: Survey = field(default_factory=Survey)
    left_out: list[LeftOut] = field(default_factory=list)  # stored memory left out unasked, with reasons
    absent: int = 0  # existing page frames that the input lacks
    dropped: dict[str, int] = field(default_factory=dict)  # by rule name; also zero pages, in the output without data
    bridged: int = 0  # page frames counted as dropped but written, to fill short gaps (ELF)
    left_in: dict[str, int] = field(default_factory=dict)  # the same, by rule name
    kept: int = 0  # page frames with data in the output
    unreadable: int = 0  # page frames that could not be read
    bytes_in: int = 0  # bytes of page data read
    bytes_out: int = 0  # bytes written
    seconds: dict[str, float] = field(default_factory=dict)  # wall time by stage
    release: str = ""  # of the kernel; empty if unknown
    crash_time: int | None = None  # seconds since 1970
    notes: list[str] = field(default_factory=list)  # remarks on problems
    details: list[str] = field(default_factory=list)  # remarks on what was found, for -v
    weaker: bool = False  # reasons for an exit status other than 0
    incomplete: bool = False
    passes: list[Pass] = field(default_factory=list)  # the order of importance, with what was written; empty: address
    stopped: OutputError | Interrupted | None = None  # exception that ended the dump early
    full: bool = False  # the dump ends early because the disk, a quota or the size limit is full

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage ``name``, also after an exception."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def add_scan(self, scan: Scan) -> None:
        self.total = scan.max_pfn
        self.existing = scan.exists.count()
        self.absent = self.existing - scan.stored.count()
        self.dropped = dict(scan.counts)
        self.chosen = scan.kept.count()
        self.uncovered = scan.uncovered
        self.left_out += scan.left_out
        self.bridged, self.left_in = scan.bridged, scan.left_in
        self.weaker |= scan.weaker
        self.notes += scan.notes

    def add_copied(self, copied: Copied) -> None:
        self.dropped["zero"] = copied.zero
        self.kept = copied.pages - copied.zero - copied.unreadable
        self.unreadable = copied.unreadable
        self.bytes_in = (copied.pages - copied.unreadable) * self.page_size

    def account(self) -> dict[str, Any]:
        """Account for each byte that the input stores; ``"unaccounted"`` is 0 if the figures add up.

        Each stored byte, and each zero that fills a partly stored page, is in exactly one of the other figures.
        """
        size, survey = self.page_size, self.survey
        classes = {name: (count - self.left_in.get(name, 0)) * size for name, count in self.dropped.items()}
        became = {
            "kept": self.kept * size,
            "unreadable": self.unreadable * size,
            "unwritten": (self.chosen - self.kept - self.dropped.get("zero", 0) - self.unreadable) * size,
        }
        total = sum(became.values()) + sum(classes.values()) + sum(one.size for one in self.left_out)
        return {
            "stored": survey.stored,
            "filled": survey.filled,
            **became,
            "classes": classes,
            "left_out": [vars(one) for one in self.left_out],
            "unaccounted": survey.stored + survey.filled - total,
        }

    def check_account(self) -> None:
        """Add a note if the account of a written dump does not add up."""
        lacking = self.account()["unaccounted"]
        if lacking:
            self.weaker = True
            self.notes.append(f"the account of memory does not add up: {lacking} bytes are not accounted for")

    def exit_status(self) -> int:
        if self.incomplete:
            return EXIT_INCOMPLETE
        return EXIT_WEAKER if self.weaker or self.left_out else EXIT_OK

    def json(self) -> dict[str, Any]:
        """The report as JSON. Keys are never removed."""
        return {
            "input": self.input,
            "output": self.output,
            "status": self.exit_status(),
            "dump_level": self.level,
            "page_size": self.page_size,
            "release": self.release,
            "crash_time": self.crash_time,
            "pages": {
                "total": self.total,
                "holes": self.total - self.existing,
                "absent": self.absent,
                **{rule.name: self.dropped.get(rule.name, 0) for rule in rules()},
                "unreadable": self.unreadable,
                "kept": self.kept,
            },
            "bridged": self.bridged,
            "full": self.full,
            "bytes": {"in": self.bytes_in, "out": self.bytes_out},
            "seconds": {name: round(seconds, 6) for name, seconds in self.seconds.items()},
            "notes": self.notes,
            "details": self.details,
            "uncovered": self.uncovered,
            "partial": self.survey.partial,
            "order": "importance" if self.passes else "address",
            "classes": [
                {"name": one.name, "title": one.title, "pages": one.total, "written": one.written}
                for one in self.passes
            ],
            "account": self.account(),
        }

    def lines(self) -> list[str]:
        rows = [("Page frames", self.total), ("Memory holes", self.total - self.existing)]
        rare = (
            ("Not in the input", self.absent),
            ("Stored in part, zeros added", self.survey.partial),
            ("Pages without struct pages", self.uncovered),
        )
        rows += [row for row in rare if row[1]]
        rows += [(rule.title, self.dropped[rule.name]) for rule in rules() if rule.name in self.dropped]
        if self.bridged:
            rows.append(("Left in, between others", self.bridged))
        if self.unreadable:
            rows.append(("Unreadable pages", self.unreadable))
        rows.append(("Pages with data", self.kept))
        width = max(len(name) for name, _ in rows)
        out = [f"{name:<{width}}  {count:>12,}" for name, count in rows]
        share = f", {100 * self.bytes_out / self.bytes_in:.0f} %" if self.bytes_in else ""
        out.append(f"Bytes: {size_text(self.bytes_in)} read, {size_text(self.bytes_out)} written{share}")
        out.append("Seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items()))
        return out
