"""Skeletons: kdump-compressed files with few stored pages, all others sharing one of two.

Page descriptors of shared pages are equal, and those of stored ones regular, so in a compressed frame they take almost
no space. Pages are stored uncompressed in order, so the file is written from start to end.
"""

from __future__ import annotations

import re
import sys

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import kdump
from vmsieve.formats.outputs import OutputFormat
from vmsieve.formats.outputs.kdump import FORMAT as KDUMP
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.outputs import Batch, Description, Place

#: Kinds of pages in a skeleton: content left out, zeros, stored, unreadable.
OTHER, ZERO, OWN, MISSING = b"\1", b"\2", b"\3", b"\4"
#: Content of pages left out: neither zeros nor a page of any machine.
FILLER: Final = b"(page left out of this skeleton)"

_RUNS: Final = re.compile(b"\1+|\2+|\3+|\4+")
_PIECE: Final = 1 << 15  # page descriptors made at a time


class Kinds(Protocol):
    """The kind of each page of the dump, in ascending order of page frames."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces of one byte per page."""

    def count(self, kind: bytes) -> int:
        """Count pages of a kind."""


class _SkeletonWriter(KdumpWriter):
    """Writes a skeleton from pages of kind :data:`OWN`, uncompressed."""

    def __init__(self, description: Description, place: Place, kinds: Kinds) -> None:
        super().__init__(description, place)
        self._kinds = kinds
        self._announced = kinds.count(OWN)

    def begin(self) -> None:
        self._put_headers()
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
        """Make page descriptors for ``kinds``; return them and the next page's data offset."""
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
        """Make page descriptors of ``count`` pages whose data begin at ``data``."""
        size = self._it.page_size
        table = array("Q", bytes(kdump.DESCRIPTOR.size * count))
        places = array("Q", range(data, data + count * size, size))
        if self._it.byte_order != sys.byteorder:
            places.byteswap()
        table[0::3] = places
        table[1::3] = array("Q", kdump.DESCRIPTOR.pack(self._order, size=size)[8:16]) * count
        return table.tobytes()

    def pages(self, batch: Batch) -> None:
        """See :class:`vmsieve.formats.outputs.Writer`; ReadError: a page has become unreadable."""
        if len(batch.data) != batch.count * self._it.page_size:
            raise ReadError("a page has become unreadable", offset=int(batch.pfns[0]) * self._it.page_size)
        self._place.put(self._at, batch.data)
        self._at += len(batch.data)
        self._pages += batch.count


def skeleton_format(kinds: Kinds) -> OutputFormat:
    """Make the output format for a skeleton of these kinds of pages."""
    return OutputFormat(
        "skeleton", "skeleton of a dump", packed=False, sequential=True, bridge=0,
        writer=lambda description, place: _SkeletonWriter(description, place, kinds), torn_mark=KDUMP.torn_mark,
    )  # fmt: skip
