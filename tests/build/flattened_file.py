"""Flattened files made by hand."""

from __future__ import annotations

import random
import struct

END = struct.pack(">qq", -1, -1)


def header(kind: int = 1, version: int = 1) -> bytes:
    """The header of a flattened file."""
    return (b"makedumpfile" + bytes(4) + struct.pack(">qq", kind, version)).ljust(4096, b"\0")


def flattened(pieces: list[tuple[int, bytes]], end: bytes = END) -> bytes:
    """A flattened file of pieces ``(offset, bytes)``, in this order."""
    return header() + b"".join(struct.pack(">qq", offset, len(data)) + data for offset, data in pieces) + end


def cut(data: bytes, size: int, seed: int = 0) -> list[tuple[int, bytes]]:
    """``data`` in pieces of ``size`` bytes, shuffled."""
    pieces = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    random.Random(seed).shuffle(pieces)
    return pieces
