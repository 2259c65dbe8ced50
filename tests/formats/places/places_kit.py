"""Helpers of the places' tests: dumps put to a place, and a parser of flattened streams."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from tests.formats.output_kit import PAGE, ZLIB, Memory, page, write
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.formats.outputs.kdump import KdumpWriter

if TYPE_CHECKING:
    from vmsieve.formats.outputs import Place


def content(fd: int) -> bytes:
    """All of a file."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def memory() -> Memory:
    """Some pages, a hole, and some more."""
    pages: dict[int, bytes | None] = {pfn: page(pfn) if pfn % 4 else bytes(PAGE) for pfn in range(150)}
    pages |= {pfn: bytes(range(256)) * 16 for pfn in range(400, 403)}
    return Memory(set(range(500)), pages)


def kdump(place: Place, machine: Memory, *, complete: bool = True) -> None:
    write(KdumpWriter(machine.description(codec=ZLIB), place), machine, packed=True, complete=complete)


def elf(place: Place, machine: Memory, *, complete: bool = True) -> None:
    write(ElfWriter(machine.description(), place), machine, packed=False, complete=complete)


def pieces(stream: bytes) -> list[tuple[int, bytes]]:
    """Pieces of a flattened stream, which must be whole."""
    assert stream[:4096] == b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1) + bytes(4064)
    found: list[tuple[int, bytes]] = []
    at = 4096
    while True:
        offset, size = struct.unpack_from(">qq", stream, at)
        at += 16
        if offset == -1:
            assert (size, at) == (-1, len(stream))
            return found
        assert size > 0
        found.append((offset, stream[at : at + size]))
        assert len(found[-1][1]) == size
        at += size


def rebuilt(stream: bytes) -> bytes:
    """The file that a flattened stream gives; no byte is sent twice."""
    whole = bytearray()
    for offset, data in pieces(stream):
        whole += bytes(max(0, offset + len(data) - len(whole)))
        assert not any(whole[offset : offset + len(data)])
        whole[offset : offset + len(data)] = data
    return bytes(whole)
