"""A view: pieces of files, one behind the other, of which a window in memory shows a part at a time.

The loop that works on the pages moves the window itself, so that a system call for half a megabyte needs no Python.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import call4, call6, load64, store64
from vmsieve.formats.loops.bus_error import ANONYMOUS, FIXED, PRIVATE, READ
from vmsieve.formats.loops.copies import store_pair
from vmsieve.formats.slim.typing import Final

# Words of a view, as byte offsets. A position counts bytes from the first piece's first on.
MMAP: Final = 0  # addresses of the C library's functions
PREAD: Final = 8
WINDOW: Final = 16  # address of the window
ROOM: Final = 24  # its bytes
FLAGS: Final = 32  # flags of mmap; 0: pieces are read
PIECES: Final = 40  # address of the pieces, each of three words: file descriptor, file offset, bytes
COUNT: Final = 48  # number of pieces
START: Final = 56  # the positions that the window shows, from START up to END
END: Final = 64
PIECE: Final = 72  # the piece that END lies in, and its position
BEGIN: Final = 80
LIMIT: Final = 88  # bytes of output after which a loop pauses
DONE: Final = 96  # set by the loop: pages worked on
FAILED: Final = 104  # set by the loop: 1 if it stopped because a piece could not be mapped or read
WORDS: Final = 14
#: Words of a piece.
PIECE_WORDS: Final = 3
#: The file descriptor of a piece of zeros.
NO_FILE: Final = (1 << 64) - 1


@inline
def fill(view: int, out: int, file: int, offset: int, size: int) -> int:
    """Map or read a part of a piece to ``out``; return 1, or 0 on failure."""
    flags = load64(view, FLAGS)
    if flags != 0:
        if file == NO_FILE:
            flags = PRIVATE | FIXED | ANONYMOUS
            offset = 0
        return 1 if call6(load64(view, MMAP), out, size, READ, flags, file, offset) == out else 0
    if file == NO_FILE:
        for i in range(size >> 3):
            store64(out, i * 8, 0)
        return 1 if size & 7 == 0 else 0
    return 1 if call4(load64(view, PREAD), file, out, size, offset) == size else 0


@inline
def move_window(view: int, position: int) -> int:
    """Let the window begin at ``position``, which lies at or behind its end; return 1, or 0 on failure."""
    pieces = load64(view, PIECES)
    count = load64(view, COUNT)
    room = load64(view, ROOM)
    window = load64(view, WINDOW)
    piece = load64(view, PIECE)
    begin = load64(view, BEGIN)
    end = position
    while piece < count and end - position < room:
        at = piece * 24
        size = load64(pieces, at + 16)
        if begin + size > end:
            into = end - begin
            part = min(size - into, room - (end - position))
            if fill(view, window + (end - position), load64(pieces, at), load64(pieces, at + 8) + into, part) == 0:
                return 0
            end += part
        if begin + size <= end:
            begin += size
            piece += 1
    store_pair(view, START, position, end)
    store_pair(view, PIECE, piece, begin)
    return 1 if end > position else 0
