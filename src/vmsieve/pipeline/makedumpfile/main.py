"""Entry points of ``vmsieve makedumpfile`` and of the program ``vmsieve-makedumpfile``."""

from __future__ import annotations

import sys

from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final, NoReturn
from vmsieve.pipeline.makedumpfile.messages import Messages
from vmsieve.pipeline.makedumpfile.request import WrongReleaseError, parse_command_line
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK
from vmsieve.pipeline.process.signals import Interrupted, interruptible
from vmsieve.pipeline.process.streams import exit_process, set_up_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.pipeline.makedumpfile.request import Request

_WRONG_RELEASE: Final = 2  # exit status if -i or -x names a file of another kernel


def main(words: Sequence[str]) -> int:
    """Run the command line ``words``, without the program's name; returns the exit status."""
    set_up_streams()
    try:
        request = parse_command_line(words)
    except UsageError as error:
        return _invalid(error, words)
    messages = Messages(request.message_level, data_out=request.has("F"))
    if request.has("check-params"):
        return EXIT_OK
    if request.has("h", "v"):
        from vmsieve.pipeline.makedumpfile.help import help_lines, version_lines

        messages.common("\n".join(help_lines() if request.has("h") else version_lines()))
        return EXIT_OK
    try:
        with interruptible():
            messages.errors(request.not_done)
            status = _do(request, messages)
    except (VmsieveError, Interrupted, OSError, MemoryError) as error:
        messages.error("out of memory" if isinstance(error, MemoryError) else error)
        status = _WRONG_RELEASE if isinstance(error, WrongReleaseError) else EXIT_FAILED
    if request.job != "mem-usage" or status != EXIT_OK:
        messages.common("\nmakedumpfile Completed." if status == EXIT_OK else "\nmakedumpfile Failed.")
    return status


def _invalid(error: UsageError, words: Sequence[str]) -> int:
    # The words could not be parsed: guess from any -F whether standard output is for data.
    messages = Messages(data_out=any(word.startswith("-") and word[1:2] != "-" and "F" in word for word in words))
    messages.error(error)
    messages.common("Commandline parameter is invalid.\nTry `makedumpfile --help' for more information.")
    if "--check-params" not in words:
        messages.common("\nmakedumpfile Failed.")
    return EXIT_FAILED


def _do(request: Request, messages: Messages) -> int:
    """Dispatch; each branch imports only its own modules, because memory is scarce in the crash kernel."""
    if request.job in ("R", "reassemble"):
        from vmsieve.pipeline.makedumpfile.join import save_joined

        return save_joined(request, messages)
    if request.job == "mem-usage":
        from vmsieve.pipeline.makedumpfile.mem_usage import show_usage

        return show_usage(request, messages)
    if request.has("g", "vtop", "dump-dmesg"):
        from vmsieve.pipeline.makedumpfile.kernel_info import save_log, save_vmcoreinfo, translate

        if request.job == "g":
            return save_vmcoreinfo(request, messages)
        if request.has("vtop"):
            translate(request, messages)
            if len(request.operands) < 2 and not request.has("F"):
                return EXIT_OK
        if request.job == "dump-dmesg":
            return save_log(request, messages)
    from vmsieve.pipeline.makedumpfile.dump import make_dump

    return make_dump(request, messages)


def run() -> NoReturn:
    """Run the program ``vmsieve-makedumpfile``, or ``makedumpfile`` where it has that name."""
    exit_process(main(sys.argv[1:]))
