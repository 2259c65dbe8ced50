"""Finds the memory of all classes of importance in one kernel."""

from __future__ import annotations

from vmsieve.filters.importance import importance
from vmsieve.filters.importance._kernel import Kernel
from vmsieve.filters.importance._marks import SYMBOLS, TYPES, Marks
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.extents import Extents, joined
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from vmsieve.filters.importance import Importance
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.bitmap import Bitmap

    #: Returns the bits of a block of a bitmap of page frames, given by its number.
    Bits = Callable[[int], bytes]
    #: Name, title and pages of a class.
    Found = tuple[str, str, Bits]

#: Symbols that a search may find.
_NEEDED: Final = {"init_task", "init_pid_ns", "slab_caches", "_end", "__end_rodata"}
#: Ranges of one class; what exceeds them comes with a later class.
_MOST_RANGES: Final = 1 << 16


def find_importance(knowledge: Knowledge, kept: Bitmap | None = None) -> list[Found]:
    """Find the classes, the most important first; none if the kernel is not known well enough.

    ``kept``: the classes of other pages need not be right.
    """
    memory, info, memmap = knowledge.memory, knowledge.info, knowledge.memmap
    if memory is None or info is None or memmap is None:
        return []
    classes = importance()
    symbols = {*SYMBOLS, *(name for one in classes for name in one.symbols)}
    types = {*TYPES, *(name for one in classes for name in one.types)}
    noted = memory.physical.blocks.copy()
    try:
        kernel = Kernel(memory, info, memmap, knowledge.page_size, symbols, types)
        if kernel.types is None or not kernel.symbols.keys() >= _NEEDED:
            from vmsieve.filters.importance._search import search

            search(kernel, types)
        marks = None
        with suppress(VmsieveError):
            marks = Marks(kernel, kept)
        found = {one.name: bits for one in classes if (bits := _bits(kernel, one, marks)) is not None}
        return [(one.name, one.title, _without(one, found)) for one in classes if one.name in found]
    finally:
        # Walks of lists that may be damaged: these blocks need not be the kernel's.
        memory.physical.reset_blocks(noted)


def _bits(kernel: Kernel, one: Importance, marks: Marks | None) -> Bits | None:
    """The pages of a class; None if struct pages tell them, and can't be read."""
    if one.unless in kernel.symbols:
        return lambda _: bytes(BLOCK_BYTES)
    if one.mark:
        return None if marks is None else lambda number: marks.bits(one.mark, number)
    ranges = kernel.found[one.name] = []
    with suppress(VmsieveError):
        assert one.find is not None
        for _, area in zip(range(_MOST_RANGES), one.find(kernel)):
            ranges.append(area)
    extents, size = Extents(), kernel.page_size
    for start, end in joined(ranges):
        extents.add(start, end, start)
    return lambda number: bytes(extents.page_bits(number * BLOCK, BLOCK, size))


def _without(one: Importance, found: dict[str, Bits]) -> Bits:
    """The pages of a class less those of the classes that it names."""
    bits, others = found[one.name], [found[name] for name in one.without if name in found]
    if not others:
        return bits

    def left(number: int) -> bytes:
        pages = int.from_bytes(bits(number), "little")
        for other in others:
            pages &= ~int.from_bytes(other(number), "little")
        return pages.to_bytes(BLOCK_BYTES, "little")

    return left
