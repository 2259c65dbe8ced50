"""``vmsieve check-crashkernel``: is the loaded crash kernel intact?"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from vmsieve.filters.linux.crashkernel import Region
from vmsieve.formats.errors import FormatError, KernelError, UsageError, VmsieveError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.live import open_live
from vmsieve.formats.systems import choose
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import print_json, tell
from vmsieve.pipeline.dump.plan import EXIT_FAILED, EXIT_OK, EXIT_WEAKER
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.inspect.crashkernel import DAMAGED, INTACT, UNKNOWN, Verdict, check_crash_kernel, live_ranges
from vmsieve.pipeline.process.progress import progress_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vmsieve.formats.inputs import Source

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve check-crashkernel --live                              the crash kernel loaded on this machine (as root)
  vmsieve check-crashkernel dump.elf                            in memory that was dumped without kdump
  vmsieve check-crashkernel --crashkernel 256M@0x2e000000 dump.elf
  vmsieve check-crashkernel --crashkernel 2e000000-3dffffff dump.elf    as /proc/iomem has it

exit status:
  0  intact        1  damaged        3  can't tell: standard error says why
"""

_SIZE_AT: Final = re.compile(
    r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})([KMGT]?)@(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})([KMGT]?)"
)
_FROM_TO: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,16})-(?:0[xX])?([0-9a-fA-F]{1,16})")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_ADDRESS_END: Final = 1 << 64


def _configure(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("input", metavar="INPUT", nargs="?", help="a dump of memory with a crash kernel in it")
    what.add_argument("--live", action="store_true", help="look at the running machine's memory instead (as root)")
    parser.add_argument(
        "--crashkernel",
        metavar="RANGE",
        type=_range,
        help="memory reserved for the crash kernel: SIZE@START as on the kernel's command line, or START-END in "
        "hexadecimal as in /proc/iomem (default: found out, else all memory is searched)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _range(text: str) -> Region:
    """The memory that ``text`` names. ValueError, which the parser turns into its own error: it names none."""
    size_at, from_to = _SIZE_AT.fullmatch(text), _FROM_TO.fullmatch(text)
    if size_at is not None:
        size, start = (int(size_at[i], 0) * _UNITS[size_at[i + 1]] for i in (1, 3))
        found = Region(start, start + size)
    elif from_to is not None:
        found = Region(int(from_to[1], 16), int(from_to[2], 16) + 1)
    else:
        raise ValueError(text)
    if not found.start < found.end <= _ADDRESS_END:
        raise ValueError(text)
    return found


def _open_dump(path: str) -> Source:
    """The dump at ``path``.

    Raises:
        KernelError: Its crash kernel has run.
        FormatError: It can't be opened.
    """
    source = open_source(path)
    try:
        return choose(source, None)
    except FormatError as error:
        source.close()
        # Of the two systems, one is the crash kernel.
        raise KernelError("it was started, and its memory has changed since", file=path) from error


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[tuple[Source, list[Region], str]]:
    """The memory to look at, where the crash kernel is if that is known, and who says so."""
    given = [arguments.crashkernel] if arguments.crashkernel is not None else []
    origin = "--crashkernel" if given else ""
    if arguments.live and not given:
        given, origin = live_ranges(), "/proc/iomem"
    source = open_live(given[0].start) if arguments.live else _open_dump(arguments.input)
    try:
        yield source, given, origin
    finally:
        source.close()


def _facts(verdict: Verdict) -> dict[str, Any]:
    check = verdict.check
    damaged = verdict.damaged or (None,) * len(verdict.names)
    regions = check.table.regions if check is not None else ()
    return {
        "verdict": verdict.state,
        "why": verdict.reason,
        "crashkernel": [{"start": r.start, "end": r.end} for r in verdict.searched] if verdict.origin else None,
        "crashkernel_from": verdict.origin or None,
        "table": check.table.address if check is not None else None,
        "digest": check.digest.hex() if check is not None else None,
        "digest_at": check.digest_at if check is not None else None,
        "regions": [
            {"start": r.start, "end": r.end, "what": name, "damaged": known}
            for r, name, known in zip(regions, verdict.names, damaged)
        ],
        "other_tables": verdict.others,
    }


_DAMAGED: Final = {True: ", DAMAGED", False: ", not damaged", None: ""}


def _print(facts: dict[str, Any]) -> None:
    for one in facts["crashkernel"] or ():
        size = size_text(one["end"] - one["start"])
        print(f"Reserved:  {one['start']:#x} - {one['end'] - 1:#x}, {size}, says {facts['crashkernel_from']}")
    if facts["table"] is not None:
        print(f"Regions, as listed at {facts['table']:#x}:")
        for one in facts["regions"]:
            size = size_text(one["end"] - one["start"])
            print(f"  {one['start']:#x} - {one['end'] - 1:#x}  {size:>9}  {one['what']}{_DAMAGED[one['damaged']]}")
        print(f"SHA-256 of all: {facts['digest'] or 'can not be told'}")
    if facts["other_tables"]:
        print(f"{facts['other_tables']} more such lists were found: copies, or what earlier crash kernels left behind")
    if facts["verdict"] == INTACT:
        print("The crash kernel is intact.")
    elif facts["verdict"] == DAMAGED:
        print(f"The crash kernel is DAMAGED: {facts['why']}.")


def _run(arguments: argparse.Namespace) -> int:
    try:
        with _opened(arguments) as (source, given, origin):
            verdict = check_crash_kernel(source, given, origin, progress_for(quiet=arguments.json))
            tell(source.oddities)
    except UsageError:
        raise
    except VmsieveError as error:
        # Damage has an exit status of its own, which must mean nothing else.
        verdict = Verdict(UNKNOWN, str(error))
    facts = _facts(verdict)
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    if verdict.state == UNKNOWN:
        tell([f"can't tell whether the crash kernel is intact: {verdict.reason}"])
    return {INTACT: EXIT_OK, DAMAGED: EXIT_FAILED}.get(verdict.state, EXIT_WEAKER)


COMMAND: Final = Command(
    "check-crashkernel", 55, "check that the loaded crash kernel is intact", _EXAMPLES, _configure, _run
)
