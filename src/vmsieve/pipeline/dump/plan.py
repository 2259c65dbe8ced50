"""What is asked for, decided before the first byte is read."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, EXIT_WEAKER

__all__ = ["EXIT_FAILED", "EXIT_INCOMPLETE", "EXIT_OK", "EXIT_USAGE", "EXIT_WEAKER", "Plan", "parse_size"]


@record(frozen=True)
class Plan:
    """A dump to be made.

    Attributes:
        input: Path of the dump or memory to read; ``-``: standard input.
        output: Path to write; ``-``: standard output.
        level: makedumpfile's dump level, 0 to 31: what to leave out.
        codec: Name of the page codec; None: zstd, or none within a frame.
        codec_level: Its level; None: its default.
        format: Name of the output format.
        flattened: Wrap the output in makedumpfile's flattened format.
        force: Overwrite an existing output.
        threads: Workers that read and pack; 0: as many as there are cores.
        frame: Name of the compressed frame that the output is put in; None: none.
        frame_level: Its level; None: its default.
        select: Which of two systems in the input (:data:`vmsieve.formats.systems.SYSTEMS`); None: it holds one.
        size_limit: Bytes that the output may have; a dump that reaches it ends as on a full disk. None: no limit.
        mapped: The input may be mapped into memory; else it is read.
        basis: What knowledge of the kernel starts from: see :func:`vmsieve.filters.gather.gather_knowledge_from`.
        insist: A dump that would leave out less than ``level`` asks for is an error, before the first byte is written.
        whole: All memory counts; else what makedumpfile leaves out is left out (:func:`vmsieve.pipeline.dump.scan.scan`).
        salvage: When the output is full, what was written is finished as an incomplete dump; else a file is removed.
        reads: Further files that are read, which are no output.
        split: Files that the dump is shared out among, instead of being written to ``output``.
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
    """Bytes that ``text`` means: a number above 0, with K, M, G or T (of 1024) behind it.

    Raises:
        UsageError: It is none.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] and text[-1].upper() in "KMGT" else (text, "")
    if not (number.isascii() and number.isdigit() and len(number) < 20 and int(number)):
        raise UsageError("a size is a number above 0, with K, M, G or T behind it", found=repr(text))
    return int(number) << 10 * (" KMGT".index(unit.upper()) if unit else 0)
