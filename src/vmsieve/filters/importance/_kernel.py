"""The kernel of a dump as classes of importance see it: its memory, symbols and types."""

from __future__ import annotations

from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vmsieve.filters.linux.btf import Btf
    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Bytes from the kernel's text to its last table.
_IMAGE_MOST: Final = 128 << 20
_MOST_CPUS: Final = 8192
#: Symbols that :class:`Kernel` and the search for others need.
_SYMBOLS: Final = (
    "_stext", "_etext", "__start_rodata", "__end_rodata", "_end", "__start_BTF", "__stop_BTF", "__per_cpu_offset",
    "nr_cpu_ids",
)  # fmt: skip


class Kernel:
    """A kernel.

    Attributes:
        memory: Its virtual memory.
        info: Its VMCOREINFO.
        memmap: Its memory map.
        page_size: Bytes.
        symbols: Addresses of those of the wanted symbols that it has, from VMCOREINFO and kallsyms;
            :mod:`vmsieve.filters.importance._search` adds more.
        types: Its BTF with the wanted types loaded, or None.
        noted: Blocks of 4096 bytes that were read before: VMCOREINFO's, the memory map's. Those of the symbols are not
            among them: a reader has its own.
        found: Physical ranges of each class so far, by name: a class may build on an earlier one.
    """

    def __init__(
        self, memory: VirtualMemory, info: VmcoreInfo, memmap: MemMap, page_size: int, symbols: Collection[str],
        types: Collection[str],
    ) -> None:  # fmt: skip
        self.memory, self.info, self.memmap, self.page_size = memory, info, memmap, page_size
        self.noted = sorted(memory.physical.blocks)
        self.found: dict[str, list[tuple[int, int]]] = {}
        self.symbols = self._find_symbols({*symbols, *_SYMBOLS})
        self.types = self._find_types(types)

    def _find_symbols(self, names: set[str]) -> dict[str, int]:
        from vmsieve.filters.linux.kallsyms import open_kallsyms

        # No search of memory for those that are missing.
        known = {name for name in names if self.info.peek(f"SYMBOL({name})") is not None}
        found = {name: at for name in known if (at := self.info.symbol(name)) is not None}
        with suppress(KernelError, ReadError):
            table = open_kallsyms(self.memory.read, self.memory.physical.byte_order, self.info)
            # These win: SYMBOL(mem_section) is the array's address, not the pointer's.
            found.update(table.addresses(names))
        return found

    def _find_types(self, names: Collection[str]) -> Btf | None:
        from vmsieve.filters.linux.btf import Btf

        start, end = self.symbols.get("__start_BTF"), self.symbols.get("__stop_BTF")
        if start is None:
            return None
        with suppress(KernelError, ReadError):
            found = Btf(self.memory.read, self.memory.physical.byte_order, start, end - start if end else None)
            found.load(names)
            return found
        return None

    def offset(self, structure: str, member: str) -> int:
        """Return the offset of a member in bytes; raises KernelError if it is not known."""
        found = self.types.offset(structure, member) if self.types is not None else None
        if found is None:
            raise KernelError("the kernel's types lack a member", expected=f"{structure}.{member}")
        return found

    def size(self, structure: str) -> int:
        """Return the bytes of a structure; raises KernelError if they are not known."""
        found = self.types.size(structure) if self.types is not None else None
        if found is None:
            raise KernelError("the kernel's types lack a structure", expected=structure)
        return found

    def cache_offset(self) -> int:
        """Return the offset of a slab page's cache.

        In ``struct slab`` since v5.17 (d122019bf061, "mm: Split slab into its own type").
        """
        with suppress(KernelError):
            return self.offset("slab", "slab_cache")
        return self.offset("page", "slab_cache")

    def symbol(self, name: str) -> int:
        """Return the address of a symbol; raises KernelError if it is not known."""
        if name not in self.symbols:
            raise KernelError("the kernel has no such symbol", expected=name)
        return self.symbols[name]

    def ranges(self, vaddr: int, size: int) -> Iterator[tuple[int, int]]:
        """Yield the physical ranges of ``size`` bytes at ``vaddr``; stops at an address that is not mapped."""
        with suppress(KernelError, ReadError):
            for start, length in self.memory.segments(vaddr, size):
                yield start, start + length

    def between(self, first: str, last: str) -> Iterator[tuple[int, int]]:
        """Yield the physical ranges of the kernel image from one symbol up to another, without holes of freed memory.

        Raises:
            KernelError: One is not known, or they are too far apart.
        """
        start, end = self.symbol(first), self.symbol(last)
        if not 0 < end - start <= _IMAGE_MOST:
            raise KernelError("a section of the kernel image is implausible", expected=f"{first} below {last}")
        at = start
        while at < end:
            for low, high in self.ranges(at, end - at):
                yield low, high
                at += high - low
            at += self.page_size - at % self.page_size

    def per_cpu_offsets(self) -> Iterator[int]:
        """Yield what is added to the address of a per-CPU variable, for each CPU; raises KernelError or ReadError."""
        table, count = self.symbol("__per_cpu_offset"), _MOST_CPUS
        if "nr_cpu_ids" in self.symbols:
            count = min(self.memory.u32(self.symbols["nr_cpu_ids"]), _MOST_CPUS)
        for cpu in range(count):
            yield self.memory.u64(table + 8 * cpu)

    def each(self, head: int, most: int, following: int = 0) -> Iterator[int]:
        """Yield the elements of the circular list at ``head``, at most ``most``: addresses of their ``list_head``.

        ``following``: the offset of the pointer to the next one. A list that does not return to its head just ends.
        """
        at = self.memory.u64(head + following)
        for _ in range(most):
            if at == head or not self.memory.translator.is_kernel(at):
                return
            yield at
            at = self.memory.u64(at + following)
