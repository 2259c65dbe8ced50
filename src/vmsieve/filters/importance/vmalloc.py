"""Memory that page tables map piece by piece (``mm/vmalloc.c``): modules, and stacks whose tasks were not found."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_BYTES: Final = 32 << 20
_MOST_PIECES: Final = 1 << 16


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    areas = [one for start, end in _outside(kernel) for one in _areas(kernel, start, end)]
    left = _MOST_BYTES
    # The smallest come first: stacks, and nearly all modules.
    for area in sorted(areas, key=_size):
        left -= _size(area)
        if left < 0:
            return
        yield from area


def _size(area: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in area)


def _outside(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the virtual ranges that are neither in the linear map, nor the kernel image, nor the memory map."""
    translator = kernel.memory.translator
    known = translator.linear()
    if not known:
        raise KernelError("the linear map is not known")
    known += [(run.vaddr, run.vaddr + run.count * kernel.memmap.struct_page_size) for run in kernel.memmap.runs()]
    if {"_stext", "_end"} <= kernel.symbols.keys():
        known.append((kernel.symbols["_stext"], kernel.symbols["_end"]))
    at = 0
    for start, end in [*sorted(known), (1 << 64, 1 << 64)]:
        if at < start:
            yield at, start
        at = max(at, end)


def _areas(kernel: Kernel, start: int, end: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the physical ranges of each area: areas have a page between them that is not mapped."""
    area: list[tuple[int, int]] = []
    following = -1
    for _, leaf in zip(range(_MOST_PIECES), kernel.memory.translator.leaves(start, end)):
        if leaf.vaddr != following and area:
            yield area
            area = []
        area.append((leaf.paddr, leaf.paddr + leaf.size))
        following = leaf.vaddr + leaf.size
    yield area


CLASS: Final = Importance("vmalloc", "modules and stacks in areas of their own", 42, _find)
