"""Physical and virtual memory of the crashed kernel, as numbers and bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.cache import cached
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.formats.inputs import Source

#: Most bytes that one ``read`` allocates; only damaged lengths exceed it.
MAX_READ = 16 << 20

_BLOCK = 4096
_BLOCKS_KEPT = 32
_PAGES_KEPT = 256  # translations
_MOST_NOTED = 1 << 12
_END = 1 << 64


class PhysicalMemory:
    """Physical memory, for small reads: page tables, list heads, strings.

    Reads whole blocks of 4 KiB and caches the last 32 of them (128 KiB). Thread-safe.

    ``blocks``: numbers of the blocks that were read, up to :data:`_MOST_NOTED`: kernel memory, if what is known of the
    kernel is right.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.byte_order = source.byte_order
        self.reset_blocks()

    def reset_blocks(self, blocks: Iterable[int] = ()) -> None:
        """Replace :attr:`blocks` by ``blocks``: the others were read on a guess."""
        self._block = cached(self._load, _BLOCKS_KEPT)
        self.blocks = set(blocks)

    def _load(self, number: int) -> bytes:
        if len(self.blocks) < _MOST_NOTED:
            self.blocks.add(number)
        out = bytearray(_BLOCK)
        self.source.read_into(number * _BLOCK, memoryview(out))
        return bytes(out)

    def read(self, paddr: int, size: int) -> bytes:
        """Read ``size`` bytes at physical address ``paddr``, at most :data:`MAX_READ`."""
        if not (0 <= size <= MAX_READ and 0 <= paddr <= _END - size):
            raise KernelError("physical memory out of reach", offset=paddr, found=size)
        first, at = divmod(paddr, _BLOCK)
        if at + size <= _BLOCK:
            return self._block(first)[at : at + size]
        out = bytearray(size)
        self.source.read_into(paddr, memoryview(out))
        return bytes(out)

    def u64(self, paddr: int) -> int:
        """The 64-bit number at physical address ``paddr``."""
        return self.number(self.read(paddr, 8))

    def number(self, data: bytes | bytearray) -> int:
        """Convert ``data`` to an unsigned number, in the dump's byte order."""
        return int.from_bytes(data, "big" if self.byte_order == "big" else "little")


@record(frozen=True)
class Leaf:
    """A page, or a block of pages, as page tables map it."""

    vaddr: int
    paddr: int
    size: int


@record(eq=False)
class Translator(ABC):
    """Virtual to physical addresses of one crashed kernel.

    Attributes:
        phys_base: phys_base for the kdump sub-header: physical address of the kernel map's start, less its link-time
            address; bytes, may be negative. None if the architecture has none.
        flat_first_pfn: Page frame of ``mem_map[0]`` in the flat memory model (ARCH_PFN_OFFSET); may be negative.
        notes: Sentences on what the translation is based on, for reports.
    """

    phys_base: int | None = None
    flat_first_pfn: int = 0
    notes: list[str] = field(default_factory=list)

    @abstractmethod
    def translate(self, vaddr: int) -> tuple[int, int]:
        """Return the physical address of ``vaddr``, and for how many bytes both run side by side (at least 1).

        Safe to call from several threads.

        Raises:
            KernelError: The address is not mapped, or its page table entries make no sense.
            ReadError: A page table is not in the dump.
        """

    def is_kernel(self, vaddr: int) -> bool:
        """True if ``vaddr`` may be an address of the kernel's, to tell pointers from garbage."""
        return 1 << 63 <= vaddr < 1 << 64

    def table_pages(self) -> Iterator[tuple[int, int]]:
        """Yield the physical ranges (start, end) of the kernel's page tables; none if only arithmetic translates."""
        return iter(())

    def leaves(self, start: int, end: int) -> Iterator[Leaf]:  # noqa: ARG002
        """Yield what page tables map in ``start <= vaddr < end``, ascending; nothing if only arithmetic translates."""
        return iter(())

    def linear(self) -> list[tuple[int, int]]:
        """Return the virtual ranges (start, end) that all memory is mapped in; none if they are not known."""
        return []


class VirtualMemory:
    """Kernel virtual memory."""

    def __init__(self, physical: PhysicalMemory, translator: Translator) -> None:
        self.physical = physical
        self.translator = translator
        self._block_address = cached(self._find_block, _PAGES_KEPT)

    def translate(self, vaddr: int) -> tuple[int, int]:
        """Physical address of ``vaddr``, and the number of bytes that are contiguous from there (at least 1)."""
        return self.translator.translate(vaddr)

    def segments(self, vaddr: int, size: int) -> Iterator[tuple[int, int]]:
        """Yield the physical ranges (address, length) of ``size`` bytes at ``vaddr``, each as long as possible.

        Lazy: an address that can't be translated raises after the ranges that precede it.
        """
        if min(vaddr, size) < 0 or vaddr + size > _END:
            raise KernelError("a span of virtual memory runs past the end of the address space", offset=vaddr)
        start, length = 0, 0
        while size:
            try:
                paddr, room = self.translator.translate(vaddr)
            except KernelError:
                if length:
                    yield start, length
                raise
            step = min(room, size)
            if length and start + length == paddr:
                length += step
            else:
                if length:
                    yield start, length
                start, length = paddr, step
            vaddr += step
            size -= step
        if length:
            yield start, length

    def read_into(self, vaddr: int, out: memoryview) -> None:
        """Fill ``out`` with memory at ``vaddr``."""
        self.read_pieces(list(self.segments(vaddr, len(out))), out)

    def pieces(self, vaddr: int, size: int) -> list[tuple[int, int]] | None:
        """List :meth:`segments`, for :meth:`read_pieces`; None if any can't be translated."""
        try:
            return list(self.segments(vaddr, size))
        except (KernelError, ReadError):  # ReadError: of a page table
            return None

    def read_pieces(self, pieces: list[tuple[int, int]], out: memoryview) -> None:
        """Fill ``out`` with the memory of ``pieces``."""
        done = 0
        for paddr, length in pieces:
            self.physical.source.read_into(paddr, out[done : done + length])
            done += length

    def read(self, vaddr: int, size: int) -> bytes:
        """Read ``size`` bytes at ``vaddr``, at most :data:`MAX_READ`; small reads are cached."""
        if not 0 <= vaddr < _END:
            raise KernelError("not a virtual address", offset=vaddr)
        at = vaddr % _BLOCK
        if at + size <= _BLOCK and (start := self._block_address(vaddr // _BLOCK)) is not None:
            return self.physical.read(start + at, size)
        paddr, room = self.translator.translate(vaddr)
        if size <= room and size <= _BLOCK:
            return self.physical.read(paddr, size)
        if not 0 <= size <= MAX_READ:
            raise KernelError("a size in the kernel's memory is implausible", offset=vaddr, found=size)
        return b"".join(self.physical.read(paddr, length) for paddr, length in self.segments(vaddr, size))

    def _find_block(self, number: int) -> int | None:
        """Physical address of 4 KiB of virtual memory if they are contiguous, else None."""
        try:
            paddr, room = self.translator.translate(number * _BLOCK)
        except (KernelError, ReadError):
            return None  # the caller translates its own address, and raises
        return paddr if room >= _BLOCK else None

    def u64(self, vaddr: int) -> int:
        """The 64-bit number at ``vaddr``."""
        return self.physical.number(self.read(vaddr, 8))

    def u32(self, vaddr: int) -> int:
        """The 32-bit number at ``vaddr``, unsigned."""
        return self.physical.number(self.read(vaddr, 4))

    def u16(self, vaddr: int) -> int:
        """The 16-bit number at ``vaddr``, unsigned."""
        return self.physical.number(self.read(vaddr, 2))

    def string(self, vaddr: int, limit: int) -> bytes:
        """Read the string at ``vaddr``: up to a NUL, or ``limit`` bytes."""
        parts = []
        while limit > 0:
            # Never beyond a block: what follows the NUL may not exist.
            part = self.read(vaddr, min(limit, _BLOCK - vaddr % _BLOCK))
            head, nul, _ = part.partition(b"\0")
            parts.append(head)
            if nul:
                break
            vaddr += len(part)
            limit -= len(part)
        return b"".join(parts)
