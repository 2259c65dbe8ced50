"""Skeletons: kdump-compressed files of which few pages are stored, all others being one of two that they share.

The descriptors of shared pages are the same, and so are those of one kind that follow each other: within a compressed
frame they take next to no room. Pages are stored as they are, one behind the other, so that the file is written from
start to end.
"""

from __future__ import annotations

import re
import sys
from array import array
from typing import TYPE_CHECKING, Final, Protocol

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import kdump
from vmsieve.formats.outputs import OutputFormat
from vmsieve.formats.outputs.kdump import FORMAT as KDUMP
from vmsieve.formats.outputs.kdump import KdumpWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.outputs import Batch, Description, Place

__all__ = ["FILLER", "MISSING", "OTHER", "OWN", "ZERO", "Kinds", "skeleton_format"]

#: What a page is in a skeleton: one whose content is left out, of zeros, stored, not to be had.
OTHER, ZERO, OWN, MISSING = b"\1", b"\2", b"\3", b"\4"
#: What pages hold that were left out: not zeros, and no page of any machine.
FILLER: Final = b"(page left out of this skeleton)"

_RUNS: Final = re.compile(b"\1+|\2+|\3+|\4+")
_PIECE: Final = 1 << 15  # descriptors made at a time


class Kinds(Protocol):
    """What each page of the dump is, in ascending order of page frames."""

    def __iter__(self) -> Iterator[bytes]:
        """One byte a page."""

    def count(self, kind: bytes) -> int:
        """How many pages are of a kind."""


class _SkeletonWriter(KdumpWriter):
    """Writes a skeleton. The pages that come are those of kind :data:`OWN`, as they are."""

    def __init__(self, description: Description, place: Place, kinds: Kinds) -> None:
        super().__init__(description, place)
        self._kinds = kinds
        self._announced = kinds.count(OWN)

    def begin(self) -> None:
        """See :class:`vmsieve.formats.outputs.Writer`."""
        self._put_header()
        self._put_sub_header()
        self._put_bitmap(self._bitmaps, self._it.exists)
        self._put_bitmap(self._bitmaps + self._bitmap_size, self._it.kept)
        size = self._it.page_size
        other, zero = self._at, self._at + size
        self._at += 2 * size
        at, data = self._descriptors, self._at
        for kinds in self._kinds:
            for start in range(0, len(kinds), _PIECE):
                table, data = self._table(kinds[start : start + _PIECE], {OTHER: other, ZERO: zero}, data)
                self._place.put(at, table)
                at += len(table)
        self._place.put(other, FILLER * (size // len(FILLER)) + bytes(size))
        self._begun = True

    def _table(self, kinds: bytes, shared: dict[bytes, int], data: int) -> tuple[bytes, int]:
        """The descriptors of pages of these kinds, and where the next page's data come."""
        layout, size = kdump.DESCRIPTOR.format(self._order), self._it.page_size
        parts: list[bytes] = []
        for run in _RUNS.finditer(kinds):
            kind, count = run[0][:1], len(run[0])
            if kind == OWN:
                parts.append(self._own(count, data))
                data += count * size
            elif kind == MISSING:
                parts.append(bytes(layout.size) * count)
            else:
                parts.append(layout.pack(shared[kind], size, 0, 0) * count)
        return b"".join(parts), data

    def _own(self, count: int, data: int) -> bytes:
        """The descriptors of ``count`` pages whose data begin at ``data``."""
        size = self._it.page_size
        table = array("Q", bytes(kdump.DESCRIPTOR.size * count))
        places = array("Q", range(data, data + count * size, size))
        if self._it.byte_order != sys.byteorder:
            places.byteswap()
        table[0::3] = places
        table[1::3] = array("Q", kdump.DESCRIPTOR.pack(self._order, size=size)[8:16]) * count
        return table.tobytes()

    def pages(self, batch: Batch) -> None:
        """See :class:`vmsieve.formats.outputs.Writer`.

        Raises:
            ReadError: A page can't be read any more that could be read before.
        """
        if len(batch.data) != batch.count * self._it.page_size:
            raise ReadError("a page can't be read any more", offset=int(batch.pfns[0]) * self._it.page_size)
        self._place.put(self._at, batch.data)
        self._at += len(batch.data)
        self._pages += batch.count


def skeleton_format(kinds: Kinds) -> OutputFormat:
    """How a skeleton whose pages are of these kinds is written."""
    return OutputFormat(
        "skeleton",
        "skeleton of a dump",
        packed=False,
        sequential=True,
        bridge=0,
        writer=lambda description, place: _SkeletonWriter(description, place, kinds),
        torn_mark=KDUMP.torn_mark,
    )
