"""A view of pieces of files, through a window that the loop over their pages moves itself.

See :mod:`vmsieve.formats.loops.view`. The window is a :class:`~vmsieve.formats.mapping.Window`: pages that vanish
from a mapped file become zeros there, and :meth:`~vmsieve.formats.mapping.Window.lost` reports it after the loop.
"""

from __future__ import annotations

import ctypes
import mmap

from vmsieve.formats.loops import view as words
from vmsieve.formats.loops.bus_error import FIXED, PRIVATE
from vmsieve.formats.mapping import Window
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.formats.mapping import FilePiece, Mappable

_WORD: Final = 8
#: Bytes read at a time: they stay in a processor's second cache until they are packed.
_READ: Final = 128 << 10


class View(Window):
    """A window of ``size`` bytes, and the words of its view; ``size`` is a multiple of the page size."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        library = ctypes.CDLL(None)
        self._words = (ctypes.c_uint64 * words.WORDS)()
        self._pieces = (ctypes.c_uint64 * 0)()
        self._mappable = True
        self._viewed: Mappable | None = None
        self.view = ctypes.addressof(self._words)  # its address, for loops
        for place, function in ((words.MMAP, library.mmap), (words.PREAD, library.pread)):
            self._words[place // _WORD] = ctypes.cast(function, ctypes.c_void_p).value or 0
        self._set(words.WINDOW, self.address)

    def _set(self, place: int, value: int) -> None:
        self._words[place // _WORD] = value

    def limit(self, size: int) -> None:
        """Let loops pause after ``size`` bytes of output."""
        self._set(words.LIMIT, size)

    def show(self, source: Mappable, spans: Iterable[tuple[int, int]], *, mapped: bool) -> bool:
        """View spans of physical memory (address, size); False if no loop can: read them then.

        ``mapped``: they are worth mapping, if that is possible; else they are read.
        """
        # On the python backend no handler guards the window.
        if self._guard is None or not self._guard.armed():
            return False
        pieces: list[FilePiece] = []
        for paddr, size in spans:
            found = source.file_pieces(paddr, size)
            if found is None:
                return False
            pieces += found
        self._viewed = source
        mapped = mapped and self._mappable and not any((size | at) % mmap.PAGESIZE for _, at, size in pieces)
        self._pieces = (ctypes.c_uint64 * (words.PIECE_WORDS * len(pieces)))(*(word for one in pieces for word in one))
        self._set(words.PIECES, ctypes.addressof(self._pieces))
        self._set(words.COUNT, len(pieces))
        self._set(words.FLAGS, PRIVATE | FIXED if mapped else 0)
        self._set(words.ROOM, len(self.raw) if mapped else min(_READ, len(self.raw)))
        for place in (words.START, words.END, words.PIECE, words.BEGIN):
            self._set(place, 0)
        if mapped:
            self._source = source
        else:
            self.writable()
        return True

    def lost(self) -> bool:
        # Behind a new end there are no holes either, whether pieces are mapped or read.
        shorter = self._viewed is not None and self._viewed.shrunk()
        return super().lost() or shorter

    def done(self) -> int:
        """Pages that the last loop worked on."""
        return int(self._words[words.DONE // _WORD])

    def failed(self) -> bool:
        """True if the last loop stopped because pages could not be mapped, or read; they are not mapped again."""
        failed = self._words[words.FAILED // _WORD] != 0
        self._set(words.FAILED, 0)
        if failed and self._words[words.FLAGS // _WORD]:
            self._mappable = False
        return failed
