"""The verdict on a loaded crash kernel: intact, damaged or unknown."""

from __future__ import annotations

from contextlib import suppress

from vmsieve.filters.linux.crashkernel import Check, Region, check_table, reserved, search_tables
from vmsieve.filters.linux.crashkernel_regions import any_recognised, is_damaged, name_regions
from vmsieve.filters.linux.memory_scan import any_stored
from vmsieve.formats.errors import KernelError
from vmsieve.formats.live import CRASH_KERNEL, iomem_ranges
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.process.progress import Progress

INTACT: Final = "intact"
DAMAGED: Final = "damaged"
UNKNOWN: Final = "unknown"
_MIB: Final = 1 << 20
_LOADED: Final = "/sys/kernel/kexec_crash_loaded"
_KDUMP: Final = " (a crash kernel that is started leaves its own out)"
_NOTHING_THERE: Final = (
    "no list of checksummed regions is in the memory reserved for the crash kernel: none is loaded, or its purgatory is"
    " damaged"
)
_NOTHING_FOUND: Final = (
    f"no crash kernel was found in this memory{_KDUMP}; --crashkernel gives its range if there is one"
)


def _size(check: Check) -> int:
    return sum(region.size for region in check.table.regions)


@record(frozen=True)
class Verdict:
    """Outcome of the check."""

    state: str  # INTACT, DAMAGED or UNKNOWN
    reason: str  # a sentence
    searched: tuple[Region, ...] = ()  # the memory searched
    origin: str = ""  # source of the crash kernel's range; empty: unknown
    check: Check | None = None  # the region table that the verdict rests on
    names: tuple[str, ...] = ()  # a guess at the content of each of its regions
    damaged: tuple[bool | None, ...] = ()  # damaged: True or False for each region; None: unknown
    others: int = 0  # further tables found, left by earlier crash kernels


def live_ranges() -> list[Region]:
    """Return the memory of the running machine's crash kernel.

    Raises:
        KernelError: No memory is reserved, or no crash kernel is loaded.
        FormatError: /proc/iomem hides addresses from this user.
    """
    with suppress(OSError), open(_LOADED, encoding="ascii", errors="replace") as file:
        if file.read(32).strip() == "0":
            raise KernelError("no crash kernel is loaded on this machine")
    found = [Region(start, end) for start, end in iomem_ranges(CRASH_KERNEL)]
    if not found:
        raise KernelError("no memory is reserved for a crash kernel on this machine")
    return found


def check_crash_kernel(source: Source, given: Sequence[Region], origin: str, progress: Progress) -> Verdict:
    """Find the crash kernel in ``source`` and check it.

    ``given``: its memory, as ``origin`` says; if empty, it is looked up, or all memory is searched.
    """
    where = tuple(given)
    if not where:
        try:
            where, origin = reserved(source)
        except KernelError as error:
            return Verdict(UNKNOWN, str(error))
    known = bool(where)
    if not known:
        where, origin = (Region(0, source.end()),), ""
    if not any(any_stored(source, region.start, region.end) for region in where):
        return Verdict(UNKNOWN, f"the crash kernel's memory is not in this dump{_KDUMP}", where, origin)
    return _decide(_checks(source, where, progress), source, where, origin, known)


def _checks(source: Source, where: tuple[Region, ...], progress: Progress) -> list[Check]:
    progress.step("Searching", sum(-(-region.size // _MIB) for region in where), _MIB)
    tables = [
        table for region in where for table in search_tables(source, region, lambda n: progress.advance(n // _MIB))
    ]
    regions = [region for table in tables for region in table.regions]
    progress.step("Checking", sum(-(-region.size // _MIB) for region in regions), _MIB)
    found = [check_table(source, table, lambda n: progress.advance(-(-n // _MIB))) for table in tables]
    progress.close()
    return found


def _decide(checks: list[Check], source: Source, where: tuple[Region, ...], origin: str, known: bool) -> Verdict:
    named = [(check, tuple(name_regions(source, check.table.regions))) for check in checks]
    # A search of all memory also finds data that only looks like a table.
    named = [(check, names) for check, names in named if known or check.intact or any_recognised(names)]
    if not named:
        return Verdict(UNKNOWN, _NOTHING_THERE if known else _NOTHING_FOUND, where, origin)
    check, names = max(named, key=lambda one: (one[0].intact, one[0].problem is None, _size(one[0])))
    regions = check.table.regions
    damaged: tuple[bool | None, ...] = ()
    if check.intact:
        state, reason = INTACT, "the checksum of all regions is right"
    elif check.problem is not None:
        state, reason = UNKNOWN, check.problem
    else:
        damaged = tuple(is_damaged(source, regions, names, i) for i in range(len(regions)))
        state, reason = DAMAGED, _explain(regions, names, damaged)
    return Verdict(state, reason, where, origin, check, names, damaged, len(named) - 1)


def _explain(regions: Sequence[Region], names: Sequence[str], damaged: Sequence[bool | None]) -> str:
    wrong = [f"the region at {regions[i].start:#x} ({names[i]})" for i, known in enumerate(damaged) if known]
    if wrong:
        return f"the checksum of all regions is wrong; damage was found in {' and in '.join(wrong)}"
    return (
        "the checksum of all regions is wrong; it covers them together: unknown is which one is damaged, or whether the"
        " checksum itself is"
    )
