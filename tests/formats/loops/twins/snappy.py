"""Raw snappy blocks in plain Python: a decoder, and a writer that uses every kind of element.

From ``format_description.txt`` of google/snappy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


def unpack(data: bytes, limit: int) -> bytes:
    """The content of the block ``data``; ValueError if it is damaged or holds more than ``limit`` bytes."""
    total, at = _preamble(data)
    if total > limit:
        raise ValueError("more than fits")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = (tag >> 2) + 1
            if length > 60:
                extra = _take(data, at, length - 60)
                at += length - 60
                length = int.from_bytes(extra, "little") + 1
            out += _take(data, at, length)
            at += length
        else:
            width = {1: 1, 2: 2, 3: 4}[tag & 3]
            distance = int.from_bytes(_take(data, at, width), "little")
            at += width
            length = (tag >> 2) + 1
            if tag & 3 == 1:
                length = (tag >> 2 & 7) + 4
                distance += tag >> 5 << 8
            if not 0 < distance <= len(out):
                raise ValueError("a copy from before the start, or from nowhere")
            for _ in range(length):
                out.append(out[-distance])
        if len(out) > total:
            raise ValueError("more than announced")
    if len(out) != total:
        raise ValueError("less than announced")
    return bytes(out)


def _preamble(data: bytes) -> tuple[int, int]:
    total = 0
    for at in range(5):
        byte = _take(data, at, 1)[0]
        total |= (byte & 127) << 7 * at
        if byte < 128:
            return total, at + 1
    raise ValueError("the size has too many bytes")


def _take(data: bytes, at: int, count: int) -> bytes:
    if at + count > len(data):
        raise ValueError("the block ends within an element")
    return data[at : at + count]


def write(random: Random, size: int) -> tuple[bytes, bytes]:
    """A block of elements chosen at random, and the ``size`` bytes it holds."""
    plain, packed = bytearray(), bytearray()
    while len(plain) < size:
        room = size - len(plain)
        if not plain or random.random() < 0.5:
            fresh = random.randbytes(random.randint(1, min(room, random.choice([1, 60, 61, 256, 257, 700]))))
            packed += _literal_tag(random, len(fresh)) + fresh
            plain += fresh
        else:
            _write_copy(random, plain, packed, room)
    return _size(size) + bytes(packed), bytes(plain)


def _size(size: int) -> bytes:
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def _literal_tag(random: Random, length: int) -> bytes:
    last = length - 1
    if last < 60 and random.random() < 0.8:
        return bytes([last << 2])
    width = max(1, (last.bit_length() + 7) // 8)
    width = random.randint(width, 4)
    return bytes([59 + width << 2]) + last.to_bytes(width, "little")


def _write_copy(random: Random, plain: bytearray, packed: bytearray, room: int) -> None:
    distance = random.randint(1, min(random.choice([1, 7, 8, 2047, 65535, 1 << 20]), len(plain)))
    length = random.randint(1, min(room, random.choice([4, 11, 64])))
    if 4 <= length <= 11 and distance < 2048 and random.random() < 0.8:
        packed += bytes([distance >> 8 << 5 | length - 4 << 2 | 1, distance & 255])
    elif distance < 65536 and random.random() < 0.8:
        packed += bytes([length - 1 << 2 | 2]) + distance.to_bytes(2, "little")
    else:
        packed += bytes([length - 1 << 2 | 3]) + distance.to_bytes(4, "little")
    for _ in range(length):
        plain.append(plain[-distance])
