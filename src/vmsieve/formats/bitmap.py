"""Bitmaps of page frames, compressed in memory, so that their size does not follow the size of the machine.

A block covers 2**18 page frames (1 GiB of 4 KiB pages, 32 KiB of bitmap). Most blocks of a real machine are all ones,
all zeros, or compress to a tenth.
"""

from __future__ import annotations

import ctypes
import zlib

from vmsieve.formats.loops.bits import count_bits
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Page frames per block.
BLOCK: Final = 1 << 18
BLOCK_BYTES: Final = BLOCK // 8
_ZEROS: Final = bytes(BLOCK_BYTES)
_ONES: Final = b"\xff" * BLOCK_BYTES


class PageBits(Protocol):
    """A compact bitmap of page frames."""

    #: Page frames per block; a multiple of 8.
    block: int

    def filled(self) -> Iterator[int]:
        """Numbers of blocks with a bit set, ascending: memory may lie far apart."""

    def __getitem__(self, number: int) -> bytes:
        """Block ``number``, ``block // 8`` bytes, least significant bit first."""

    def count(self) -> int:
        """Bits set in all blocks."""


def address_of(buffer: bytearray | memoryview) -> int:
    """Address of a writable buffer's first byte, for loops; the caller keeps the buffer alive and its size fixed."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def cut_bits(bits: bytearray, end: int, start: int = 0) -> None:
    """Clear all bits outside ``start`` to ``end``, which may lie beyond the bitmap."""
    at, rest = divmod(max(end, 0), 8)
    if at < len(bits):
        bits[at] &= (1 << rest) - 1
        bits[at + 1 :] = bytes(len(bits) - at - 1)
    at, rest = divmod(min(max(start, 0), 8 * len(bits)), 8)
    bits[:at] = bytes(at)
    if rest:
        bits[at] &= 0xFF << rest & 0xFF


def set_bits(bits: bytearray, low: int, high: int) -> None:
    """Set the bits ``low <= bit < high``; the range is not empty."""
    first, last = low >> 3, (high - 1) >> 3
    head, tail = 0xFF << (low & 7) & 0xFF, 0xFF >> (-high & 7)
    if first == last:
        bits[first] |= head & tail
        return
    bits[first] |= head
    bits[first + 1 : last] = b"\xff" * (last - first - 1)
    bits[last] |= tail


def count_ones(bits: bytearray) -> int:
    """Count the bits set."""
    return count_bits(address_of(bits), len(bits))


def blocks_between(bits: PageBits, start: int, end: int) -> Iterator[tuple[int, bytearray]]:
    """Yield number and content of the blocks from ``start`` up to ``end``; bits outside are clear."""
    for number in bits.filled():
        first = number * bits.block
        if start < first + bits.block and first < end:
            block = bytearray(bits[number])
            cut_bits(block, end - first, start - first)
            yield number, block


def count_between(bits: PageBits, start: int, end: int) -> int:
    """Count bits set from ``start`` up to ``end``."""
    return sum(count_ones(block) for _, block in blocks_between(bits, start, end))


class Bitmap:
    """A bitmap that is filled block by block and read at random."""

    block = BLOCK

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}
        self._length = 0
        self._count = 0

    def put(self, number: int, block: bytearray) -> None:
        """Store block ``number``, :data:`BLOCK_BYTES` bytes. Numbers ascend; blocks left out are zeros."""
        assert number >= self._length
        assert len(block) == BLOCK_BYTES
        ones = count_ones(block)
        self._count += ones
        if ones:
            self._blocks[number] = _ONES if ones == BLOCK else zlib.compress(block, 1)
        self._length = number + 1

    def packed(self) -> tuple[int, int, dict[int, bytes]]:
        """Return the arguments of :meth:`unpacked`, of types that ``marshal`` supports."""
        blocks = {number: b"" if stored is _ONES else stored for number, stored in self._blocks.items()}
        return self._length, self._count, blocks

    @classmethod
    def unpacked(cls, length: int, count: int, blocks: dict[int, bytes]) -> Bitmap:
        """The bitmap that :meth:`packed` returned this of."""
        made = cls()
        made._length, made._count = length, count
        made._blocks = {number: stored or _ONES for number, stored in blocks.items()}
        return made

    def __len__(self) -> int:
        return self._length

    def filled(self) -> Iterator[int]:
        """See :class:`PageBits`."""
        return iter(self._blocks)

    def __getitem__(self, number: int) -> bytes:
        """Block ``number``, uncompressed."""
        if not 0 <= number < self._length:
            raise IndexError(number)
        stored = self._blocks.get(number, _ZEROS)
        # By identity: a compressed block may be as long as an uncompressed one.
        return stored if stored is _ZEROS or stored is _ONES else zlib.decompress(stored)

    def __iter__(self) -> Iterator[bytes]:
        return (self[number] for number in range(self._length))

    def count(self) -> int:
        """Bits set in all blocks."""
        return self._count
