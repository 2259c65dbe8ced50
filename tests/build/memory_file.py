"""A file in memory, and queries of an open dump for reader tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.inputs import Source, open_file

if TYPE_CHECKING:
    from collections.abc import Iterable


class MemoryFile:
    """Bytes read like a file; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, data: bytes) -> None:
        self.name = "made up"
        self.data = data
        self.size = len(data)
        self.closed = 0

    def read_into(self, offset: int, out: memoryview) -> int:
        assert offset >= 0
        part = self.data[offset : offset + len(out)]
        out[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self.closed += 1


def source(data: bytes) -> Source:
    """``data`` opened as a dump."""
    return open_file(MemoryFile(data))


def read(dump: Source, paddr: int, size: int) -> bytes:
    """``size`` bytes of physical memory."""
    out = bytearray(b"\xa5" * size)
    dump.read_into(paddr, memoryview(out))
    return bytes(out)


def ranges(dump: Source) -> list[tuple[int, int, int]]:
    """The ranges of memory: start, end of the stored part, end."""
    return [(r.start, r.stored_end, r.end) for r in dump.ranges()]


def bits(bitmap: bytes | bytearray) -> set[int]:
    """The bits that are set, least significant first."""
    return {i * 8 + j for i, byte in enumerate(bitmap) for j in range(8) if byte >> j & 1}


def page_sets(dump: Source, page_size: int, limit: int) -> tuple[set[int], set[int]]:
    """Page frames below ``limit`` that exist, and the stored ones."""
    exists, stored = dump.memory_bits(0, -(-limit // 8) * 8, page_size)
    return bits(exists), bits(stored)


def pages_in(ranges: Iterable[tuple[int, int]], page_size: int) -> set[int]:
    """Page frames that overlap the ranges."""
    return {pfn for start, end in ranges for pfn in range(start // page_size, -(-end // page_size)) if start < end}
