"""The order of importance: kept pages in passes, the most valuable first, so that a dump that is cut is worth most.

The order never decides which pages are kept. Each pass goes through memory in ascending order, as a dump in address
order does in one.
"""

from __future__ import annotations

import ctypes

from vmsieve.formats.bitmap import Bitmap, address_of, count_ones
from vmsieve.formats.loops.bits import and_bits
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vmsieve.pipeline.dump.batches import Chunk

    Claim = Callable[[Chunk], bool]
    Bits = Callable[[int], bytes]

#: Name and title of the pass with all pages that no class has.
REST: Final = ("rest", "all other pages")
#: Those of the last pass below level 31: all pages of a level 31 dump come before, so that a torn dump has these first.
EXTRA: Final = ("extra", "pages that level 31 leaves out")


@record
class Pass:
    """One pass over memory.

    Attributes:
        name, title: Of its class.
        pages: Its page frames.
        written: How many of them the writer has taken.
    """

    name: str
    title: str
    pages: Bitmap
    written: int = 0

    @property
    def total(self) -> int:
        """Pages of the pass."""
        return self.pages.count()


def make_passes(
    kept: Bitmap, classes: Iterable[tuple[str, str, Bits]], needed: Bits | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Pass]:  # fmt: skip
    """Divide the kept pages among the classes, each page to the first that has it; the rest comes last.

    ``classes``: name, title, and a function that returns the bits of a block of :class:`Bitmap`, given by its number.
    ``needed``: the same for pages of a level 31 dump: the others come after them, whatever their class. ``advance``:
    called after each block.
    """
    found = [(Pass(name, title, Bitmap()), bits) for name, title, bits in classes]
    rest, extra = Pass(*REST, Bitmap()), Pass(*EXTRA, Bitmap())
    both = bytearray(kept.block // 8)
    for number in kept.filled():
        left = bytearray(kept[number])
        if needed is not None:
            others = bytearray(left)
            left = bytearray(needed(number))
            _remove(others, left)
            extra.pages.put(number, others)
        for one, bits in found:
            wanted = bytearray(bits(number))
            if count_ones(wanted):
                and_bits(address_of(wanted), address_of(left), len(left), address_of(both))
                one.pages.put(number, both)
                _remove(left, both)
        rest.pages.put(number, left)
        advance(1)
    return [one for one in (*(one for one, _ in found), rest, extra) if one.total]


def release_memory() -> None:
    """Return freed memory to the kernel (glibc): what the search used is of other sizes than what the copy needs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def contents(passes: Iterable[Pass]) -> str:
    """Say which classes a dump has whole, in part, and not at all."""
    whole, part, none = [], [], []
    for one in passes:
        if one.written >= one.total:
            whole.append(one.title)
        elif one.written:
            part.append(f"{one.title} ({100 * one.written // one.total} %)")
        else:
            none.append(one.title)
    groups = (("whole", whole), ("in part", part), ("missing", none))
    return "; ".join(f"{name}: {', '.join(titles)}" for name, titles in groups if titles)


def _remove(bits: bytearray, gone: bytearray) -> None:
    """Clear the bits of ``gone``, a subset of ``bits``."""
    both = int.from_bytes(bits, "little") ^ int.from_bytes(gone, "little")
    bits[:] = both.to_bytes(len(bits), "little")


class InOrder:
    """Claims the batches of one pass after another.

    Attributes:
        current: Number of the pass that the last claimed batch is from.
    """

    def __init__(self, claims: Iterator[Claim]) -> None:
        self._claims = claims
        self._claim = next(claims)
        self.current = 0

    def claim(self, pages: Chunk) -> bool:
        """Choose the next pages for a batch; False if none is left."""
        while not self._claim(pages):
            following = next(self._claims, None)
            if following is None:
                return False
            self._claim = following
            self.current += 1
        pages.turn = self.current
        return True
