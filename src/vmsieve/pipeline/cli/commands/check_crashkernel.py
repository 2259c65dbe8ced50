"""``vmsieve check-crashkernel``: checks that the loaded crash kernel is intact.

Does what the crash kernel's purgatory does after a crash: it computes the SHA-256 digest of everything that was loaded,
and compares it with the digest stored at load time. Both loaders, ``kexec_load(2)`` and ``kexec_file_load(2)``, are
supported, on x86_64 and s390x.
"""

from __future__ import annotations

import re

from vmsieve.formats.errors import FormatError, KernelError, UsageError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import JSON, force
from vmsieve.pipeline.cli.printing import Report, print_remarks
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK, EXIT_WEAKER
from vmsieve.pipeline.process.options import Group, Option

if TYPE_CHECKING:
    from vmsieve.filters.linux.crashkernel import Region
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.inspect.crashkernel import Verdict

_EXAMPLES = """\
  vmsieve check-crashkernel --live                              the crash kernel loaded on this machine (as root)
  vmsieve check-crashkernel dump.elf                            a dump made without kdump
  vmsieve check-crashkernel --crashkernel 256M@0x2e000000 dump.elf
  vmsieve check-crashkernel --crashkernel 2e000000-3dffffff dump.elf    as in /proc/iomem

exit status:
  0  intact        1  damaged        3  unknown: standard error says why
"""

_SIZE_AT: Final = re.compile(
    r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})([KMGT]?)@(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})([KMGT]?)"
)
_FROM_TO: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,16})-(?:0[xX])?([0-9a-fA-F]{1,16})")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_ADDRESS_END: Final = 1 << 64


def _range(text: str) -> Region:
    """Parse the memory range that ``--crashkernel`` names."""
    from vmsieve.filters.linux.crashkernel import Region

    size_at, from_to = _SIZE_AT.fullmatch(text), _FROM_TO.fullmatch(text)
    if size_at is not None:
        size, start = (int(size_at[i], 0) * _UNITS[size_at[i + 1]] for i in (1, 3))
        found = Region(start, start + size)
    elif from_to is not None:
        found = Region(int(from_to[1], 16), int(from_to[2], 16) + 1)
    else:
        found = Region(0, 0)
    if not found.start < found.end <= _ADDRESS_END:
        raise ValueError("SIZE@START or START-END")
    return found


_MEMORY: Final = Group(required=True)
_OPTIONS: Final = (
    Option("INPUT", "a dump of memory that holds a crash kernel", optional=True, group=_MEMORY),
    Option("--live", "check the running machine's memory (as root)", group=_MEMORY),
    Option("--crashkernel", "memory reserved for the crash kernel: SIZE@START as on the kernel's command line, or "
           "START-END in hexadecimal as in /proc/iomem (default: found, or else all memory is searched)",
           metavar="RANGE", convert=_range),
    JSON,
    force("report"),
)  # fmt: skip


def _open_dump(path: str) -> Source:
    """Open the dump at ``path``; raises KernelError if its crash kernel was started."""
    from vmsieve.formats.inputs import open_source
    from vmsieve.formats.systems import choose

    source = open_source(path)
    try:
        return choose(source, None)
    except FormatError as error:
        source.close()
        # Two systems: the second one is the crash kernel, running.
        raise KernelError("it was started, and its memory has changed since", file=path) from error


def _as_json(verdict: Verdict) -> dict[str, Any]:
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
    from vmsieve.pipeline.dump.report import size_text
    from vmsieve.pipeline.inspect.crashkernel import DAMAGED, INTACT

    for one in facts["crashkernel"] or ():
        size = size_text(one["end"] - one["start"])
        print(f"Reserved:  {one['start']:#x} - {one['end'] - 1:#x}, {size}, says {facts['crashkernel_from']}")
    if facts["table"] is not None:
        print(f"Regions, as listed at {facts['table']:#x}:")
        for one in facts["regions"]:
            size = size_text(one["end"] - one["start"])
            print(f"  {one['start']:#x} - {one['end'] - 1:#x}  {size:>9}  {one['what']}{_DAMAGED[one['damaged']]}")
        print(f"SHA-256 of all: {facts['digest'] or 'unknown'}")
    if facts["other_tables"]:
        print(f"{facts['other_tables']} more such lists were found: copies, or leftovers of earlier crash kernels")
    if facts["verdict"] == INTACT:
        print("The crash kernel is intact.")
    elif facts["verdict"] == DAMAGED:
        print(f"The crash kernel is DAMAGED: {facts['why']}.")


def _run(arguments: Arguments) -> int:
    # The ranges reserved for the crash kernel as far as known, and where those are from.
    from contextlib import closing

    from vmsieve.formats.live import open_live
    from vmsieve.pipeline.inspect.crashkernel import DAMAGED, INTACT, UNKNOWN, Verdict, check_crash_kernel, live_ranges
    from vmsieve.pipeline.process.progress import progress_for

    report = Report(arguments, [arguments.input])
    given = [arguments.crashkernel] if arguments.crashkernel is not None else []
    origin = "--crashkernel" if given else ""
    try:
        if arguments.live and not given:
            given, origin = live_ranges(), "/proc/iomem"
        with closing(open_live(given[0].start) if arguments.live else _open_dump(arguments.input)) as source:
            verdict = check_crash_kernel(source, given, origin, progress_for(quiet=not report.printed))
            print_remarks(source.remarks)
    except UsageError:
        raise
    except VmsieveError as error:
        # Not EXIT_FAILED, which means damage here.
        verdict = Verdict(UNKNOWN, str(error))
    facts = _as_json(verdict)
    report.show(facts, lambda: _print(facts))
    if verdict.state == UNKNOWN:
        print_remarks([f"can't tell whether the crash kernel is intact: {verdict.reason}"])
    return {INTACT: EXIT_OK, DAMAGED: EXIT_FAILED}.get(verdict.state, EXIT_WEAKER)


COMMAND: Final = Command(
    "check-crashkernel", 55, "check that the loaded crash kernel is intact", _EXAMPLES, _OPTIONS, _run
)
