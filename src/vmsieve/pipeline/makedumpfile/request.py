"""The request of a makedumpfile command line, validated as makedumpfile does before it opens a file."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.dump.plan import parse_size
from vmsieve.pipeline.makedumpfile.getopt import parse_words
from vmsieve.pipeline.makedumpfile.options import KEPT, REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bits of the message level, besides 1 (progress), 2 (common) and 4 (errors).
DEBUG: Final = 8
REPORT: Final = 16
DEFAULT_LEVEL: Final = 7
_HIGHEST: Final = 31  # dump level, message level
_DIGITS: Final = 12  # of a number that are read
_MOST_LEVELS: Final = 32  # in a list, as in makedumpfile
_CODECS: Final = {"c": "zlib", "l": "lzo", "p": "snappy", "z": "zstd"}
#: Options that request something other than a dump, by precedence.
_JOBS: Final = ("g", "R", "reassemble", "dump-dmesg", "mem-usage")
#: Options of a dump, invalid with other jobs.
_OF_DUMPS: Final = (*_CODECS, "E", "F", "i")


class WrongReleaseError(UsageError):
    """A file given about the kernel belongs to another kernel."""


@record
class Request:
    """A parsed command line."""

    values: dict[str, str] = field(default_factory=dict)  # last argument of each option given, by key
    operands: list[str] = field(default_factory=list)
    job: str = "dump"  # key of the option that requests something other than a dump, or "dump"
    levels: tuple[int, ...] = (0,)  # dump levels to try in turn
    codec: str = "none"
    message_level: int = DEFAULT_LEVEL
    not_done: list[str] = field(default_factory=list)  # remarks on options that will be ignored
    size_limit: int | None = None  # most bytes of the output; None: unlimited

    def has(self, *keys: str) -> bool:
        """True if one of the options was given."""
        return any(key in self.values for key in keys)

    @property
    def output(self) -> str:
        """Path of the output; ``-``: standard output."""
        if self.has("dry-run"):
            return "/dev/null"
        return self.operands[-1] if len(self.operands) > 1 else "-"


def leading_number(text: str) -> int:
    """The number at the start of ``text``, or 0, as atoi(3)."""
    digits = text.strip()
    end = next((at for at, letter in enumerate(digits) if not letter.isdigit() or not letter.isascii()), len(digits))
    return int(digits[: min(end, _DIGITS)] or "0")


def parse_command_line(words: Sequence[str]) -> Request:
    """Parse and validate a command line.

    Raises UsageError if it is invalid or unsupported; with ``--check-params`` also for options that would be ignored.
    """
    given, operands = parse_words(words)
    request = Request({option.key: value for option, value in given}, operands)
    if request.has("h", "v"):
        return request
    request.job = next((job for job in _JOBS if request.has(job)), "dump")
    request.codec = next((_CODECS[one.key] for one, _ in reversed(given) if one.key in _CODECS), "none")
    for option, _ in given:
        if option.state == REFUSED:
            raise UsageError(f"{option.typed} can't be done", hint=option.text)
        if option.state == KEPT:
            request.not_done.append(f"{option.typed.split(' ')[0]} is not done: {option.text}")
    if request.has("check-params") and request.not_done:
        raise UsageError(request.not_done[0])
    _parse_numbers(request)
    _check(request)
    return request


def _parse_numbers(request: Request) -> None:
    level = request.values.get("message-level")
    request.message_level = DEFAULT_LEVEL if level is None else leading_number(level)
    if request.message_level > _HIGHEST:
        raise UsageError("a message level is a number from 0 to 31", found=request.message_level)
    request.message_level |= DEBUG * request.has("D") | REPORT * request.has("show-stats")
    try:
        request.size_limit = parse_size(request.values["L"]) if request.has("L") else None
    except ValueError as error:
        raise UsageError(f"-L takes {error}", found=repr(request.values["L"])) from error
    texts = request.values.get("d", "0").split(",")
    request.levels = tuple(leading_number(text) for text in texts if text) or (0,)
    if len(request.levels) > _MOST_LEVELS or max(request.levels) > _HIGHEST:
        raise UsageError("a dump level is a number from 0 to 31", found=request.values["d"])
    if request.has("check-params"):
        _check_numbers(request, texts)


def _check_numbers(request: Request, levels: list[str]) -> None:
    """Reject malformed numbers, which are tolerated when a dump is at stake."""
    numbers = {key: request.values.get(key, "0") for key in ("message-level", "num-threads", "splitblock-size", "b")}
    for key, text in (*numbers.items(), *(("d", level) for level in levels)):
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{'-' if len(key) == 1 else '--'}{key} takes a number", found=repr(text))


def _check(request: Request) -> None:
    if request.job == "g":
        _reject(request, "-g writes VMCOREINFO", *_OF_DUMPS, "R", "X", "dry-run")
        if not request.has("x"):
            raise UsageError("-g takes the kernel's file from -x VMLINUX, which is missing")
        _count(request, 0, 0, "-g VMCOREINFO -x VMLINUX")
    elif request.job == "R":
        _reject(request, "-R rebuilds a stream unchanged", *_OF_DUMPS, "x", "X")
        _count(request, 1, 1, "-R DUMPFILE")
    elif request.job == "reassemble":
        _reject(request, "--reassemble joins files unchanged", *_OF_DUMPS, "x", "X", "split", "dry-run")
        _count(request, 2, None, "--reassemble DUMPFILE1 DUMPFILE2 [DUMPFILE3 ...] DUMPFILE")
    else:
        _check_dump(request)


def _reject(request: Request, what: str, *keys: str) -> None:
    for key in [key for key in keys if request.has(key)] + ["d"] * (request.levels[0] > 0):
        raise UsageError(f"{what}: {'-' if len(key) == 1 else '--'}{key} does not go with it")


def _count(request: Request, least: int, most: int | None, usage: str) -> None:
    found = len(request.operands)
    if found < least or (most is not None and found > most):
        raise UsageError(f"{'a file is missing' if found < least else 'there are too many files'}: {usage}")


def _check_dump(request: Request) -> None:
    has = request.has
    if request.codec != "none" and has("E"):
        raise UsageError("an ELF core (-E) holds its pages as they are: no codec goes with it")
    if has("i") and has("x"):
        raise UsageError("-i and -x both say what the kernel is: one of them is enough")
    if has("partial-dmesg") and not has("dump-dmesg"):
        raise UsageError("--partial-dmesg goes with --dump-dmesg")
    if has("dump-dmesg") and has("dry-run"):
        raise UsageError("--dry-run does not go with --dump-dmesg")
    if has("split"):
        if has("E") or has("F"):
            raise UsageError("--split writes kdump-compressed files only: no -E, no -F")
        _count(request, 3, None, "--split VMCORE DUMPFILE1 DUMPFILE2 [DUMPFILE3 ...]")
    elif request.job == "mem-usage":
        _count(request, 1, 2, "--mem-usage /proc/kcore")
    else:
        what = "LOGFILE" if request.job == "dump-dmesg" else "DUMPFILE"
        alone = has("F", "vtop")
        _count(request, 1 if alone else 2, 2, f"VMCORE [{what}]" if alone else f"VMCORE {what}")
