"""Candidate addresses of kallsyms and BTF in physical memory, both searched for in one pass.

Likely areas come first: the kernel image according to the dump's headers or to a processor's registers.
"""

from __future__ import annotations

import ctypes
import sys

from vmsieve.filters.linux.btf import magic
from vmsieve.filters.linux.kallsyms_search import DIGITS
from vmsieve.filters.linux.memory_scan import scan_memory
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.lookup import match_marks
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.formats.inputs import Source

#: Bytes searched at most: of plain memory, of packed pages.
SEARCHED: Final = 16 << 30
SEARCHED_PACKED: Final = 1 << 30
_IMAGE_MOST: Final = 256 << 20
_MAPPINGS: Final = 64
#: Candidates of each kind.
_TRIES: Final = 64
#: Overlap of two pieces of memory: longer than a mark, and a multiple of words.
_KEEP: Final = 32
_ROOM: Final = 64
#: False matches after which the rest of a piece is skipped.
_WRONG_MOST: Final = 1024


class Candidates:
    """A lazy search of memory, first of the ``areas`` (start, end), then of all."""

    def __init__(self, source: Source, areas: Iterable[tuple[int, int]]) -> None:
        self._source = source
        self._magic = magic(source.byte_order)
        self._found: dict[bytes, list[int]] = {DIGITS: [], self._magic: []}
        self._rest = self._search([*areas, (0, source.end())])

    def digits(self) -> Iterator[int]:
        """Physical addresses of :data:`DIGITS`: candidates for kallsyms' tokens."""
        return self._each(self._found[DIGITS])

    def types(self) -> Iterator[int]:
        """Physical addresses of :func:`magic`: candidates for a BTF section."""
        return self._each(self._found[self._magic])

    def _each(self, found: list[int]) -> Iterator[int]:
        at = 0
        while at < _TRIES:
            while at == len(found):
                if next(self._rest, None) is None:
                    return
            yield found[at]
            at += 1

    def _search(self, areas: list[tuple[int, int]]) -> Iterator[bool]:
        """Search one piece of memory per step."""
        left = SEARCHED_PACKED if self._source.compressed else SEARCHED
        mark = int.from_bytes(self._magic[:4], "big" if sys.byteorder == "big" else "little")
        out = (ctypes.c_uint64 * (1 + _ROOM))()
        for start, end in areas:
            for base, data in scan_memory(self._source, start, end, keep=_KEEP):
                left -= len(data)
                if left < 0:
                    return
                at = wrong = 0
                while at < len(data) and wrong < _WRONG_MOST:
                    hits = match_marks(address_of(data) + at, len(data) - at, mark, ctypes.addressof(out), _ROOM)
                    for hit in out[1 : 1 + hits]:
                        wrong += not self._note(base, data, at + hit)
                    at += out[0]
                yield True

    def _note(self, base: int, data: bytearray, at: int) -> bool:
        """Add the candidate that the word at ``at`` of ``data`` belongs to; False without one."""
        for mark, found in self._found.items():
            # Marks that begin before this word are found by their first word, or in the previous piece.
            start = data.find(mark, max(at - 7, 0), at + 7 + len(mark))
            if start >= 0:
                if base + start not in found and len(found) < _TRIES:
                    found.append(base + start)
                return True
        return False


def likely_areas(memory: PhysicalMemory, arch: Arch) -> Iterator[tuple[int, int]]:
    """Physical addresses (start, end) of the kernel image according to the dump's headers and registers."""
    # The kernel image has the highest mapping.
    kernel = max(memory.source.virtual[:_MAPPINGS], key=lambda piece: piece.vaddr, default=None)
    if kernel is not None and kernel.vaddr >> 63 and kernel.size < _IMAGE_MOST:
        yield kernel.paddr, kernel.paddr + kernel.size
    if arch.image is not None and (area := arch.image(memory)) is not None:
        yield area
