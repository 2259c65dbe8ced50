"""``vmsieve makedumpfile``, and the program ``vmsieve-makedumpfile``: a command line in, an exit status out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NoReturn

from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.pipeline.makedumpfile.request import WrongReleaseError, understand
from vmsieve.pipeline.makedumpfile.voice import Voice
from vmsieve.pipeline.dump.plan import EXIT_FAILED, EXIT_OK
from vmsieve.pipeline.process.signals import Interrupted, interruptible
from vmsieve.pipeline.process.streams import set_up_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.pipeline.makedumpfile.request import Request

__all__ = ["main", "run"]

#: What is said of the kernel is of another one.
_WRONG_RELEASE: Final = 2


def main(words: Sequence[str]) -> int:
    """Do what ``words``, the command line without the program's name, ask for; returns the exit status."""
    set_up_streams()
    try:
        request = understand(words)
    except UsageError as error:
        return _wrong(error, words)
    voice = Voice(request.messages, data_out=request.has("F"))
    if request.checking:
        return EXIT_OK
    if request.has("h", "v"):
        return _about(request, voice)
    try:
        with interruptible():
            voice.errors(request.without)
            status = _do(request, voice)
    except (VmsieveError, Interrupted, OSError, MemoryError) as error:
        voice.error("out of memory" if isinstance(error, MemoryError) else error)
        status = _WRONG_RELEASE if isinstance(error, WrongReleaseError) else EXIT_FAILED
    if request.job != "mem-usage" or status != EXIT_OK:
        voice.common("\nmakedumpfile Completed." if status == EXIT_OK else "\nmakedumpfile Failed.")
    return status


def _wrong(error: UsageError, words: Sequence[str]) -> int:
    # What is not understood can only be looked at: is standard output for data?
    voice = Voice(data_out=any(word.startswith("-") and word[1:2] != "-" and "F" in word for word in words))
    voice.error(error)
    voice.common("Commandline parameter is invalid.\nTry `makedumpfile --help' for more information.")
    if "--check-params" not in words:
        voice.common("\nmakedumpfile Failed.")
    return EXIT_FAILED


def _about(request: Request, voice: Voice) -> int:
    from vmsieve.pipeline.makedumpfile.about import help_lines, version_lines

    voice.common("\n".join(help_lines() if request.has("h") else version_lines()))
    return EXIT_OK


def _do(request: Request, voice: Voice) -> int:
    """Do what is asked for; what it does not need is not loaded."""
    if request.job == "R":
        from vmsieve.pipeline.makedumpfile.joined import rebuild_stream

        return rebuild_stream(request, voice)
    if request.job == "reassemble":
        from vmsieve.pipeline.makedumpfile.joined import join_parts

        return join_parts(request, voice)
    if request.job == "mem-usage":
        from vmsieve.pipeline.makedumpfile.usage import show_usage

        return show_usage(request, voice)
    if request.has("g", "vtop", "dump-dmesg"):
        from vmsieve.pipeline.makedumpfile.kernel import save_log, save_vmcoreinfo, translate

        if request.job == "g":
            return save_vmcoreinfo(request, voice)
        if request.has("vtop"):
            translate(request, voice)
            if len(request.operands) < 2 and not request.has("F"):
                return EXIT_OK
        if request.job == "dump-dmesg":
            return save_log(request, voice)
    from vmsieve.pipeline.makedumpfile.make import make_dump

    return make_dump(request, voice)


def run() -> NoReturn:
    """The program ``vmsieve-makedumpfile``, and ``makedumpfile`` where it is called so."""
    from vmsieve.pipeline.process.streams import exit_process

    exit_process(main(sys.argv[1:]))
