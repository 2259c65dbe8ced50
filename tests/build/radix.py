"""Made-up aarch64, riscv64 and loongarch64 kernels: page tables in memory that is a dict of pages.

Written from the manuals and the kernel's headers (``arch/*/include/asm/{pgtable*,memory,page,addrspace}.h``), not from
the code under test. Each has 16 MiB of memory from :attr:`FakeRadix.ram` on, its image at its start, and the tests'
mappings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from tests.build.kernel import PAGE, FakeSource, Memory64, NoFile, virtual_memory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import ReadError

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory

END = 1 << 64
MIB = 1 << 20


class FakeRadix(Memory64, ABC):
    """A machine.

    Args:
        shift: Its pages have ``1 << shift`` bytes.
        bits: Width of a virtual address.
        index_bits: Width of a virtual address up to the index into the root table.

    Attributes:
        ram: Physical address of its memory's start.
        root: Physical address of the root table; ``root_vaddr``: its address in the image.
        here: An address that tests may map memory at; its tables are not shared.
        large: Levels with entries for large pages.
    """

    machine = ""
    ram = 0x80000000
    large: tuple[int, ...] = (1, 2)

    def __init__(self, shift: int, bits: int, index_bits: int, root_vaddr: int, here: int) -> None:
        self.source = FakeSource(file=NoFile(), machine=self.machine, page_size=1 << shift)
        for pfn in range(self.ram // PAGE, (self.ram + 16 * MIB) // PAGE):
            self.source.pages[pfn] = bytearray(PAGE)
        self.shift, self.step, self.index_bits, self.here = shift, shift - 3, index_bits, here
        self.levels = -(-(bits - shift) // self.step)
        self.root, self.root_vaddr = self.ram + 2 * MIB, root_vaddr
        self._next = self.ram + 4 * MIB
        self.keys = {
            "OSRELEASE": "6.12.0-test", "PAGESIZE": str(1 << shift), "SYMBOL(swapper_pg_dir)": f"{root_vaddr:x}",
        }  # fmt: skip

    @abstractmethod
    def table_entry(self, paddr: int, level: int) -> int:
        """An entry that points to a table."""

    @abstractmethod
    def page_entry(self, paddr: int, level: int) -> int:
        """An entry that points to memory."""

    @abstractmethod
    def target(self, entry: int, level: int, index: int) -> tuple[str, int]:
        """Return the kind of an entry (``"none"``, ``"table"``, ``"page"`` or ``"odd"``) and its address."""

    def size(self, level: int) -> int:
        """Bytes that an entry of a level maps."""
        return 1 << self.shift + level * self.step

    def table(self, level: int) -> int:  # noqa: ARG002
        """Allocate a table of ``level``: physical address."""
        self._next += 1 << self.shift
        return self._next - (1 << self.shift)

    def _index(self, vaddr: int, level: int) -> int:
        above = self.index_bits if level == self.levels - 1 else self.shift + (level + 1) * self.step
        return vaddr % (1 << above) >> self.shift + level * self.step

    def entry_address(self, vaddr: int, level: int) -> int:
        """Physical address of the entry for ``vaddr`` in its table of ``level`` (0: the last); creates tables."""
        table = self.root
        for above in range(self.levels - 1, level, -1):
            index = self._index(vaddr, above)
            kind, paddr = self.target(self.peek(table + index * 8), above, index)
            if kind == "page":
                raise ReadError("a large page lies there", offset=table)
            if kind == "none":
                paddr = self.table(above - 1)
                self.poke(table + index * 8, self.table_entry(paddr, above))
            table = paddr
        return table + self._index(vaddr, level) * 8

    def map(self, vaddr: int, paddr: int, level: int = 0) -> None:
        """Map a page of the size of ``level``."""
        self.poke(self.entry_address(vaddr, level), self.page_entry(paddr, level))

    def lookup(self, vaddr: int) -> int | None:
        """Translate an address by a slow, independent walk."""
        table = self.root
        for level in range(self.levels - 1, -1, -1):
            index = self._index(vaddr, level)
            kind, paddr = self.target(self.peek(table + index * 8), level, index)
            if kind == "page":
                return paddr // self.size(level) * self.size(level) + vaddr % self.size(level)
            if kind != "table":
                return None
            table = paddr
        return None

    def vmcoreinfo(self) -> bytes:
        """The kernel's VMCOREINFO as text."""
        return "".join(f"{key}={value}\n" for key, value in self.keys.items()).encode()

    def info(self) -> VmcoreInfo:
        """The kernel's VMCOREINFO."""
        return VmcoreInfo(self.vmcoreinfo())

    def memory(self) -> VirtualMemory:
        """The kernel's memory as vmsieve's class."""
        return virtual_memory(self.source, self.info())


class FakeArm64(FakeRadix):
    """An aarch64 kernel.

    Args:
        shift: See :class:`FakeRadix`.
        planned: VA_BITS.
        bits: Width of a virtual address on this processor.
        page_offset: Start of the linear map; None: the lower half's start, as since v5.11.
        before: Bytes of the linear map before memory.
    """

    machine = "aarch64"

    def __init__(self, shift: int, planned: int, bits: int, *, page_offset: int | None = None, before: int = 0) -> None:
        least = min(planned, 48 if shift != 14 or planned <= 48 else 47)
        image = END - (1 << least - 1) + (1 << 31)  # as since v5.4: modules, then the image
        # A kernel that needs fewer levels than planned has another kind of root table.
        same = -(-(planned - shift) // (shift - 3)) == -(-(bits - shift) // (shift - 3))
        super().__init__(shift, bits, planned if same else bits, image + 2 * MIB, image + (3 << least - 3))
        self.wide = shift < 16 and bits == 52
        self.phys_offset = self.ram - before
        self.page_offset = END - (1 << planned) if page_offset is None else page_offset
        page = 1 << shift
        for vaddr, paddr in ((image, self.ram), (self.page_offset + before, self.ram)):
            for at in range(0, 4 * MIB, page):
                self.map(vaddr + at, paddr + at)
        self.image = image
        self.keys |= {
            "NUMBER(VA_BITS)": str(planned), "NUMBER(kimage_voffset)": f"{image - self.ram:#x}",
            "NUMBER(PHYS_OFFSET)": f"{self.phys_offset % END:#x}", "NUMBER(TCR_EL1_T1SZ)": f"{64 - bits:#x}",
            "NUMBER(KERNELPACMASK)": "0x0",
        }  # fmt: skip

    def _address(self, paddr: int) -> int:
        if self.wide:  # LPA2: bits 51:50 at 9:8
            return paddr % (1 << 50) | paddr >> 50 << 8
        if self.shift == 16:  # LPA: bits 51:48 at 15:12
            return paddr % (1 << 48) | paddr >> 48 << 12
        return paddr

    def table_entry(self, paddr: int, level: int) -> int:  # noqa: ARG002
        return self._address(paddr) | 3 | 1 << 59 | 1 << 60  # PXNTable, UXNTable

    def page_entry(self, paddr: int, level: int) -> int:
        kind = 1 if level else 3
        shareable = 0 if self.wide else 3 << 8
        return self._address(paddr) | kind | shareable | 1 << 10 | 1 << 11 | 3 << 53 | 1 << 51

    def target(self, entry: int, level: int, index: int) -> tuple[str, int]:  # noqa: ARG002
        if not entry % 2:
            return "none", 0
        page = 1 << self.shift
        paddr = entry % (1 << (50 if self.wide else 48)) // page * page
        if self.wide:
            paddr += (entry >> 8) % 4 << 50
        if self.shift == 16:
            paddr += (entry >> 12) % 16 << 48
        if entry % 4 == 3:
            return ("table" if level else "page"), paddr
        return ("page" if level in self.large else "odd"), paddr


class FakeRiscv(FakeRadix):
    """A riscv64 kernel of mode Sv39, Sv48 or Sv57."""

    machine = "riscv64"
    large = (1, 2, 3, 4)

    def __init__(self, bits: int) -> None:
        image = END - (2 << 30)
        self.page_offset = END - (1 << bits - 2)
        super().__init__(12, bits, bits, image + 2 * MIB, END - (3 << bits - 3))
        for at in range(0, 4 * MIB, 2 * MIB):
            self.map(image + at, self.ram + at, 1)
            self.map(self.page_offset + at, self.ram + at, 1)
        self.image = image
        self.keys |= {
            "NUMBER(VA_BITS)": str(bits), "NUMBER(phys_ram_base)": str(self.ram),
            "NUMBER(PAGE_OFFSET)": f"{self.page_offset:#x}", "NUMBER(KERNEL_LINK_ADDR)": f"{image:#x}",
            "NUMBER(va_kernel_pa_offset)": f"{image - self.ram:#x}", "KERNELOFFSET": "0",
        }  # fmt: skip

    def table_entry(self, paddr: int, level: int) -> int:  # noqa: ARG002
        return paddr >> 12 << 10 | 1

    def page_entry(self, paddr: int, level: int) -> int:  # noqa: ARG002
        return paddr >> 12 << 10 | 0xE7 | 3 << 61  # a memory type (Svpbmt), not an address

    def target(self, entry: int, level: int, index: int) -> tuple[str, int]:
        if not entry % 2:
            return "none", 0
        paddr = entry % (1 << 54) // 1024 * PAGE
        read, write, execute = entry & 2, entry & 4, entry & 8
        if not (read or write or execute):
            return ("table" if level else "odd"), paddr
        if write and not read:
            return "odd", 0
        if entry >> 63 and not level and paddr // PAGE % 16 == 8:
            paddr = paddr // (16 * PAGE) * 16 * PAGE + index % 16 * PAGE
        return "page", paddr


class FakeLoong(FakeRadix):
    """A loongarch64 kernel with ``levels`` levels of tables; absent memory has empty tables."""

    machine = "loongarch64"
    large = (1, 2)
    window = 0x9000000000000000

    def __init__(self, shift: int, levels: int) -> None:
        bits = shift + levels * (shift - 3)
        super().__init__(shift, bits, bits, self.window + self.ram + 2 * MIB, END - (1 << 47))
        self._fill()

    def _fill(self) -> None:
        """The root table, and an empty table for each level below."""
        #: Invalid entries of each level.
        self.nothing = [0]
        for level in range(self.levels - 1):
            self.nothing.append(self.window + self.table(level))
        self._clear(self.root, self.levels - 1)

    def _clear(self, table: int, level: int) -> None:
        self.source.write(table, self.nothing[level].to_bytes(8, "little") * (1 << self.step))

    def table(self, level: int) -> int:
        paddr = super().table(level)
        self._clear(paddr, level)
        return paddr

    def entry_address(self, vaddr: int, level: int) -> int:
        table = self.root
        for above in range(self.levels - 1, level, -1):
            at = table + self._index(vaddr, above) * 8
            entry = self.peek(at)
            if entry & 0x40:
                raise ReadError("a large page lies there", offset=table)
            if entry == self.nothing[above]:
                entry = self.window + self.table(above - 1)
                self.poke(at, entry)
            table = entry - self.window
        return table + self._index(vaddr, level) * 8

    def table_entry(self, paddr: int, level: int) -> int:  # noqa: ARG002
        return self.window + paddr

    def page_entry(self, paddr: int, level: int) -> int:
        return paddr | (0x11D3 if level else 0x1D3) | 1 << 62  # of large pages bit 12 is "global"

    def target(self, entry: int, level: int, index: int) -> tuple[str, int]:  # noqa: ARG002
        page = 1 << self.shift
        paddr = entry % (1 << 48) // page * page
        if not level or entry & 0x40:
            return ("page" if entry & 0x80 else "none"), paddr
        if not entry:
            return "none", 0
        return ("table" if entry >> 62 == 2 and not entry % page else "odd"), paddr
