"""Physical memory read from one end to the other, whatever of it a dump lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.inputs import Source

__all__ = ["any_stored", "bytes_left_out", "scan_memory"]

_SIZE: Final = 1 << 20
#: Of a dump that does not tell; any will do that divides the real one.
_PAGE: Final = 4096


def scan_memory(
    source: Source, start: int, end: int, *, keep: int = 0, advance: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, bytearray]]:
    """The memory ``start .. end`` of a dump in pieces of about a megabyte, ascending; what is absent is zeros.

    Args:
        source: The dump.
        start: Physical address, rounded down to a multiple of the pieces' size.
        end: Physical address, rounded up.
        keep: Bytes at the end of a piece that are handed out again at the beginning of the next one if that follows
            at once; else zeros are.
        advance: Told of addresses, in bytes, that are done.

    Yields:
        Physical address of the first byte, and the bytes, which hold until the next piece is asked for.
    """
    page, size = _units(source)
    buffer = bytearray(keep + size)
    behind = -1
    with memoryview(buffer) as view:
        for at in _addresses(source, start // size * size, end, source.next_data, advance):
            buffer[:keep] = buffer[size:] if at == behind else bytes(keep)
            behind = at + size
            _read(source, at, view[keep:], page)
            yield at - keep, buffer
            advance(size)


def _units(source: Source) -> tuple[int, int]:
    """Bytes of a page, and of a piece: eight pages at least."""
    page = source.page_size or _PAGE
    return page, max(_SIZE, page * 8)


def _stored(source: Source, at: int) -> bytearray:
    page, size = _units(source)
    return source.memory_bits(at // page, size // page, page)[1]


def _addresses(
    source: Source, at: int, end: int, following: Callable[[int], int], advance: Callable[[int], None]
) -> Iterator[int]:
    """Addresses of the pieces of which the dump has something; ``following``: where it may have, from an address on."""
    _, size = _units(source)
    end = min(end, source.end())
    while at < end:
        there = min(max(following(at) // size * size, at), end)
        advance(there - at)
        at = there
        if at < end:
            if any(_stored(source, at)):
                yield at
            else:
                advance(size)
        at += size


def _read(source: Source, at: int, out: memoryview, page: int) -> None:
    """Fill ``out``; page by page where a page of it can't be had."""
    try:
        source.read_into(at, out)
        return
    except ReadError as error:
        stored = _stored(source, at)
        first = ((error.offset or 0) - at) // page
        hopeless = range(first, first + error.span // page)
    for number in range(len(out) // page):
        part = out[number * page : (number + 1) * page]
        try:
            if stored[number >> 3] >> (number & 7) & 1 and number not in hopeless:
                source.read_into(at + number * page, part)
                continue
        except ReadError:
            pass
        part[:] = bytes(page)


def bytes_left_out(source: Source, start: int, end: int) -> int:
    """Bytes in whole pages of ``start .. end`` that are not in the dump."""
    page, size = _units(source)
    first, last = -(-start // page), end // page
    there = 0
    for at in _held(source, start, end):
        low, high = max(first - at // page, 0), min(last - at // page, size // page)
        stored = int.from_bytes(_stored(source, at), "little") >> low & (1 << max(high - low, 0)) - 1
        there += bin(stored).count("1")
    return (max(last - first, 0) - there) * page


def any_stored(source: Source, start: int, end: int) -> bool:
    """Is any page of the pieces from ``start`` to ``end`` in the dump?"""
    return any(True for _ in _held(source, start, end))


def _held(source: Source, start: int, end: int) -> Iterator[int]:
    _, size = _units(source)
    return _addresses(source, start // size * size, end, source.next_memory, lambda _: None)
