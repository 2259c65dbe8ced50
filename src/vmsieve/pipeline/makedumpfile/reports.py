"""The report and the table of page types in makedumpfile's form, which scripts parse."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.pipeline.dump.report import Report

#: Rows of the report: title, and the rules whose pages are counted.
_ROWS: Final = (
    ("Pages filled with zero ", ("zero",)),
    ("Non-private cache pages", ("cache",)),
    ("Private cache pages    ", ("cache_private",)),
    ("User process data pages", ("user",)),
    ("Free pages             ", ("free", "unaccepted")),
    ("Hwpoison pages         ", ("hwpoison",)),
    ("Offline pages          ", ("offline",)),
)
#: Rows of the table: name, the rules whose pages are counted, description.
_TYPES: Final = (
    ("ZERO\t\t", ("zero",), "Pages filled with zero"),
    ("NON_PRI_CACHE\t", ("cache",), "Cache pages without private flag"),
    ("PRI_CACHE\t", ("cache_private",), "Cache pages with private flag"),
    ("USER\t\t", ("user",), "User process pages"),
    ("FREE\t\t", ("free", "unaccepted"), "Free pages"),
)
#: Phases whose duration is reported: key, makedumpfile's name.
_STEPS: Final = (("classify", "Excluding unnecessary pages"), ("copy", "Copying data               "))


def _sum(counts: dict[str, int], names: tuple[str, ...]) -> int:
    return sum(counts.get(name, 0) for name in names)


def report_lines(report: Report, *, elf: bool) -> list[str]:
    """The report of a dump; ``elf``: an ELF core, which keeps short runs of excluded pages."""
    counts = [(title, _sum(report.dropped, names)) for title, names in _ROWS]
    # Pages missing from a filtered input, and those of a rule without a row, count as excluded in no class.
    original, excluded = report.existing, sum(report.dropped.values()) + report.absent
    gone = excluded - report.bridged if elf else excluded
    lines = [f"STEP [{name}] : {report.seconds[key]:.6f} seconds" for key, name in _STEPS if key in report.seconds]
    lines += ["", f"Original pages  : {original:#018x}", f"  Excluded pages   : {excluded:#018x}"]
    lines += [f"     in ELF format : {gone:#018x}"] * elf
    lines += [f"    {title} : {count:#018x}" for title, count in counts]
    lines.append(f"  Remaining pages  : {original - excluded:#018x}")
    lines += [f"     in ELF format : {original - gone:#018x}"] * elf
    if original:
        lines.append(f"  (The number of pages is reduced to {(original - gone) * 100 // original}%.)")
    return [
        *lines, f"Memory Hole     : {report.total - original:#018x}", "-" * 50,
        f"Total pages     : {report.total:#018x}", f"Write bytes     : {report.bytes_out}", "",
    ]  # fmt: skip


def usage_lines(counts: dict[str, int], stored: int, page_size: int) -> list[str]:
    """The table of page types: ``stored`` pages in all, ``counts`` of them by rule."""
    kernel = stored - sum(counts.values())
    lines = ["", "TYPE\t\tPAGES\t\t\tEXCLUDABLE\tDESCRIPTION", "-" * 70]
    lines += [f"{name}{_sum(counts, rules):<16}\tyes\t\t{text}" for name, rules, text in _TYPES]
    return [
        *lines, f"KERN_DATA\t{kernel:<16}\tno\t\tDumpable kernel data ", "",
        f"page size:\t\t{page_size:<16}", f"Total pages on system:\t{stored:<16}",
        f"Total size on system:\t{stored * page_size:<16} Byte",
    ]  # fmt: skip


def release_lines(release: str, crash_time: int | None) -> list[str]:
    """Debug lines that scripts search for (SUSE's ``kdump-save``)."""
    return [f"  OSRELEASE={release}"] * bool(release) + [f"  CRASHTIME={crash_time}"] * (crash_time is not None)
