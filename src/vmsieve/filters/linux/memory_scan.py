"""Sequential scans of physical memory, across pages that a dump lacks."""

from __future__ import annotations

from vmsieve.formats.errors import ReadError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.inputs import Source

_SIZE: Final = 1 << 20
#: Page size of dumps that do not have one: any divisor of the real one serves.
_PAGE: Final = 4096


def scan_memory(
    source: Source, start: int, end: int, *, keep: int = 0, advance: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, bytearray]]:
    """Read the memory ``start .. end`` in pieces of about 1 MiB, ascending; absent pages are zeros.

    Yields the physical address of the first byte, and the bytes, valid until the next piece.

    Args:
        start, end: Physical addresses, rounded to multiples of the piece size.
        keep: Bytes of overlap: each piece begins with the end of the previous one, or with zeros after a gap.
        advance: Called with the number of bytes done.
    """
    page, size = _units(source)
    buffer = bytearray(keep + size)
    following = -1
    with memoryview(buffer) as view:
        for at in _addresses(source, start // size * size, end, source.next_data, advance):
            buffer[:keep] = buffer[size:] if at == following else bytes(keep)
            following = at + size
            _read(source, at, view[keep:], page)
            yield at - keep, buffer
            advance(size)


def _units(source: Source) -> tuple[int, int]:
    """Bytes of a page and of a piece, which has at least eight pages."""
    page = source.page_size or _PAGE
    return page, max(_SIZE, page * 8)


def _stored(source: Source, at: int) -> bytearray:
    page, size = _units(source)
    return source.memory_bits(at // page, size // page, page)[1]


def _addresses(
    source: Source, at: int, end: int, next_stored: Callable[[int], int], advance: Callable[[int], None]
) -> Iterator[int]:
    """Addresses of the pieces that the dump stores in part; ``next_stored`` skips to where the next may be."""
    _, size = _units(source)
    end = min(end, source.end())
    while at < end:
        start = min(max(next_stored(at) // size * size, at), end)
        advance(start - at)
        at = start
        if at < end:
            if any(_stored(source, at)):
                yield at
            else:
                advance(size)
        at += size


def _read(source: Source, at: int, out: memoryview, page: int) -> None:
    """Fill ``out``, page by page if a page of it is unreadable."""
    try:
        source.read_into(at, out)
        return
    except ReadError as error:
        stored = _stored(source, at)
        first = ((error.offset or 0) - at) // page
        unreadable = range(first, first + error.span // page)
    for number in range(len(out) // page):
        part = out[number * page : (number + 1) * page]
        try:
            if stored[number >> 3] >> (number & 7) & 1 and number not in unreadable:
                source.read_into(at + number * page, part)
                continue
        except ReadError:
            pass
        part[:] = bytes(page)


def bytes_left_out(source: Source, start: int, end: int) -> int:
    """Count the bytes of whole pages in ``start .. end`` that are not in the dump."""
    page, size = _units(source)
    first, last = -(-start // page), end // page
    present = 0
    for at in _held(source, start, end):
        low, high = max(first - at // page, 0), min(last - at // page, size // page)
        stored = int.from_bytes(_stored(source, at), "little") >> low & (1 << max(high - low, 0)) - 1
        present += bin(stored).count("1")
    return (max(last - first, 0) - present) * page


def any_stored(source: Source, start: int, end: int) -> bool:
    """True if the dump has any page of the pieces from ``start`` to ``end``."""
    return any(True for _ in _held(source, start, end))


def _held(source: Source, start: int, end: int) -> Iterator[int]:
    _, size = _units(source)
    return _addresses(source, start // size * size, end, source.next_memory, lambda _: None)
