"""The memory map: struct pages."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    for run in kernel.memmap.runs():
        yield from kernel.ranges(run.vaddr, run.count * kernel.memmap.struct_page_size)


CLASS: Final = Importance("memmap", "the memory map", 90, _find)
