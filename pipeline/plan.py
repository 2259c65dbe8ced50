"""What is asked for, decided before the first byte is read."""

from __future__ import annotations

from vmsieve.formats.records import record

__all__ = ["EXIT_FAILED", "EXIT_INCOMPLETE", "EXIT_OK", "EXIT_USAGE", "EXIT_WEAKER", "Plan"]

EXIT_OK = 0  # done as asked
EXIT_FAILED = 1  # failed, nothing usable
EXIT_USAGE = 2  # the request makes no sense
EXIT_WEAKER = 3  # whole, but less was filtered than asked
EXIT_INCOMPLETE = 4  # usable, but not whole


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
