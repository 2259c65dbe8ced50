"""Checks the loaded crash kernel against its checksums."""

from __future__ import annotations

from vmsieve.formats.live import open_live
from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.inspect.crashkernel import DAMAGED, INTACT, check_crash_kernel, live_ranges
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, Case, Check, Finding


def _run(case: Case) -> Finding:
    if not case.system.running:
        return Finding(CANT_TELL, "only the running system's memory can be read")
    if case.quick:
        return Finding(CANT_TELL, "skipped with --quick", "check it alone", "vmsieve check-crashkernel --live")
    where = live_ranges()
    source = open_live(where[0].start)
    try:
        verdict = check_crash_kernel(source, where, "/proc/iomem", case.progress)
    finally:
        source.close()
    if verdict.state == INTACT:
        return Finding(OK, verdict.reason)
    if verdict.state == DAMAGED:
        command = case.flavour.load if case.flavour is not None else "kexec -p"
        return Finding(FAIL, verdict.reason, "find out what overwrote it, and load it again", command)
    return Finding(CANT_TELL, verdict.reason)


CHECK: Final = Check("intact", 40, "crash kernel intact", _run)
