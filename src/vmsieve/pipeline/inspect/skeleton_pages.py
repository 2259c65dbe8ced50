"""Parts of skeletons: kinds of pages, a dump with bytes replaced."""

from __future__ import annotations

import zlib
from collections import Counter

from vmsieve.formats.outputs.s390 import patched
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.dump.watch import Through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.inputs import Source

_BITS: Final = tuple(bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256))


class PageKinds:
    """The kind of each page, stored compressed."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._counts: Counter[int] = Counter()

    def append(self, kinds: bytes) -> None:
        """Add the next pages' kinds, a byte each."""
        self._counts.update(kinds)
        self._blocks.append(zlib.compress(kinds, 1))

    def __iter__(self) -> Iterator[bytes]:
        return map(zlib.decompress, self._blocks)

    def count(self, kind: bytes) -> int:
        """Count the pages of a kind."""
        return self._counts[kind[0]]


class PatchedSource(Through):
    """A dump with some bytes replaced, by page frame."""

    def __init__(self, inner: Source, page_size: int, patches: dict[int, list[tuple[int, bytes]]]) -> None:
        super().__init__(inner)
        self._page_size, self._patches = page_size, patches

    def read_into(self, paddr: int, out: memoryview) -> None:
        self._inner.read_into(paddr, out)
        size = self._page_size
        for pfn, patches in self._patches.items():
            at = pfn * size - paddr
            if 0 <= at <= len(out) - size:
                out[at : at + size] = patched(bytes(out[at : at + size]), patches)


def expanded(bits: bytearray) -> bytes:
    """Return a byte, 0 or 1, for each bit."""
    return b"".join(map(_BITS.__getitem__, bits))
