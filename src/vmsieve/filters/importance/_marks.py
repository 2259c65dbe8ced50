"""Pages that struct pages tell: slab objects, by their caches, and memory from boot."""

from __future__ import annotations

import sys

from vmsieve.filters.linux.key_set import KeySet
from vmsieve.filters.linux.page_layout import PageLayout
from vmsieve.filters.loops.importance import RECLAIMABLE, RESERVED, SLAB, TASKS, mark_pages
from vmsieve.filters.loops.parameters import NOWHERE
from vmsieve.filters.parameters import Parameters
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel
    from vmsieve.formats.bitmap import Bitmap

#: Types and symbols that :class:`Marks` needs.
TYPES: Final = ("kmem_cache", "slab", "page", "_slab_flag_bits")
SYMBOLS: Final = ("slab_caches",)

_ORDER: Final = (RESERVED, TASKS, RECLAIMABLE, SLAB)
_MOST_CACHES: Final = 500
_NAME_MOST: Final = 32
#: Caches that a task needs: of the structures that ``ps`` and a backtrace read.
_OF_TASKS: Final = {
    b"task_struct", b"signal_cache", b"sighand_cache", b"cred_jar", b"cred", b"mm_struct", b"files_cache", b"fs_cache",
    b"pid", b"pid_namespace", b"nsproxy", b"task_group", b"kmem_cache", b"kmem_cache_node",
}  # fmt: skip
#: SLAB_RECLAIM_ACCOUNT before v6.9 (include/linux/slab.h); since cc61eb851461 ("mm, slab: use an enum to define SLAB_
#: cache creation flags") a bit number in an enumeration.
_RECLAIM: Final = 0x20000
_BATCH: Final = 64 << 10
#: Pages whose struct pages are read if one of them is kept.
_UNIT: Final = 512
_NONE: Final = bytes(_UNIT // 8)


class Marks:
    """Marks of struct pages, block by block; with ``kept``, not of those far from any kept page.

    Raises:
        KernelError: The layout of struct pages is not known.
    """

    def __init__(self, kernel: Kernel, kept: Bitmap | None = None) -> None:
        self._kernel, self._kept = kernel, kept
        layout = PageLayout(kernel.info, kernel.memmap.struct_page_size)
        self._size = layout.size
        self._parameters = Parameters()
        self._parameters.set_layout(layout, swap=kernel.memory.physical.byte_order != sys.byteorder)
        self._cache_at = NOWHERE
        caches: tuple[list[int], list[int]] = ([], [])
        with suppress(KernelError, ReadError):
            caches = _caches(kernel)
            self._cache_at = kernel.cache_offset()
        self._tasks, self._reclaimable = (KeySet(found) for found in caches)
        self._state = memoryview(bytearray(8)).cast("Q")
        self._buffer = memoryview(bytearray(_BATCH))
        self._bits = bytearray(len(_ORDER) * BLOCK_BYTES)
        self._number = -1

    def bits(self, mark: int, number: int) -> bytes:
        """Return the bits of block ``number`` of :class:`~vmsieve.formats.bitmap.Bitmap` for pages with ``mark``."""
        if number != self._number:
            self._number = number
            self._bits[:] = bytes(len(self._bits))
            for run in self._kernel.memmap.runs(number * BLOCK, (number + 1) * BLOCK):
                self._mark_run(run.first_pfn - number * BLOCK, run.count, run.vaddr)
        at = _ORDER.index(mark) * BLOCK_BYTES
        return bytes(memoryview(self._bits)[at : at + BLOCK_BYTES])

    def _mark_run(self, bit: int, count: int, vaddr: int) -> None:
        for first, end in self._wanted(bit, bit + count):
            part = self._buffer[: (end - first) * self._size]
            try:
                self._kernel.memory.read_into(vaddr + (first - bit) * self._size, part)
            except (KernelError, ReadError):
                self._state[0] = 0
                continue
            mark_pages(
                self._parameters.address, address_of(part), end - first, self._cache_at, self._tasks.address,
                self._reclaimable.address, address_of(self._state), first, address_of(self._bits), BLOCK_BYTES,
            )  # fmt: skip

    def _wanted(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of the block's bits ``first .. end`` in which a page is kept, as many as are read at once."""
        kept = self._kept[self._number] if self._kept is not None else None
        start, most = first, _BATCH // self._size
        for at in range(first // _UNIT * _UNIT, end, _UNIT):
            low, high = max(first, at), min(end, at + _UNIT)
            if kept is not None and kept[at // 8 : (at + _UNIT) // 8] == _NONE:
                if start < low:
                    yield start, low
                # The head of a kept page is kept.
                start, self._state[0] = high, 0
            elif high - start > most - _UNIT:
                yield start, high
                start = high
        if start < end:
            yield start, end


def _caches(kernel: Kernel) -> tuple[list[int], list[int]]:
    """Return the addresses of the caches that tasks are in, and of those that can be reclaimed."""
    memory, types = kernel.memory, kernel.types
    node, name, flags = (kernel.offset("kmem_cache", member) for member in ("list", "name", "flags"))
    bits = types.enumerators("_slab_flag_bits") if types is not None else {}
    reclaim = 1 << bits["_SLAB_RECLAIM_ACCOUNT"] if "_SLAB_RECLAIM_ACCOUNT" in bits else _RECLAIM
    tasks: list[int] = []
    reclaimable: list[int] = []
    for at in kernel.each(kernel.symbol("slab_caches"), _MOST_CACHES):
        with suppress(KernelError, ReadError):
            cache = at - node
            if memory.string(memory.u64(cache + name), _NAME_MOST) in _OF_TASKS:
                tasks.append(cache)
            elif memory.u32(cache + flags) & reclaim:
                reclaimable.append(cache)
    return tasks, reclaimable
