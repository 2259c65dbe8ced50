"""Where in memory a kernel's tables of symbols and of types may be: both are looked for in one pass, and once.

Likely places come first: what the dump's headers or a processor's page tables say is the kernel.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.btf import magic
from vmsieve.filters.linux.kallsyms_search import DIGITS
from vmsieve.filters.linux.memory_scan import scan_memory
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.lookup import match_marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.formats.inputs import Source

__all__ = ["SEARCHED", "SEARCHED_PACKED", "Candidates", "likely"]

#: Memory that is searched at most: as it is, and in packed pages.
SEARCHED: Final = 16 << 30
SEARCHED_PACKED: Final = 1 << 30
_IMAGE_MOST: Final = 256 << 20
_MAPPINGS: Final = 64
#: Places of each kind that are handed out.
_TRIES: Final = 64
#: Bytes looked at twice, where two pieces of memory meet: more than a sign has, and a multiple of words.
_KEEP: Final = 32
_ROOM: Final = 64
#: Words that look like a sign and are none: more than that are not looked at in a piece of memory.
_WRONG_MOST: Final = 1024


class Candidates:
    """Searches memory as far as it is asked to, and knows what it found.

    Args:
        source: The dump.
        areas: Physical addresses, from and to, that are searched first; then everything is.
    """

    def __init__(self, source: Source, areas: Iterable[tuple[int, int]]) -> None:
        self._source = source
        self._magic = magic(source.byte_order)
        self._found: dict[bytes, list[int]] = {DIGITS: [], self._magic: []}
        self._rest = self._search([*areas, (0, source.end())])

    def digits(self) -> Iterator[int]:
        """Physical addresses of what may be the tokens of the ten digits (:data:`DIGITS` are there)."""
        return self._each(self._found[DIGITS])

    def types(self) -> Iterator[int]:
        """Physical addresses of what may be a BTF section (:func:`magic` is there)."""
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
        """One step for each piece of memory; what is found is noted."""
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
        """Keep the place of a sign that the word at ``at`` of ``data`` is part of, if there is one."""
        for sign, found in self._found.items():
            # A sign that began before is found by its first word, or in the piece before.
            place = data.find(sign, max(at - 7, 0), at + 7 + len(sign))
            if place >= 0:
                if base + place not in found and len(found) < _TRIES:
                    found.append(base + place)
                return True
        return False


def likely(memory: PhysicalMemory, arch: Arch) -> Iterator[tuple[int, int]]:
    """Where the kernel's image is in physical memory, by what a dump tells beside VMCOREINFO: headers and registers."""
    # The kernel's own map is the highest one.
    kernel = max(memory.source.virtual[:_MAPPINGS], key=lambda piece: piece.vaddr, default=None)
    if kernel is not None and kernel.vaddr >> 63 and kernel.size < _IMAGE_MOST:
        yield kernel.paddr, kernel.paddr + kernel.size
    if arch.image is not None and (area := arch.image(memory)) is not None:
        yield area
