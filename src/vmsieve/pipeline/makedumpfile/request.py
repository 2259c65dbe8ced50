"""What a command line asks for, checked as makedumpfile checks it before it opens anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import field, record
from vmsieve.pipeline.makedumpfile.options import KEPT, REFUSED
from vmsieve.pipeline.makedumpfile.getopt import parse_words
from vmsieve.pipeline.dump.plan import parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEBUG", "DEFAULT_LEVEL", "REPORT", "Request", "WrongReleaseError", "understand"]

#: Message level bits, besides 1 (progress), 2 (common) and 4 (errors).
DEBUG: Final = 8
REPORT: Final = 16
DEFAULT_LEVEL: Final = 7
_ALL_MESSAGES: Final = 31
_LEVELS: Final = 31
#: Digits of a number that are read: more than any that makes sense.
_DIGITS: Final = 12
#: Most levels that may be listed, as in makedumpfile.
_MOST_LEVELS: Final = 32
_CODECS: Final = {"c": "zlib", "l": "lzo", "p": "snappy", "z": "zstd"}
#: Options that ask for something else than a dump, in the order that they are looked for.
_JOBS: Final = ("g", "R", "reassemble", "dump-dmesg", "mem-usage")
#: Options that say how a dump is made: nonsense where none is.
_OF_DUMPS: Final = (*_CODECS, "E", "F", "i")


class WrongReleaseError(UsageError):
    """What is said of the kernel is of another kernel."""


@record
class Request:
    """A command line, taken apart.

    Attributes:
        values: The argument of each option given, by its key; of an option given twice, the last one.
        operands: Files.
        job: The option that asks for something else than a dump; "dump" if none does.
        levels: To be tried one after the other.
        codec: Name of the page codec.
        message_level: Sum of the kinds of messages to print.
        without: Sentences on what will not be done, and does not hinder a dump.
        size_limit: Bytes that the output may have.
    """

    values: dict[str, str] = field(default_factory=dict)
    operands: list[str] = field(default_factory=list)
    job: str = "dump"
    levels: tuple[int, ...] = (0,)
    codec: str = "none"
    message_level: int = DEFAULT_LEVEL
    without: list[str] = field(default_factory=list)
    size_limit: int | None = None

    def has(self, *keys: str) -> bool:
        """Whether one of the options was given."""
        return any(key in self.values for key in keys)

    def number(self, key: str) -> int:
        """The number that option ``key`` has; 0 if it was not given, or has none, as the C library's ``atoi``."""
        return leading_number(self.values.get(key, ""))

    @property
    def checking(self) -> bool:
        """Nothing is to be done but to check."""
        return self.has("check-params")

    @property
    def output(self) -> str:
        """The file to write; ``-``: standard output."""
        if self.has("dry-run"):
            return "/dev/null"
        return self.operands[-1] if len(self.operands) > 1 else "-"


def leading_number(text: str) -> int:
    """The number that ``text`` begins with, 0 if it begins with none."""
    digits = text.strip()
    end = next((at for at, letter in enumerate(digits) if not letter.isdigit() or not letter.isascii()), len(digits))
    return int(digits[: min(end, _DIGITS)] or "0")


def understand(words: Sequence[str]) -> Request:
    """Read a command line.

    Raises:
        UsageError: It makes no sense, or asks for what can't be done. With ``--check-params`` also: it asks for what
            can be left undone.
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
            request.without.append(f"{option.typed.split(' ')[0]} is not done: {option.text}")
    if request.checking and request.without:
        raise UsageError(request.without[0])
    _take_numbers(request)
    _check(request)
    return request


def _take_numbers(request: Request) -> None:
    level = request.values.get("message-level")
    request.message_level = DEFAULT_LEVEL if level is None else leading_number(level)
    if request.message_level > _ALL_MESSAGES:
        raise UsageError("a message level is a number from 0 to 31", found=request.message_level)
    request.message_level |= DEBUG * request.has("D") | REPORT * request.has("show-stats")
    request.size_limit = parse_size(request.values["L"]) if request.has("L") else None
    texts = request.values.get("d", "0").split(",")
    request.levels = tuple(leading_number(text) for text in texts if text) or (0,)
    if len(request.levels) > _MOST_LEVELS or max(request.levels) > _LEVELS:
        raise UsageError("a dump level is a number from 0 to 31", found=request.values["d"])
    if request.checking:
        _check_numbers(request, texts)


def _check_numbers(request: Request, levels: list[str]) -> None:
    """In time, numbers are looked at more strictly than when a dump is at stake."""
    numbers = {key: request.values.get(key, "0") for key in ("message-level", "num-threads", "splitblock-size", "b")}
    for key, text in (*numbers.items(), *(("d", level) for level in levels)):
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{'-' if len(key) == 1 else '--'}{key} takes a number", found=repr(text))


def _check(request: Request) -> None:
    if request.job == "g":
        _check_alone(request, "-g writes VMCOREINFO", *_OF_DUMPS, "R", "X", "dry-run")
        if not request.has("x"):
            raise UsageError("-g takes the kernel's file from -x VMLINUX, which is missing")
        _count(request, 0, 0, "-g VMCOREINFO -x VMLINUX")
    elif request.job == "R":
        _check_alone(request, "-R makes a file of a stream as it is", *_OF_DUMPS, "x", "X")
        _count(request, 1, 1, "-R DUMPFILE")
    elif request.job == "reassemble":
        _check_alone(request, "--reassemble joins files as they are", *_OF_DUMPS, "x", "X", "split", "dry-run")
        _count(request, 2, None, "--reassemble DUMPFILE1 DUMPFILE2 [DUMPFILE3 ...] DUMPFILE")
    else:
        _check_dump(request)


def _check_alone(request: Request, what: str, *keys: str) -> None:
    unfit = [key for key in keys if request.has(key)] + ["d"] * (request.levels[0] > 0)
    if unfit:
        key = unfit[0]
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
            raise UsageError("--split shares out kdump-compressed files alone: no -E, no -F")
        _count(request, 3, None, "--split VMCORE DUMPFILE1 DUMPFILE2 [DUMPFILE3 ...]")
    elif request.job == "mem-usage":
        _count(request, 1, 2, "--mem-usage /proc/kcore")
    else:
        what = "LOGFILE" if request.job == "dump-dmesg" else "DUMPFILE"
        alone = has("F", "vtop")
        _count(request, 1 if alone else 2, 2, f"VMCORE [{what}]" if alone else f"VMCORE {what}")
