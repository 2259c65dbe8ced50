"""The plan of a dump, made before the first byte is read."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.frames import Frame


#: Orders of the pages: by importance, the most valuable first, and by page frame.
ORDERS = ("importance", "address")
_UNITS = ("", "B", *(unit + end for unit in "KMGT" for end in ("", "B", "IB")))
_DIGITS = 20  # of a size, fewer


@record(frozen=True)
class Plan:
    """A dump to be made."""

    input: str  # path of the dump or memory to read; "-": standard input
    output: str  # path to write; "-": standard output
    level: int = 0  # makedumpfile's dump level, 0 to 31
    codec: str | None = None  # name of the page codec; None: zstd, or no packing within a frame
    codec_level: int | None = None  # None: its default
    format: str = "kdump"  # name of the output format
    flattened: bool = False  # wrap the output in makedumpfile's flattened format
    force: bool = False  # overwrite an existing output
    threads: int = 1  # that scan, read and pack; 0: one a core
    frame: str | None = None  # name of the compressed frame around the output
    frame_level: int | None = None  # None: its default
    select: str | None = None  # one of vmsieve.formats.systems.SYSTEMS in the input; None: it holds one
    size_limit: int | None = None  # bytes of the output, at which it ends as on a full disk; None: no limit
    mapped: bool = True  # the input may be mapped into memory; otherwise it is read
    basis: str = "note"  # basis of the knowledge of the kernel: see filters.gather.gather_knowledge_from
    insist: bool = False  # fail before the first byte is written if less would be left out than the level asks for
    whole: bool = True  # count all memory; otherwise leave out what makedumpfile does, see pipeline.dump.scan
    salvage: bool = True  # if the output is full, finish it as an incomplete dump; otherwise remove the file
    split: tuple[str, ...] = ()  # files of a split dump, written instead of the output
    order: str | None = None  # one of ORDERS; None: of importance if the dump may be cut
    apart: bool = False  # find the order of importance in a process of its own
    reads: tuple[str, ...] = ()  # further files that are read, which must not be overwritten


def parse_size(text: str) -> int:
    """Parse a size in bytes: a number above 0, with an optional K, M, G or T (of 1024), and B or iB behind it.

    Raises ValueError that says what is expected.
    """
    number = text.upper().rstrip("BIGKMT")
    unit = text[len(number) :].upper()
    if not (number.isascii() and number.isdigit() and len(number) < _DIGITS and int(number) and unit in _UNITS):
        raise ValueError("a size above 0, such as 512M or 2GiB")
    return int(number) << 10 * " KMGT".index(unit[:1].replace("B", "") or " ")


def checked_level(kind: str, packer: Codec | Frame, level: int | None) -> int:
    """``level`` for a codec or frame, by default its own; raises UsageError if it has no such level."""
    if level is None:
        return packer.default_level
    low, high = packer.levels
    if not low <= level <= high:
        raise UsageError(f"{kind} {packer.name} has levels {low} to {high}", found=str(level))
    return level
