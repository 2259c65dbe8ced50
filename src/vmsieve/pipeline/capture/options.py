"""What is asked of a capture: its options, once for the small parser of the first process and once for argparse."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

__all__ = ["DEFAULT_INPUT", "OPTIONS", "Option", "Request", "configure", "quick"]

DEFAULT_INPUT = "/proc/vmcore"
_DEFAULT_STALL = 300


class Request:
    """What is asked for.

    Attributes:
        input: Path of the memory to dump.
        target: A directory, a block device, or ``-``: standard output.
        level: Dump level, 0 to 31.
        codec: ``NAME[:LEVEL]``, as ``dump --codec`` takes it.
        threads: That read and pack; 0: one a core.
        deadline: Seconds that all may take together; 0: as long as it takes.
        stall: Seconds without any progress after which a step is given up.
        stamp: A directory of its own, named by host and time, is made within ``target``.
        status: File for the record; empty: in the directory that the dump is in.
        quiet: Say nothing but how it ended.
        check: Make nothing, but say whether it could be made.
    """

    def __init__(self, values: dict[str, object]) -> None:
        """Take ``values``, by option; what is not there is as by default."""
        self.input = str(values.get("input") or DEFAULT_INPUT)
        self.target = str(values["target"])
        self.level = int(str(values.get("level", 31)))
        self.codec = str(values.get("codec") or "zstd")
        self.threads = int(str(values.get("threads", 1)))
        self.deadline = int(str(values.get("deadline", 0)))
        self.stall = int(str(values.get("stall", _DEFAULT_STALL)))
        self.stamp = bool(values.get("stamp"))
        self.status = str(values.get("status") or "")
        self.quiet = bool(values.get("quiet"))
        self.check = bool(values.get("check"))


class Option:
    """One option: its names, the request's attribute, what it takes, and what it means."""

    def __init__(
        self, names: str, field: str, meaning: str, *, metavar: str = "", const: object = True,
        check: Callable[[str], object] | None = None,
    ) -> None:  # fmt: skip
        self.names, self.field, self.meaning = names.split(), field, meaning
        self.metavar, self.const, self.check = metavar, const, check


def _number(least: int, most: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"a number from {least} to {most}")
        return int(text)

    return check


def _codec(text: str) -> str:
    name, _, level = text.partition(":")
    if not name or (level and not level.isdigit()):
        raise ValueError("a codec's name, and a number as its level")
    return text


_DAYS = 30 * 86400
OPTIONS = (
    Option("-d --level", "level", "what to leave out, as dump -d (default: 31)", metavar="LEVEL", check=_number(0, 31)),
    Option("-c", "codec", "pack pages with zlib", const="zlib"),
    Option("-l", "codec", "pack pages with LZO", const="lzo"),
    Option("-p", "codec", "pack pages with snappy", const="snappy"),
    Option("-z", "codec", "pack pages with zstd (the default)", const="zstd"),
    Option("--codec", "codec", "as dump --codec", metavar="NAME[:LEVEL]", check=_codec),
    Option("--threads", "threads", "threads that read and pack; 0: one a core (default: 1)", metavar="N",
           check=_number(0, 1024)),
    Option("--deadline", "deadline", "end after so many seconds with what is there, readable and marked incomplete",
           metavar="SECONDS", check=_number(1, _DAYS)),
    Option("--stall", "stall", "give a step up after so many seconds without progress "
           f"(default: {_DEFAULT_STALL})", metavar="SECONDS", check=_number(1, _DAYS)),
    Option("--stamp", "stamp", "make a directory HOST-TIME within TARGET; a TARGET that holds a dump gets one unasked"),
    Option("--status", "status", "file for the record, in JSON (default: vmcore-status.json beside the dump)",
           metavar="FILE", check=str),
    Option("--check", "check", "make nothing: say whether options and target would do, with status 0 or 2"),
    Option("-q", "quiet", "say nothing but how it ended"),
)  # fmt: skip


def configure(parser: ArgumentParser) -> None:
    """The same for argparse, which explains and complains better."""
    parser.add_argument("input", metavar="INPUT", nargs="?", help=f"what to dump (default: {DEFAULT_INPUT})")
    parser.add_argument("target", metavar="TARGET", help="a directory, a block device, or - for standard output")
    for option in OPTIONS:
        if option.check is None:
            parser.add_argument(
                *option.names, dest=option.field, action="store_const", const=option.const, help=option.meaning
            )
        else:
            parser.add_argument(
                *option.names,
                dest=option.field,
                metavar=option.metavar,
                type=_explained(option.check),
                help=option.meaning,
            )


def _explained(check: Callable[[str], object]) -> Callable[[str], object]:
    """``check`` as argparse wants it, so that what is wrong with a value is said."""
    from argparse import ArgumentTypeError

    def explained(text: str) -> object:
        try:
            return check(text)
        except ValueError as error:
            raise ArgumentTypeError(f"{error}, not {text!r}") from error

    return explained


def quick(words: list[str], wrong: list[str] | None = None) -> Request | None:
    """The request that ``words`` express; None where argparse has to explain something.

    With a list as ``wrong``, words that make no sense go there and are left out: as long as there is a target, a request
    remains.
    """
    names = {name: option for option in OPTIONS for name in option.names}
    values: dict[str, object] = {}
    places: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "-" or not word.startswith("-"):
            places.append(word)
        elif not _take(word, left, names, values):
            if wrong is None:
                return None
            wrong.append(word)
    if not 1 <= len(places) <= 2:
        if wrong is None or not places:
            return None
        wrong += places[:-2]
    values["target"] = places.pop()
    values["input"] = places.pop() if places else None
    return Request(values)


def _take(word: str, left: list[str], names: dict[str, Option], values: dict[str, object]) -> bool:
    """Take an option, and its value from ``left`` if it has one there; False: it makes no sense."""
    name, given, value = word.partition("=")
    if not word.startswith("--"):
        name, given, value = word[:2], word[2:], word[2:]
    option = names.get(name)
    if option is None or (given and option.check is None):
        return False
    if option.check is None:
        values[option.field] = option.const
        return True
    if not given and not left:
        return False
    try:
        values[option.field] = option.check(value if given else left.pop(0))
    except ValueError:
        return False
    return True
