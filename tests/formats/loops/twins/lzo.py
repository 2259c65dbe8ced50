"""LZO1X streams in plain Python: a decoder, and a writer that uses every kind of instruction.

From the description in Linux, Documentation/staging/lzo.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

#: The mandatory end of a stream.
END = b"\x11\0\0"


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise ValueError("the stream ends within an instruction")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self, bits: int, operand: int) -> int:
        if operand:
            return operand
        length = (1 << bits) - 1
        while (byte := self.byte()) == 0:
            length += 255
        return length + byte


def unpack(data: bytes, limit: int) -> bytes:
    """The content of the stream ``data``; ValueError if it is damaged or holds more than ``limit`` bytes."""
    reader, out, state = _Reader(data), bytearray(), 0
    if data and data[0] > 17:
        count = reader.byte() - 17
        out += reader.take(count)
        state = min(count, 4)
    while True:
        code = reader.byte()
        if code < 16 and state == 0:
            out += reader.take(3 + reader.length(4, code))
            state = 4
            _check(out, limit)
            continue
        length, distance, state = _match(reader, code, state)
        if distance == 0:
            break
        if distance > len(out):
            raise ValueError("a match from before the start")
        for _ in range(length):
            out.append(out[-distance])
        out += reader.take(state)
        _check(out, limit)
    if reader.at != len(data):
        raise ValueError("bytes behind the end")
    return bytes(out)


def _check(out: bytearray, limit: int) -> None:
    if len(out) > limit:
        raise ValueError("more than fits")


def _match(reader: _Reader, code: int, state: int) -> tuple[int, int, int]:
    """Length, distance (0 for the end), and how many literals follow."""
    if code >= 64:
        length = 3 + (code >> 5 & 1) if code < 128 else 5 + (code >> 5 & 3)
        return length, (reader.byte() << 3) + (code >> 2 & 7) + 1, code & 3
    if code >= 32:
        length = 2 + reader.length(5, code & 31)
        word = int.from_bytes(reader.take(2), "little")
        return length, (word >> 2) + 1, word & 3
    if code >= 16:
        length = 2 + reader.length(3, code & 7)
        word = int.from_bytes(reader.take(2), "little")
        distance = 16384 + ((code >> 3 & 1) << 14) + (word >> 2)
        return length, 0 if distance == 16384 else distance, word & 3
    if state == 4:
        return 3, (reader.byte() << 2) + (code >> 2) + 2049, code & 3
    return 2, (reader.byte() << 2) + (code >> 2) + 1, code & 3


def write(random: Random, size: int) -> tuple[bytes, bytes]:
    """A stream of instructions chosen at random, and the ``size`` bytes (or a few less) it holds."""
    plain, packed = bytearray(), bytearray()
    state = 0
    if random.random() < 0.7 and size > 3:
        count = random.randint(1, min(size, 238))
        packed.append(17 + count)
        state = min(count, 4)
        _literals(random, plain, packed, count)
    while size - len(plain) >= 6:
        room = size - len(plain)
        if state == 0 and (not plain or random.random() < 0.5):
            count = random.randint(4, min(room, random.choice([18, 19, 600])))
            packed += _number(count - 3, 4, 0)
            _literals(random, plain, packed, count)
            state = 4
        else:
            state = _write_match(random, plain, packed, state, room - 3)
    return bytes(packed + END), bytes(plain)


def _write_match(random: Random, plain: bytearray, packed: bytearray, state: int, room: int) -> int:
    after = random.randint(0, 3)
    distance = random.randint(1, min(random.choice([1, 9, 1024, 2048, 16384, 49151]), len(plain)))
    length = random.randint(3, min(room, random.choice([3, 4, 8, 9, 10, 33, 34, 900])))
    if 1 <= state <= 3 and distance <= 1024 and random.random() < 0.3:
        length = 2  # there is no other way to say two
        packed += bytes([(distance - 1 & 3) << 2 | after, distance - 1 >> 2])
    elif state == 4 and length == 3 and 2049 <= distance <= 3072:
        packed += bytes([(distance - 2049 & 3) << 2 | after, distance - 2049 >> 2])
    elif 3 <= length <= 8 and distance <= 2048 and random.random() < 0.7:
        first = 64 | length - 3 << 5 if length < 5 else 128 | length - 5 << 5
        packed += bytes([first | (distance - 1 & 7) << 2 | after, distance - 1 >> 3])
    elif distance <= 16384:
        packed += _number(length - 2, 5, 32) + ((distance - 1) << 2 | after).to_bytes(2, "little")
    else:
        beyond = distance - 16384
        packed += _number(length - 2, 3, 16 | beyond >> 14 << 3) + ((beyond & 16383) << 2 | after).to_bytes(2, "little")
    for _ in range(length):
        plain.append(plain[-distance])
    _literals(random, plain, packed, after)
    return after


def _literals(random: Random, plain: bytearray, packed: bytearray, count: int) -> None:
    fresh = random.randbytes(count)
    plain += fresh
    packed += fresh


def _number(value: int, bits: int, code: int) -> bytes:
    most = (1 << bits) - 1
    if value <= most:
        return bytes([code | value])
    zeros, last = divmod(value - most - 1, 255)
    return bytes([code]) + bytes(zeros) + bytes([last + 1])
