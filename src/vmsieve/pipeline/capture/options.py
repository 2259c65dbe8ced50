"""The options of ``vmsieve capture``, and the request made of them."""

from __future__ import annotations

from vmsieve.pipeline.process.options import Option, defaults, number, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_INPUT = "/proc/vmcore"
_DEFAULT_STALL = 300
_DAYS = 30 * 86400


def _codec(text: str) -> str:
    name, _, level = text.partition(":")
    if not name or (level and not level.isdigit()):
        raise ValueError("a codec's name, and a number as its level")
    return text


OPTIONS = (
    Option("INPUT", f"memory to dump (default: {DEFAULT_INPUT})", optional=True),
    Option("TARGET", "a directory, a block device, or - for standard output"),
    Option("-d --level", "what to leave out, as dump -d (default: 31)", metavar="LEVEL", convert=number(0, 31),
           default=31),
    Option("-c", "pack pages with zlib", name="codec", const="zlib"),
    Option("-l", "pack pages with LZO", name="codec", const="lzo"),
    Option("-p", "pack pages with snappy", name="codec", const="snappy"),
    Option("-z", "pack pages with zstd (the default)", name="codec", const="zstd"),
    Option("--codec", "as dump --codec (default: zstd)", metavar="NAME[:LEVEL]", convert=_codec, default="zstd"),
    Option("--threads", "threads that scan, read and pack; 0: one a core (default: 1)", metavar="N",
           convert=number(0, 1024), default=1),
    Option("--order", "as dump --order (default: importance)", metavar="ORDER", choices=("importance", "address"),
           default="importance"),
    Option("--deadline", "end after this time, with a readable dump that is marked incomplete", metavar="SECONDS",
           convert=number(1, _DAYS), default=0),
    Option("--stall", f"give up a step that makes no progress for this time (default: {_DEFAULT_STALL})",
           metavar="SECONDS", convert=number(1, _DAYS), default=_DEFAULT_STALL),
    Option("--stamp", "make a directory HOST-TIME within TARGET; made in any case if TARGET holds a dump"),
    Option("--status", "file for the record, in JSON (default: vmcore-status.json beside the dump)", metavar="FILE",
           default=""),
    Option("--check", "check options and target without writing a dump; exit status 0 or 2"),
    Option("-q --quiet", "print the outcome only"),
)  # fmt: skip


class Request:
    """A capture's command line, with a value for each of :data:`OPTIONS`; ``deadline`` 0: none."""

    if TYPE_CHECKING:
        input: str
        target: str
        level: int
        codec: str
        order: str
        threads: int
        deadline: int
        stall: int
        stamp: bool
        status: str
        quiet: bool
        check: bool

    def __init__(self, values: Mapping[str, object]) -> None:
        self.__dict__.update(defaults(OPTIONS), **values)
        self.input = self.input or DEFAULT_INPUT


def read_request(words: list[str], wrong: list[str] | None = None) -> Request | None:
    """The request in ``words``; see :func:`~vmsieve.pipeline.process.options.parse` for None, and for ``wrong``."""
    values = parse(OPTIONS, words, wrong)
    return None if values is None else Request(values)
