"""A search of memory for VMCOREINFO, for dumps whose headers do not point to it.

The kernel prepares its note at boot, at the start of a page (``crash_save_vmcoreinfo_init``, Linux
``kernel/vmcore_info.c``): dumps of machines that did not crash have it too.
"""

from __future__ import annotations

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import ORDERS, elf
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.source import Source

#: Most memory to search, unpacked and packed, and bytes per read.
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
    """Text and byte order of the first VMCOREINFO note in stored memory, or None; see :func:`each_vmcoreinfo`."""
    return next(each_vmcoreinfo(source), None)


def each_vmcoreinfo(source: Source) -> Iterator[tuple[bytes, str]]:
    """Yield text and byte order of each VMCOREINFO note in stored memory, as far as :func:`stored_memory` goes.

    Memory has several if it still holds notes of earlier kernels.
    """
    tries = _MOST_TRIES
    for at, buffer, size in stored_memory(source, "VMCOREINFO"):
        for head in _heads(buffer, size, at):
            tries -= 1
            found = vmcoreinfo_at(source, at + head)
            if found is not None:
                yield found
            if tries == 0:
                return


def stored_memory(source: Source, wanted: str) -> Iterator[tuple[int, bytearray, int]]:
    """Yield stored memory in chunks: physical address, a buffer that is reused, and the number of valid bytes in it.

    Stops after 16 GiB, or 1 GiB of packed pages; then adds a remark that the search for ``wanted`` was not complete.
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
                    source.remarks.append(f"not all of memory was searched for {wanted}: there is too much of it")
                    return
                try:
                    source.read_into(at, view[:size])
                except ReadError:
                    continue
                yield at, buffer, size


def _heads(data: bytearray, size: int, start: int) -> Iterator[int]:
    """Offsets of possible notes among the first ``size`` bytes of ``data``, memory from ``start`` on."""
    first = -start % _PAGE
    # One slice picks one byte of each page, which rules out almost all pages at once.
    letters = data[first + elf.NHDR.size : size : _PAGE]
    page = letters.find(_MARK[0])
    while page >= 0:
        head = first + page * _PAGE
        if data.startswith(_MARK, head + elf.NHDR.size):
            yield head
        page = letters.find(_MARK[0], page + 1)


def vmcoreinfo_at(source: Source, paddr: int) -> tuple[bytes, str] | None:
    """Text and byte order of the VMCOREINFO note at physical address ``paddr``, or None if there is no such note."""
    data = read_bytes(source, paddr, elf.NHDR.size + len(_MARK))
    if data is None or not data.endswith(_MARK):
        return None
    for order in ORDERS:
        head = elf.NHDR.unpack(data, order=order)
        if (head.n_namesz, head.n_type) == (len(_NAME), elf.NOTE_VMCOREINFO[1]) and 0 < head.n_descsz <= _MOST_TEXT:
            text = read_bytes(source, paddr + len(data), head.n_descsz)
            return (text, order) if text is not None and b"OSRELEASE=" in text else None
    return None
