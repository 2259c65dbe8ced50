"""The plan of a dump, made before the first byte is read."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record


@record(frozen=True)
class Plan:
    """A dump to be made.

    Attributes:
        input: Path of the dump or memory to read; ``-``: standard input.
        output: Path to write; ``-``: standard output.
        level: makedumpfile's dump level, 0 to 31.
        codec: Name of the page codec; None: zstd, or no packing within a frame.
        codec_level: Its level; None: its default.
        format: Name of the output format.
        flattened: Wrap the output in makedumpfile's flattened format.
        force: Overwrite an existing output.
        threads: Threads that read and pack; 0: one a core.
        frame: Name of the compressed frame around the output, or None.
        frame_level: Its level; None: its default.
        select: Which of two systems in the input (:data:`vmsieve.formats.systems.SYSTEMS`); None: it holds one.
        size_limit: Maximum size of the output in bytes; a dump that reaches it ends as on a full disk. None: no limit.
        mapped: The input may be mapped into memory; otherwise it is read.
        basis: Basis of the knowledge of the kernel: see :func:`vmsieve.filters.gather.gather_knowledge_from`.
        insist: Fail before the first byte is written if less would be left out than ``level`` asks for.
        whole: Count all memory; otherwise leave out what makedumpfile does, see :mod:`~vmsieve.pipeline.dump.scan`.
        salvage: If the output is full, finish it as an incomplete dump; otherwise remove the file.
        split: Files of a split dump, written instead of ``output``.
        reads: Further files that are read, which must not be overwritten.
    """

    input: str
    output: str
    level: int = 0
    codec: str | None = None
    codec_level: int | None = None
    format: str = "kdump"
    flattened: bool = False
    force: bool = False
    threads: int = 1
    frame: str | None = None
    frame_level: int | None = None
    select: str | None = None
    size_limit: int | None = None
    mapped: bool = True
    basis: str = "note"
    insist: bool = False
    whole: bool = True
    salvage: bool = True
    split: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def parse_size(text: str) -> int:
    """Parse a size in bytes: a number above 0, with an optional K, M, G or T (of 1024).

    Raises:
        UsageError: It is not a size.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] and text[-1].upper() in "KMGT" else (text, "")
    if not (number.isascii() and number.isdigit() and len(number) < 20 and int(number)):
        raise UsageError("a size is a number above 0, with an optional K, M, G or T", found=repr(text))
    return int(number) << 10 * (" KMGT".index(unit.upper()) if unit else 0)
