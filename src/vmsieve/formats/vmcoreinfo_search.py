"""VMCOREINFO looked for in memory: where nothing in a dump tells where it is.

The kernel prepares its note at boot, at the start of a page (``crash_save_vmcoreinfo_init``, Linux
``kernel/vmcore_info.c``), so that dumps of machines that did not crash have it too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import elf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.source import Source

__all__ = ["each_vmcoreinfo", "find_vmcoreinfo", "stored_memory"]

#: Memory that is searched at most, and at a time.
_SEARCHED: Final = 16 << 30
_SEARCHED_PACKED: Final = 1 << 30
_CHUNK: Final = 4 << 20
_MOST_TRIES: Final = 64
#: Smallest page: the note begins at a multiple of it.
_PAGE: Final = 4096
#: Longest text; the kernel's is a page or two.
_MOST_TEXT: Final = 1 << 20
_NAME: Final = elf.NOTE_VMCOREINFO[0] + b"\0"
_MARK: Final = _NAME.ljust(-(-len(_NAME) // elf.NOTE_ALIGN) * elf.NOTE_ALIGN, b"\0")


def find_vmcoreinfo(source: Source) -> tuple[bytes, str] | None:
    """The text of the first VMCOREINFO note in stored memory, and its byte order; see :func:`each_vmcoreinfo`."""
    return next(each_vmcoreinfo(source), None)


def each_vmcoreinfo(source: Source) -> Iterator[tuple[bytes, str]]:
    """The texts of VMCOREINFO notes in stored memory, and the byte order that each was written in.

    More than one where kernels were there before this one. As much is searched as :func:`stored_memory` gives.
    """
    tries = _MOST_TRIES
    for at, buffer, size in stored_memory(source, "VMCOREINFO"):
        for head in _heads(buffer, size, at):
            tries -= 1
            found = _note(source, at + head)
            if found is not None:
                yield found
            if tries == 0:
                return


def stored_memory(source: Source, wanted: str) -> Iterator[tuple[int, bytearray, int]]:
    """Stored memory piece by piece: physical address, a buffer that is used again, and how many bytes of it count.

    16 GiB, or 1 GiB of packed pages; says in ``oddities`` when that is not all that could hold what is ``wanted``.
    """
    left = _SEARCHED_PACKED if source.compressed else _SEARCHED
    buffer = bytearray(_CHUNK)
    with memoryview(buffer) as view:
        for area in source.ranges():
            following = area.start
            while (at := source.next_data(following)) < area.stored_end:
                size = min(_CHUNK - at % _PAGE, area.stored_end - at)
                following = at + size
                left -= size
                if left < 0:
                    source.oddities.append(f"not all of memory was searched for {wanted}: there is too much of it")
                    return
                try:
                    source.read_into(at, view[:size])
                except ReadError:
                    continue
                yield at, buffer, size


def _heads(data: bytearray, size: int, start: int) -> Iterator[int]:
    """Where among the first ``size`` bytes of ``data``, memory from ``start`` on, a note may begin."""
    first = -start % _PAGE
    # One byte of each page is enough to tell almost all of them: those of all pages are picked out at once.
    letters = data[first + elf.NHDR_SIZE : size : _PAGE]
    page = letters.find(_MARK[0])
    while page >= 0:
        head = first + page * _PAGE
        if data.startswith(_MARK, head + elf.NHDR_SIZE):
            yield head
        page = letters.find(_MARK[0], page + 1)


def _note(source: Source, paddr: int) -> tuple[bytes, str] | None:
    head = bytearray(elf.NHDR_SIZE)
    try:
        source.read_into(paddr, memoryview(head))
        for name, order in elf.ORDERS.items():
            name_size, size, kind = struct.unpack(order + elf.NHDR, head)
            if (name_size, kind) == (len(_NAME), elf.NOTE_VMCOREINFO[1]) and 0 < size <= _MOST_TEXT:
                text = bytearray(size)
                source.read_into(paddr + elf.NHDR_SIZE + len(_MARK), memoryview(text))
                return (bytes(text), name) if b"OSRELEASE=" in text else None
    except ReadError:
        pass
    return None
