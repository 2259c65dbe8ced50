"""Search for kallsyms without VMCOREINFO, by the layout that scripts/kallsyms.c writes, in each of its orders.

The tokens are found first. A token that stands for a character that occurs in names has that character's code as its
number, so the ten digits are adjacent; an index of 512 bytes follows. Before the tokens lie the names, and between them
markers: the offset of every 256th name (and, in v6.2 and v6.3, three bytes a name). Offsets or addresses precede the
names, and since v6.6 follow the tokens (Linux commit 404bad70fcf7, "scripts/kallsyms: change the output order").
"""

from __future__ import annotations

import sys
from struct import unpack

from vmsieve.filters.linux.kallsyms import SYMBOLS_MOST, TOKENS, Kallsyms, TableLayout
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.kallsyms import Read

#: The tokens of the digits, which begin at number 48.
DIGITS: Final = b"\0".join(b"%d" % digit for digit in range(10))
_FIRST_DIGIT: Final = ord("0")
_TOKENS_MOST: Final = 1 << 16
#: Bytes searched for the markers; names per marker; longest name; bytes of all names.
_MARKERS_MOST: Final = 128 << 10
_STRETCH: Final = 256
_NAME_MOST: Final = 512
_NAMES_MOST: Final = 8 << 20
#: Bytes searched at a time for the number of names, if it may be anywhere before the tokens.
_WINDOW: Final = 256 << 10
_FEWEST: Final = 512
#: Words tried as the number of symbols, for each table of markers: few are in range.
_WALKS_MOST: Final = 64


def open_by_tokens(read: Read, byte_order: str, digits: int) -> Kallsyms:
    """Open the symbol table whose tokens of the digits are at address ``digits``."""
    order = ">" if byte_order == "big" else "<"
    table, index = _tokens(read, order, digits)
    problem: Exception = KernelError("no names of symbols before their supposed tokens", offset=table)
    for names, count, sized in _names(read, order, table):
        for layout in _layouts(names, count, sized, table, index):
            try:
                found = Kallsyms(read, byte_order, layout)
                found.guess()
            except (KernelError, ReadError) as error:
                problem = error
                continue
            return found
    raise problem


def _tokens(read: Read, order: str, digits: int) -> tuple[int, int]:
    """Addresses of the tokens and of their index."""
    at = digits
    text = b""
    for _ in range(TOKENS - _FIRST_DIGIT):
        end = text.find(b"\0", at - digits)
        while end < 0:
            if len(text) >= _TOKENS_MOST:
                raise KernelError("the supposed tokens of symbols have no end", offset=digits)
            text += read(digits + len(text), 4096 - (digits + len(text)) % 4096)
            end = text.find(b"\0", at - digits)
        at = digits + end + 1
    for align in (4, 8):
        index = -(-at // align) * align
        starts = unpack(f"{order}{TOKENS}H", read(index, TOKENS * 2))
        whole = all(one < other for one, other in zip(starts, starts[1:]))
        if starts[0] == 0 and whole and digits - starts[_FIRST_DIGIT] + starts[-1] < at:
            return digits - starts[_FIRST_DIGIT], index
    raise KernelError("no index behind the supposed tokens of symbols", offset=digits)


def _words(data: bytes, order: str, code: str) -> array[int]:
    words = array(code)
    words.frombytes(data[len(data) % words.itemsize :])
    if (order == ">") != (sys.byteorder == "big"):
        words.byteswap()
    return words


def _before(read: Read, at: int, size: int) -> bytes:
    """Read up to ``size`` bytes before ``at``."""
    while size >= 4096:
        try:
            return read(at - size, size)
        except (KernelError, ReadError):
            size = size // 8192 * 4096
    return read(at - at % 4096, at % 4096)


def _names(read: Read, order: str, table: int) -> Iterator[tuple[int, int, int]]:
    """Yield possible names: their address, their number, and the address of that number."""
    data = _before(read, table, _MARKERS_MOST)
    for code in "IQ":
        words = _words(data, order, code)
        for skipped in (0, 1):
            last = len(words) - 1 - skipped
            first = last
            while first > 0 and words[first - 1] < words[first]:
                first -= 1
            if first < last and words[first] == 0:
                markers = table - (len(words) - first) * words.itemsize
                yield from _sized_names(read, order, markers, words[first : last + 1])
    yield from _names_before_order(read, order, table)


def _sized_names(read: Read, order: str, markers: int, offsets: array[int]) -> Iterator[tuple[int, int, int]]:
    """Find names by their ``offsets``, one per 256 names, which lie at ``markers``."""
    # At most 256 names follow the last offset, and the number of names precedes the first.
    last = markers - offsets[-1]
    if not 0 < offsets[-1] < _NAMES_MOST:
        return
    start = (last - _STRETCH * _NAME_MOST - 8) & ~3
    data = _some(read, start, 2 * _STRETCH * _NAME_MOST + 8)
    low, high = (len(offsets) - 1) * _STRETCH, len(offsets) * _STRETCH
    words = _words(data, order, "I")
    fitting = [i for i, count in enumerate(words) if low < count <= high and i * 4 < last - start]
    for i in fitting[: -_WALKS_MOST - 1 : -1]:
        for at in (i * 4 + 4, i * 4 + 8):
            if at + 4 <= last - start and _walk(data, at, _STRETCH) == at + offsets[1]:
                yield start + at, words[i], start + i * 4


def _walk(data: bytes, at: int, count: int) -> int:
    """Return the offset behind ``count`` names, or -1."""
    for _ in range(count):
        if at + 2 > len(data):
            return -1
        size = data[at]
        at += size + 1 if size < 0x80 else 2 + (size & 0x7F | data[at + 1] << 7)
    return at


def _names_before_order(read: Read, order: str, table: int) -> Iterator[tuple[int, int, int]]:
    """Find names of v6.2 and v6.3: three bytes per name lie between the markers and the tokens."""
    walks = _WALKS_MOST
    for end in range(table, table - _NAMES_MOST, -_WINDOW):
        data = _some(read, end - _WINDOW, _WINDOW)
        words = _words(data, order, "I")
        for at in range((len(words) & ~1) - 2, -1, -2):
            count = words[at]
            if not _FEWEST < count <= SYMBOLS_MOST or words[at + 1]:
                continue
            sized = end - _WINDOW + len(data) % 4 + at * 4
            markers = table - (count * 3 + 7 & ~7) - (-(-count // _STRETCH) * 4 + 7 & ~7)
            if not 3 * count < markers - sized < 40 * count or (markers - sized) % 4:
                continue
            first, second = unpack(order + "2I", read(markers, 8))
            if first or not _STRETCH < second < _STRETCH * _NAME_MOST:
                continue
            if _walk(_some(read, sized + 8, second), 0, _STRETCH) == second:
                yield sized + 8, count, sized
            walks -= 1
            if not walks:
                return


def _some(read: Read, at: int, size: int) -> bytes:
    """Read ``size`` bytes at ``at``, zeros for absent pages."""
    with suppress(KernelError, ReadError):
        return read(at, size)
    out = b""
    while len(out) < size:
        step = min(4096 - (at + len(out)) % 4096, size - len(out))
        try:
            out += read(at + len(out), step)
        except (KernelError, ReadError):
            out += bytes(step)
    return out


def _layouts(names: int, count: int, sized: int, table: int, index: int) -> Iterator[TableLayout]:
    """Yield possible layouts of ``count`` symbols whose number is at ``sized``."""
    behind = index + TOKENS * 2
    before = sized & ~7
    offsets = count * 4 + 7 & ~7
    yield TableLayout(names, count, table, index, behind, behind + offsets)
    yield TableLayout(names, count, table, index, before - 8 - offsets, before - 8)
    yield TableLayout(names, count, table, index, behind, None)
    yield TableLayout(names, count, table, index, before - count * 8, None, absolute=True)
    yield TableLayout(names, count, table, index, behind, None, absolute=True)
