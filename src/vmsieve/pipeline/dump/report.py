"""What was done: for people, in lines, and for machines, in JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vmsieve.filters.rules import rules
from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.formats.slim.records import field, record
from vmsieve.pipeline.dump.account import Survey
from vmsieve.pipeline.dump.plan import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.errors import OutputError
    from vmsieve.formats.inputs import LeftOut
    from vmsieve.pipeline.dump.copy import Copied
    from vmsieve.pipeline.dump.scan import Scan
    from vmsieve.pipeline.process.signals import Interrupted

__all__ = ["Report", "size_text"]


def size_text(size: float) -> str:
    """``size`` bytes for people, in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


@record
class Report:
    """One dump's report.

    Attributes:
        input, output: As asked for.
        level: Dump level of the output: what was asked for and what the input lacked already.
        page_size: Bytes.
        total: Page frames from 0 to the highest.
        existing: Page frames that the machine had.
        chosen: Page frames that were to be written.
        uncovered: Page frames that no struct page covers: they are kept.
        survey: What the input stores.
        left_out: Stored memory that nobody asked to leave out, and why it is.
        absent: Of those, the ones that the input did not hold.
        dropped: Page frames left out, by rule name; zero pages among them, though they keep their place.
        bridged: Page frames counted as left out that are in the output all the same, to fill short gaps (ELF).
        left_in: The same, by rule name.
        kept: Page frames whose data is in the output.
        unreadable: Page frames that should be, but could not be read.
        bytes_in: Of page data read.
        bytes_out: Written.
        seconds: Wall time by stage.
        release, crash_time: Of the kernel, where they are known; seconds since 1970.
        notes: Sentences on what was not as it should be.
        details: Sentences on what was found and used, for those who want to know.
        weaker, incomplete: Why the exit status is not 0.
        stopped: What ended the dump early, or kept it from being finished; None: nothing did.
        full: The dump ends early because there was no room for more: the disk, a quota, the size limit.
    """

    input: str
    output: str
    level: int = 0
    page_size: int = 4096
    total: int = 0
    existing: int = 0
    chosen: int = 0
    uncovered: int = 0
    survey: Survey = field(default_factory=Survey)
    left_out: list[LeftOut] = field(default_factory=list)
    absent: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    bridged: int = 0
    left_in: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    unreadable: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    release: str = ""
    crash_time: int | None = None
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    weaker: bool = False
    incomplete: bool = False
    stopped: OutputError | Interrupted | None = None
    full: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside as stage ``name``, also when it is left by an exception."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def scanned(self, scan: Scan) -> None:
        """Take over the first pass's counts."""
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

    def copied(self, copied: Copied) -> None:
        """Take over the second pass's counts."""
        self.dropped["zero"] = copied.zero
        self.kept = copied.pages - copied.zero - copied.unreadable
        self.unreadable = copied.unreadable
        self.bytes_in = (copied.pages - copied.unreadable) * self.page_size

    def account(self) -> dict[str, Any]:
        """What became of each byte that the input stores; ``"unaccounted"`` is 0 if that adds up.

        Stored bytes, and the zeros that fill up pages stored in part, are in exactly one of the other figures.
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

    def balance(self) -> None:
        """Say it if the account of a written dump does not add up."""
        lacking = self.account()["unaccounted"]
        if lacking:
            self.weaker = True
            self.notes.append(f"the account of memory does not add up: {lacking} bytes are not accounted for")

    def exit_status(self) -> int:
        """The exit status that says how it went."""
        if self.incomplete:
            return EXIT_INCOMPLETE
        return EXIT_WEAKER if self.weaker or self.left_out else EXIT_OK

    def json(self) -> dict[str, Any]:
        """For machines. Keys stay; new ones may come."""
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
            "account": self.account(),
        }

    def lines(self) -> list[str]:
        """For people."""
        rows = [("Page frames", self.total), ("Memory holes", self.total - self.existing)]
        odd = (
            ("Not in the input", self.absent),
            ("Stored in part, zeros added", self.survey.partial),
            ("Pages without struct pages", self.uncovered),
        )
        rows += [row for row in odd if row[1]]
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
