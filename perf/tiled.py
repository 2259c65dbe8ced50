"""Dumps of large machines, made from the dump of a small one.

    python -m perf.tiled SMALL BIG --gib 256

The small dump (an ELF core of x86_64 with four levels of page tables and a vmemmap) is copied, and memory is added
behind its own. All added struct pages are in the file, copied from the small machine's 16 MiB of memory at a time; the
added pages are a hole in the file and read as zeros. Page tables and memory sections are edited so that vmsieve and
makedumpfile find the added struct pages where the kernel would have them, and the last zone counts the added free
blocks. New page tables replace page cache.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.histogram import Histogram
from vmsieve.filters.linux.zones import free_blocks, free_counters
from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.inputs import open_source
from vmsieve.formats.layouts import elf
from vmsieve.pipeline.dump.scan import open_classifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import MemoryRange, Source

__all__ = ["main", "make"]

_PAGE: Final = 4096
_GIB: Final = 1 << 30
_SECTION: Final = 1 << 27  # SECTION_SIZE_BITS of x86_64
_SECTION_PAGES: Final = _SECTION // _PAGE
_LARGE: Final = 1 << 21
_STRUCT_PAGE: Final = 64
#: Page frames whose struct pages are copied together: more than the largest free block, which no copy may cut.
_TILE: Final = 4096
# Page table entries: present, writable, accessed, dirty; and for 2 MiB at once.
_TABLE, _LARGE_PAGE = 0x063, 0x0E3
_ADDRESS: Final = (1 << 52) - (1 << 12)
_COPIED: Final = 1 << 20


class _Small:
    """The small dump, and the changes to its copy."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.kernel: Knowledge = gather_knowledge(source)
        kernel = self.kernel
        if kernel.memory is None or kernel.memmap is None or kernel.info is None:
            raise ValueError(f"the kernel is not understood: {kernel.problem}")
        if source.machine != "x86_64" or kernel.memmap.struct_page_size != _STRUCT_PAGE:
            raise ValueError("only dumps of x86_64 kernels with struct pages of 64 bytes are tiled")
        if kernel.info.number("pgtable_l5_enabled"):
            raise ValueError("page tables of five levels are not edited here")
        self.memory, self.info = kernel.memory, kernel.info
        runs = list(kernel.memmap.runs())
        self.vmemmap = runs[0].vaddr - runs[0].first_pfn * _STRUCT_PAGE
        self.changes: dict[int, bytearray] = {}
        self._spare = self._spare_pages()

    def _spare_pages(self) -> Iterator[int]:
        """Yield physical addresses of page cache pages, and make them the kernel's own."""
        classifier = open_classifier(self.kernel, 4, [])
        assert classifier is not None
        for first in range(0, self.kernel.max_pfn(self.source.end()), BLOCK):
            _, stored = self.source.memory_bits(first, BLOCK, _PAGE)
            kept = bytearray(stored)
            classifier.sieve(first, kept, Histogram())
            for at, (there, left) in enumerate(zip(stored, kept)):
                if there == 0xFF and left == 0:
                    for pfn in range(first + at * 8, first + at * 8 + 8):
                        self._make_kernels(pfn)
                        yield pfn * _PAGE

    def _make_kernels(self, pfn: int) -> None:
        """Give a page the struct page of a page that holds struct pages."""
        own = self.memory.translate(self.vmemmap)[0] // _PAGE
        one = self.memory.read(self.vmemmap + own * _STRUCT_PAGE, _STRUCT_PAGE)
        at = self.memory.translate(self.vmemmap + pfn * _STRUCT_PAGE)[0]
        self.page(at // _PAGE * _PAGE)[at % _PAGE : at % _PAGE + _STRUCT_PAGE] = one

    def page(self, paddr: int) -> bytearray:
        """Return a page of the copy, which the caller may change."""
        if paddr not in self.changes:
            self.changes[paddr] = bytearray(self.memory.physical.read(paddr, _PAGE))
        return self.changes[paddr]

    def new_page(self) -> int:
        """Return the physical address of a zeroed page, taken from the page cache."""
        paddr = next(self._spare)
        self.changes[paddr] = bytearray(_PAGE)
        return paddr

    def map_large(self, vaddr: int, paddr: int) -> None:
        """Map 2 MiB of virtual memory, with new tables where they are missing."""
        root = next(s for s in map(self.info.symbol, ("init_top_pgt", "init_level4_pgt", "swapper_pg_dir")) if s)
        table = self.memory.translate(root)[0]
        for shift in (39, 30):
            content, at = self.page(table), (vaddr >> shift & 511) * 8
            (entry,) = struct.unpack_from("<Q", content, at)
            if not entry & 1:
                entry = self.new_page() | _TABLE
                struct.pack_into("<Q", content, at, entry)
            table = entry & _ADDRESS
        struct.pack_into("<Q", self.page(table), (vaddr >> 21 & 511) * 8, paddr | _LARGE_PAGE)

    def add_section(self, number: int) -> None:
        """Give a memory section its map: that of any other section, because all share the vmemmap."""
        size, offset = self.info.need("SIZE", "mem_section"), self.info.need("OFFSET", "mem_section.section_mem_map")
        per_root = _PAGE // size
        roots = self.memory.translate(self.info.need("SYMBOL", "mem_section"))[0]
        (first,) = struct.unpack_from("<Q", self.page(roots), 0)
        direct = first - self.memory.translate(first)[0]
        (coded,) = struct.unpack_from("<Q", self.page(first - direct), offset)
        at = roots + number // per_root * 8
        table, place = self.page(at // _PAGE * _PAGE), at % _PAGE
        (root,) = struct.unpack_from("<Q", table, place)
        if not root:
            root = self.new_page() + direct
            struct.pack_into("<Q", table, place, root)
        place = root - direct + number % per_root * size + offset
        struct.pack_into("<Q", self.page(place // _PAGE * _PAGE), place % _PAGE, coded)

    def tiles(self) -> list[int]:
        """Return the first page frame of each tile: an aligned run of page frames without a hole."""
        found = []
        for first in range(0, self.source.end() // _PAGE - _TILE + 1, _TILE):
            _, stored = self.source.memory_bits(first, _TILE, _PAGE)
            if stored.count(0xFF) == len(stored):
                found.append(first)
        if not found:
            raise ValueError("the dump has no 16 MiB of memory without a hole")
        return found

    def struct_pages(self, first_pfn: int, to: int) -> bytes:
        """Return the struct pages of one tile, moved to page frame ``to``: tails point to their heads."""
        out = bytearray(_TILE * _STRUCT_PAGE)
        self.memory.read_into(self.vmemmap + first_pfn * _STRUCT_PAGE, memoryview(out))
        at = self.info.offset("page.compound_head")
        if at is None:
            return bytes(out)
        words, moved = array("Q", bytes(out)), (to - first_pfn) * _STRUCT_PAGE
        marks = slice(at // 8, None, _STRUCT_PAGE // 8)
        words[marks] = array("Q", [mark + moved * (mark & 1) for mark in words[marks]])
        return words.tobytes()


def make(small: Path, big: Path, gib: int) -> int:
    """Write ``big``, a machine with about ``gib`` GiB; return its page frames with memory.

    Raises:
        ValueError: The small dump is not of the kind that can be tiled.
    """
    source = open_source(str(small))
    dump = _Small(source)
    there = sum(r.end - r.start for r in source.ranges())
    sections = max(0, gib * _GIB - there) // _SECTION
    start = -(-source.end() // _GIB) * _GIB
    tiles = dump.tiles()
    for i in range(sections):
        number = start // _SECTION + i
        dump.map_large(dump.vmemmap + number * _SECTION_PAGES * _STRUCT_PAGE, start + i * _LARGE)
        dump.add_section(number)
    with big.open("wb") as out:
        behind = _write_small(out.fileno(), source, dump, start, sections * _SECTION)
        # The struct pages of the new memory lie at its beginning.
        for i in range(sections * _SECTION_PAGES // _TILE):
            tile = dump.struct_pages(tiles[i % len(tiles)], start // _PAGE + i * _TILE)
            os.pwrite(out.fileno(), tile, behind + i * _TILE * _STRUCT_PAGE)
        # Memory that holds struct pages is the kernel's own, as it is on the small machine.
        own = dump.memory.translate(dump.vmemmap + tiles[0] * _STRUCT_PAGE)[0] // _PAGE
        one = dump.memory.read(dump.vmemmap + own * _STRUCT_PAGE, _STRUCT_PAGE)
        os.pwrite(out.fileno(), one * (sections * _LARGE // _PAGE), behind)
        os.ftruncate(out.fileno(), behind + sections * _SECTION)
    source.close()
    _count_blocks(big)
    return (there + sections * _SECTION) // _PAGE


def _count_blocks(big: Path) -> None:
    """Correct the free block counters of the last zone."""
    source = open_source(str(big))
    kernel = gather_knowledge(source)
    classifier = open_classifier(kernel, 16, [])
    assert classifier is not None
    assert kernel.memory is not None
    assert kernel.info is not None
    for first in range(0, kernel.max_pfn(source.end()), BLOCK):
        classifier.sieve(first, source.memory_bits(first, BLOCK, _PAGE)[1], Histogram())
    counted, found = free_blocks(kernel.memory, kernel.info) or [], classifier.parameters.free_blocks
    ranges = [*source.ranges()]
    data = -(-(elf.EHDR.size + (len(ranges) + 1) * elf.PHDR.size + len(source.notes)) // _PAGE) * _PAGE
    with big.open("r+b") as out:
        for order, place in enumerate(free_counters(kernel.memory, kernel.info)[-1]):
            paddr, at = kernel.memory.translate(place)[0], data
            number = kernel.memory.u64(place) + (found[order] - counted[order] if order else 0)
            for piece in ranges:
                if piece.start <= paddr < piece.stored_end:
                    os.pwrite(out.fileno(), struct.pack("<Q", number), at + paddr - piece.start)
                at += -(-(piece.stored_end - piece.start) // _PAGE) * _PAGE
    source.close()


def _write_small(fd: int, source: Source, dump: _Small, start: int, size: int) -> int:
    """Write headers and the changed memory of the small machine; return the file offset of the added memory."""
    ranges = [*source.ranges()]
    direct = next(v.vaddr - v.paddr for v in source.virtual if v.vaddr < 0xFFFFFFFF80000000)
    at = -(-(elf.EHDR.size + (len(ranges) + 2) * elf.PHDR.size + len(source.notes)) // _PAGE) * _PAGE
    notes_at = elf.EHDR.size + (len(ranges) + 2) * elf.PHDR.size
    headers = [elf.PHDR.format("little").pack(elf.PT_NOTE, 0, notes_at, 0, 0, len(source.notes), len(source.notes), 4)]
    for piece in ranges:
        headers.append(_load(at, piece.start, piece.stored_end - piece.start, piece.end - piece.start, direct))
        _copy(fd, at, source, dump, piece)
        at += -(-(piece.stored_end - piece.start) // _PAGE) * _PAGE
    headers.append(_load(at, start, size, size, direct))
    ident = elf.MAGIC + bytes([elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EV_CURRENT]) + bytes(9)
    header = elf.EHDR.format("little").pack(
        ident, elf.ET_CORE, elf.MACHINES["x86_64"], 1, 0, elf.EHDR.size, 0, 0, elf.EHDR.size,
        elf.PHDR.size, len(headers), 0, 0, 0,
    )  # fmt: skip
    os.pwrite(fd, header + b"".join(headers) + source.notes, 0)
    return at


def _load(at: int, start: int, stored: int, size: int, direct: int) -> bytes:
    return elf.PHDR.format("little").pack(elf.PT_LOAD, elf.PF_RWX, at, direct + start, start, stored, size, 0)


def _copy(fd: int, at: int, source: Source, dump: _Small, piece: MemoryRange) -> None:
    """Copy one range of memory with its changes; zeros become holes."""
    for paddr in range(piece.start, piece.stored_end, _COPIED):
        buffer = bytearray(min(_COPIED, piece.stored_end - paddr))
        source.read_into(paddr, memoryview(buffer))
        if buffer.count(0) != len(buffer):
            os.pwrite(fd, buffer, at + paddr - piece.start)
    for paddr, content in dump.changes.items():
        if piece.start <= paddr < piece.stored_end:
            os.pwrite(fd, content, at + paddr - piece.start)


def main(argv: Sequence[str] | None = None) -> int:
    """Make one dump."""
    parser = argparse.ArgumentParser(prog="python -m perf.tiled", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("small", type=Path)
    parser.add_argument("big", type=Path)
    parser.add_argument("--gib", type=int, required=True, help="of memory in all")
    arguments = parser.parse_args(argv)
    print(f"{make(arguments.small, arguments.big, arguments.gib)} page frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
