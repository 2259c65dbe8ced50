"""Makes a dump as makedumpfile does: tries the dump levels in turn until one fits."""

from __future__ import annotations

import errno
import os
import stat

from vmsieve.formats.errors import OutputError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.text import shown
from vmsieve.pipeline.dump.make import dump
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.pool import affordable
from vmsieve.pipeline.makedumpfile.reports import release_lines, report_lines
from vmsieve.pipeline.makedumpfile.request import leading_number
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from vmsieve.pipeline.dump.report import Report
    from vmsieve.pipeline.makedumpfile.messages import Messages
    from vmsieve.pipeline.makedumpfile.request import Request

_VMCORE: Final = "/proc/vmcore"


def make_dump(request: Request, messages: Messages) -> int:
    """Make the requested dump; returns the exit status."""
    texts = _texts(request, messages)
    report, stopped = None, None
    for number, level in enumerate(request.levels, 1):
        last = number == len(request.levels)
        plan = _plan(request, level, salvage=last)
        try:
            report = dump(plan, messages.progress(), *texts)
            stopped = report.stopped
        except OutputError as refused:
            if not refused.full:
                raise
            report, stopped = None, refused
        if report is not None and not report.full:
            break
        limited = request.size_limit is not None and isinstance(stopped, OutputError) and stopped.errno == errno.EFBIG
        why = f"Size limit({request.size_limit}) reached." if limited else "No space left on device."
        messages.common(f"\nCan't write the dump file({shown(plan.output)}). {why}")
        if last or report is not None or not _retractable(plan):
            break
        messages.common(f"Retry to create a dumpfile by dump_level({request.levels[number]}).")
    if report is None:
        assert stopped is not None
        raise stopped
    return _print_report(request, messages, report)


def _texts(request: Request, messages: Messages) -> tuple[bytes | None, bytes | None]:
    """VMCOREINFO from -i and -x.

    In the crash kernel, which has only one attempt, an unreadable file or one of another kernel (after an update) is
    reported and ignored: usually the dump contains the same information.
    """
    if not request.has("i", "x"):
        return None, None  # without importing kernel_info
    from vmsieve.pipeline.makedumpfile.kernel_info import kernel_texts

    try:
        return kernel_texts(request)
    except VmsieveError as error:
        if os.path.realpath(request.operands[0]) != _VMCORE:
            raise
        messages.error(f"done without -i and -x: {error}")
        return None, None


def _plan(request: Request, level: int, *, salvage: bool) -> Plan:
    split = tuple(request.operands[1:]) if request.has("split") and not request.has("dry-run") else ()
    output = ", ".join(split) or request.output
    elf = request.has("E")
    return Plan(
        request.operands[0], output, level, codec=None if elf else request.codec, format="elf" if elf else "kdump",
        flattened=request.has("F") and output != "/dev/null", force=request.has("f"),
        threads=affordable(leading_number(request.values.get("num-threads", ""))), size_limit=request.size_limit,
        mapped=not request.has("non-mmap"), split=split, whole=False, salvage=salvage,
        order="address",  # as makedumpfile's
        reads=tuple(request.values[key] for key in ("i", "x") if request.has(key)),
    )  # fmt: skip


def _retractable(plan: Plan) -> bool:
    """True if the output was deleted, so that another level can be tried: not a pipe or a device."""
    paths = [path for path in plan.split or (plan.output,) if os.path.exists(path)]
    return plan.output != "-" and all(stat.S_ISREG(os.stat(path).st_mode) for path in paths)


def _print_report(request: Request, messages: Messages, report: Report) -> int:
    messages.debug([*release_lines(report.release, report.crash_time), *report.details])
    if report.weaker:
        messages.common("The kernel version is not supported.\nThe makedumpfile operation may be incomplete.")
    messages.errors(report.notes)
    for one in report.left_out:
        messages.common(f"As makedumpfile does: {one}")
    messages.report(report_lines(report, elf=request.has("E")))
    if report.incomplete:
        messages.common("\nThis is an incomplete dumpfile; what was written of it can be read.")
        return EXIT_FAILED
    if request.has("dry-run"):
        return EXIT_OK
    saved = "dumpfiles are" if request.has("split") else "dumpfile is"
    where = "STDOUT" if report.output == "-" else " and ".join(report.output.rsplit(", ", 1))
    messages.common(f"\nThe {saved} saved to {shown(where)}.")
    return EXIT_OK
