"""Helpers of the writers' tests: dumps made from page frames, and small independent readers."""

from __future__ import annotations

import struct
import zlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmsieve.formats.codecs import Codec
from vmsieve.formats.errors import OutputError
from vmsieve.formats.loops.describe import UNREADABLE
from vmsieve.formats.outputs import Batch, Description, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PAGE = 4096
#: An unreadable page, among a dump's pages.
LOST = None
ZLIB_FLAG = 1


def _unused(*_: Any) -> Any:
    raise AssertionError("the writers need a codec's flag and nothing else")


ZLIB = Codec("zlib", "zlib", ZLIB_FLAG, "c", 1, (1, 9), _unused, _unused, _unused, _unused)


class Bits:
    """Page frames as a bitmap of small blocks."""

    def __init__(self, pfns: Iterable[int], max_pfn: int, block: int = 512) -> None:
        self.block = block
        self._blocks = -(-max_pfn // block)
        self._filled: dict[int, bytearray] = {}
        self._count = 0
        for pfn in pfns:
            filled = self._filled.setdefault(pfn // block, bytearray(block // 8))
            filled[pfn % block // 8] |= 1 << (pfn % 8)
            self._count += 1

    def filled(self) -> Iterator[int]:
        return iter(sorted(self._filled))

    def __getitem__(self, number: int) -> bytes:
        return bytes(self._filled.get(number, bytes(self.block // 8)))

    def count(self) -> int:
        return self._count


@dataclass
class Memory:
    """A machine made up for a test.

    Attributes:
        exists: Page frames it has.
        pages: Content of each kept page; a zero page is kept without bytes if ``skip_zero``.
    """

    exists: set[int]
    pages: Mapping[int, bytes | None]
    page_size: int = PAGE
    skip_zero: bool = True
    more: dict[str, Any] = field(default_factory=dict)

    def description(self, **more: Any) -> Description:
        max_pfn = max(self.exists, default=-1) + 1
        block = more.pop("block", 512)
        facts: dict[str, Any] = {
            "machine": "x86_64", "byte_order": "little", "page_size": self.page_size, "max_pfn": max_pfn,
            "exists": Bits(self.exists, max_pfn, block), "kept": Bits(self.pages, max_pfn, block),
            "notes": NOTES, "dump_level": 31 if self.skip_zero else 30,
        }  # fmt: skip
        return Description(**{**facts, **self.more, **more})

    def batches(self, size: int = 7, *, packed: bool = False) -> Iterator[Batch]:
        pfns = sorted(self.pages)
        for at in range(0, len(pfns), size):
            yield self._batch(pfns[at : at + size], packed)

    def _batch(self, pfns: list[int], packed: bool) -> Batch:
        sizes, flags, data = array("I"), array("I"), bytearray()
        for pfn in pfns:
            page = self.pages[pfn]
            if page is None:
                stored, flag = b"", UNREADABLE
            elif self.skip_zero and not any(page):
                stored, flag = b"", 0
            else:
                stored, flag = page, 0
                if packed and len(zlib.compress(page, 1)) < len(page):
                    stored, flag = zlib.compress(page, 1), ZLIB_FLAG
            sizes.append(len(stored))
            flags.append(flag)
            data += stored
        return Batch(len(pfns), memoryview(array("Q", pfns)), memoryview(sizes), memoryview(flags), memoryview(data))


#: Two notes: one processor's, and a VMCOREINFO whose text is NOTES[40:60].
NOTES = struct.pack("<III", 5, 4, 1) + b"CORE\0\0\0\0" + b"regs" + struct.pack("<III", 11, 20, 0) + b"VMCOREINFO\0\0"
NOTES += b"OSRELEASE=6.0-test\n".ljust(20, b"\n")
VMCOREINFO = (len(NOTES) - 20, 20)


def page(seed: int, size: int = PAGE) -> bytes:
    """Page content that is unique to the page and compressible."""
    return struct.pack("<Q", seed * 0x9E3779B97F4A7C15 & (2**64 - 1)) * (size // 8)


class Medium:
    """A place in memory: checks the writers' guarantees, and fails after ``room`` bytes if requested."""

    def __init__(self, room: int | None = None) -> None:
        self.data = bytearray()
        self.puts: list[tuple[int, int]] = []
        self.held: dict[int, bytes] = {}
        self.room = room

    def _store(self, offset: int, data: bytes | bytearray | memoryview, unit: int) -> None:
        data = bytes(data)
        fits = len(data)
        if self.room is not None and self.room < fits:
            fits = self.room // unit * unit
        if self.room is not None:
            self.room -= fits
        if fits:
            self.data.extend(bytes(max(0, offset + fits - len(self.data))))
            self.data[offset : offset + fits] = data[:fits]
        if fits < len(data):
            raise OutputError("no room")

    def put(self, offset: int, data: bytes | bytearray | memoryview, unit: int = 1) -> None:
        self.puts.append((offset, offset + len(data)))
        self._store(offset, data, unit)

    def hold(self, offset: int, torn: bytes, whole: bytes) -> None:
        assert torn != whole
        assert len(torn) == len(whole)
        self.held[offset] = torn
        self.put(offset, torn)

    def settle(self, offset: int, data: bytes) -> None:
        assert len(data) == len(self.held.pop(offset, data))
        if offset + len(data) <= len(self.data):
            self.data[offset : offset + len(data)] = data

    def extend(self, size: int) -> None:
        self.data.extend(bytes(max(0, size - len(self.data))))

    def sync(self) -> None:
        """Nor need they be synced."""

    def flush(self) -> None:
        """Writes are not buffered."""

    def finish(self) -> None:
        assert not self.held

    def total(self) -> int:
        """Bytes put."""
        return sum(end - start for start, end in self.puts)

    def check_puts(self) -> None:
        """No byte was put twice."""
        puts = sorted(p for p in self.puts if p[0] != p[1])
        assert all(one[1] <= two[0] for one, two in zip(puts, puts[1:]))


def write(writer: Writer, memory: Memory, *, packed: bool, batch: int = 7, complete: bool = True) -> None:
    """Write all of ``memory``."""
    writer.begin()
    for each in memory.batches(batch, packed=packed):
        writer.pages(each)
    writer.end(complete=complete)


@dataclass
class Kdump:
    """A kdump-compressed file, parsed plainly."""

    data: bytes
    order: str = "<"

    def __post_init__(self) -> None:
        (self.signature, self.version, names, self.seconds, _, self.status, self.block, self.sub_blocks,
         self.bitmap_blocks, self.max_mapnr, *_, self.cpus) = struct.unpack_from(
            self.order + "8si390s6xqqIiiIIIIIIi", self.data
        )  # fmt: skip
        self.utsname = [names[i * 65 : i * 65 + 65].split(b"\0")[0].decode() for i in range(6)]
        self.sub = struct.unpack_from(self.order + "QiiQQqQqQqQQQQ", self.data, self.block)
        self.bitmap_size = self.bitmap_blocks // 2 * self.block
        self.bitmaps = (1 + self.sub_blocks) * self.block
        self.descriptors = self.bitmaps + 2 * self.bitmap_size

    def bits(self, which: int) -> list[int]:
        at = self.bitmaps + which * self.bitmap_size
        bitmap = self.data[at : at + self.bitmap_size]
        return [8 * i + bit for i, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]

    def pages(self) -> dict[int, bytes | None]:
        """Content of each page of the second bitmap; None where it is missing."""
        found: dict[int, bytes | None] = {}
        for i, pfn in enumerate(self.bits(1)):
            raw = self.data[self.descriptors + 24 * i : self.descriptors + 24 * i + 24].ljust(24, b"\0")
            offset, size, flags, more = struct.unpack(self.order + "qIIQ", raw)
            if offset == 0:
                assert raw == bytes(24), "a descriptor in part"
                found[pfn] = None
                continue
            assert more == 0
            stored = self.data[offset : offset + size]
            assert len(stored) == size, "a descriptor points beyond the end"
            found[pfn] = zlib.decompress(stored) if flags == ZLIB_FLAG else stored
            assert len(found[pfn] or b"") == self.block
        return found


@dataclass
class Load:
    """A program header."""

    offset: int
    vaddr: int
    paddr: int
    stored: int
    size: int


class Elf:
    """An ELF core file, parsed plainly."""

    def __init__(self, data: bytes, order: str = "<") -> None:
        (ident, self.type, self.machine, _, _, phoff, shoff, self.flags, _, phentsize, phnum, _, self.shnum, _) = (
            struct.unpack_from(order + "16sHHIQQQIHHHHHH", data)
        )
        assert ident == b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
        assert phentsize == 56
        if phnum == 0xFFFF:
            phnum = struct.unpack_from(order + "IIQQQQIIQQ", data, shoff)[7]
        self.data = data
        self.loads: list[Load] = []
        for i in range(phnum):
            kind, rights, offset, vaddr, paddr, stored, size, _ = struct.unpack_from(
                order + "IIQQQQQQ", data, phoff + 56 * i
            )
            if kind == 4:
                self.notes = data[offset : offset + stored]
            else:
                assert (kind, rights) == (1, 7)
                assert stored <= size
                self.loads.append(Load(offset, vaddr, paddr, stored, size))

    def at(self, load: Load, paddr: int, size: int) -> bytes | None:
        """Bytes as a reader of one segment gets them; None if they are dropped."""
        skip = paddr - load.paddr
        if skip >= load.stored:
            return None
        return self.data[load.offset + skip : load.offset + min(skip + size, load.stored)]

    def page(self, pfn: int, page_size: int = PAGE) -> bytes | None:
        """A page by its frame number; None if it was dropped. KeyError if it does not exist."""
        paddr = pfn * page_size
        for load in self.loads:
            if load.paddr <= paddr < load.paddr + load.size:
                return self.at(load, paddr, page_size)
        raise KeyError(pfn)
