"""Runs of stored pages that are neighbours in the file, for formats that don't pack pages."""

from __future__ import annotations

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.describe import page_runs
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.formats.outputs import Batch


def stored_runs(batch: Batch, places: memoryview, page_size: int) -> tuple[list[tuple[int, memoryview]], int]:
    """Join neighbours among the stored pages of ``batch``; also count its unreadable pages.

    ``places``: where each page lies, counted in pages, native 64-bit words. A run is its first place and the bytes of
    its pages, which are not compressed.
    """
    if batch.count == 0:
        return [], 0
    runs = memoryview(bytearray(batch.count * 24)).cast("Q")
    tally = memoryview(bytearray(16)).cast("Q")
    found = page_runs(
        batch.count, address_of(places), address_of(batch.sizes), address_of(batch.flags), address_of(runs),
        address_of(tally),
    )  # fmt: skip
    stored, unreadable = tally
    if stored * page_size != len(batch.data):
        raise AssertionError(f"{stored} pages with {len(batch.data)} bytes")
    rows = (runs[3 * i : 3 * i + 3] for i in range(found))
    return [(place, batch.data[at * page_size : (at + pages) * page_size]) for place, pages, at in rows], unreadable
