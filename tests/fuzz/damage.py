"""Damages inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.build.memory_file import MemoryFile

if TYPE_CHECKING:
    import random


VALUES = (0, 1, 7, 0x7F, 0x80, 0xFF, 0xFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 1 << 63, (1 << 64) - 1)


def damaged(data: bytes, dice: random.Random, start: int = 0) -> bytes:
    """``data`` with a few bytes changed, mostly near ``start``, and sometimes truncated or spliced."""
    out = bytearray(data)
    for _ in range(dice.randrange(1, 7)):
        at = min(len(out) - 1, start + int(len(out) ** dice.random())) if out else 0
        width = dice.choice((1, 2, 4, 8))
        value = dice.choice((*VALUES, dice.getrandbits(64))) & ((1 << 8 * width) - 1)
        out[at : at + width] = value.to_bytes(width, dice.choice(("little", "big")))
    if dice.random() < 0.2:
        del out[dice.randrange(len(out) + 1) :]
    if dice.random() < 0.1:
        at = dice.randrange(len(out) + 1)
        out[at:at] = dice.randbytes(dice.choice((1, 8, 100)))
    return bytes(out)


class Patched(MemoryFile):
    """A file with some bytes replaced on reading, as it is too large to be copied for each input."""

    def __init__(self, data: bytes, patches: dict[int, bytes]) -> None:
        super().__init__(data)
        self.patches = patches

    def read_into(self, offset: int, out: memoryview) -> int:
        got = super().read_into(offset, out)
        for at, value in self.patches.items():
            for i, byte in enumerate(value):
                if offset <= at + i < offset + got:
                    out[at + i - offset] = byte
        return got
