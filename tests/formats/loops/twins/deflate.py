"""Unpacks zlib streams (RFC 1950, RFC 1951) that every reader accepts, and refuses others.

Stricter than zlib: codes must be complete, a block must be one that a page needs, and no bits may be left over.
"""

from __future__ import annotations

import struct
import zlib
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

_LENGTHS = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
]  # fmt: skip
_LENGTH_BITS = [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4 + [0]
_DISTANCES = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
    8193, 12289, 16385, 24577,
]  # fmt: skip
_DISTANCE_BITS = [0, 0, 0, 0] + [n for n in range(1, 14) for _ in range(2)]
_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


class _Bits:
    """The bits of a stream in order."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}"[::-1] for byte in data)
        self._at = 0

    def number(self, count: int) -> int:
        """A number of ``count`` bits, lowest first."""
        text = self._bits[self._at : self._at + count]
        if len(text) < count:
            raise ValueError("the stream ends early")
        self._at += count
        return int(text[::-1] or "0", 2)

    def symbol(self, code: dict[str, int]) -> int:
        """The symbol of the next code."""
        start = self._at
        for end in range(start + 1, start + 16):
            if self._bits[start:end] in code:
                self._at = end
                return code[self._bits[start:end]]
        raise ValueError("no symbol has such a code")

    def end(self) -> None:
        """Only zeros are left in the last byte."""
        if len(self._bits) - self._at >= 8 or "1" in self._bits[self._at :]:
            raise ValueError("something is left behind the last block")


def make_code(lengths: list[int]) -> dict[str, int]:
    """Symbols by their codes, as strings of bits; ``lengths``: the bits of each symbol's code."""
    if sum(2.0**-n for n in lengths if n) != 1:
        raise ValueError("the code is not complete")
    code, value, last = {}, 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        value <<= length - last
        code[f"{value:0{length}b}"] = symbol
        value, last = value + 1, length
    return code


def least_cost(counts: list[int]) -> int:
    """The number of bits of an optimal code of any length (Huffman, 1952)."""
    heap, cost = [count for count in counts if count], 0
    heapify(heap)
    while len(heap) > 1:
        both = heappop(heap) + heappop(heap)
        cost += both
        heappush(heap, both)
    return cost


def _told_lengths(bits: _Bits) -> tuple[list[int], list[int]]:
    sizes = bits.number(5) + 257, bits.number(5) + 1
    orders = [0] * 19
    for i in range(bits.number(4) + 4):
        orders[_ORDER[i]] = bits.number(3)
    code = make_code(orders)
    lengths: list[int] = []
    while len(lengths) < sum(sizes):
        symbol = bits.symbol(code)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            lengths += [lengths[-1]] * (3 + bits.number(2))
        else:
            lengths += [0] * (3 + bits.number(3) if symbol == 17 else 11 + bits.number(7))
    if len(lengths) > sum(sizes):
        raise ValueError("too many lengths of codes")
    return lengths[: sizes[0]], lengths[sizes[0] :]


def unpack(packed: bytes, size: int, kinds: Counter[int] | None = None) -> bytes:
    """Unpack a stream to exactly ``size`` bytes; counts the kinds of its blocks in ``kinds``.

    Raises:
        ValueError: The stream is not one that vmsieve's encoder may write.
    """
    if packed[:1] != b"\x78" or int.from_bytes(packed[:2], "big") % 31 or packed[1] & 0x20:
        raise ValueError("the header is not that of a stream with a window of 32 KiB and no dictionary")
    bits, out = _Bits(packed[2:-4]), bytearray()
    last = 0
    while not last:
        last, kind = bits.number(1), bits.number(2)
        if kinds is not None:
            kinds[kind] += 1
        if kind == 2:
            lengths, distances = _told_lengths(bits)
        elif kind == 1:
            lengths, distances = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, [5] * 32
        else:
            raise ValueError("a block of a kind that is not written")
        _unpack_block(bits, make_code(lengths), make_code(distances), out)
    bits.end()
    if len(out) != size or struct.unpack(">I", packed[-4:])[0] != zlib.adler32(out):
        raise ValueError("another size, or a wrong checksum")
    return bytes(out)


def _unpack_block(bits: _Bits, literals: dict[str, int], distances: dict[str, int], out: bytearray) -> None:
    symbol = bits.symbol(literals)
    while symbol != 256:
        if symbol < 256:
            out.append(symbol)
        else:
            length = _LENGTHS[symbol - 257] + bits.number(_LENGTH_BITS[symbol - 257])
            symbol = bits.symbol(distances)
            distance = _DISTANCES[symbol] + bits.number(_DISTANCE_BITS[symbol])
            if distance > len(out):
                raise ValueError("a copy from before the page")
            for _ in range(length):
                out.append(out[-distance])
        symbol = bits.symbol(literals)
