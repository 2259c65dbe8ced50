"""A framed file read at random: where its pieces are, and the few that were unpacked last."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import CorruptError, ReadError, TruncatedError
from vmsieve.formats.frames import PIECE_LIMIT, PIECES_LIMIT, NotSeekableError, ends_early, some

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.frames import Frame, Piece

__all__ = ["FramedFile", "Index"]

#: Bytes of content that are kept for the next read.
_CACHE_BYTES: Final = 16 << 20
#: Bytes that a piece of zeros packs into at the most, for it to be known by them.
_ZEROS_MOST: Final = 1 << 15


class Index:
    """The pieces of a framed file; 24 bytes each.

    Attributes:
        starts: Where the content of each begins, and at the end the size of all content.
        places: Where each is in the framed file.
        sizes: Bytes it takes there.
        torn: The file ends early, or stops making sense.
        oddities: Sentences on that.
    """

    def __init__(self, frame: Frame, file: ByteFile) -> None:
        """Find the pieces of ``file``.

        Raises:
            NotSeekableError: It can't be read at random.
            FormatError: It can't be read at all.
        """
        self.starts = array("Q", (0,))
        self.places = array("Q")
        self.sizes = array("Q")
        self.torn = False
        self.oddities: list[str] = []
        self._frame, self._file = frame, file
        try:
            for piece in frame.pieces(file):
                self._add(piece)
        except (CorruptError, TruncatedError, ReadError) as error:
            self.oddities.append(ends_early(error))
            self.torn = True
        if not self.sizes:
            raise TruncatedError(f"the {frame.title} file holds nothing that can be read", file=file.name)

    def _add(self, piece: Piece) -> None:
        content = self._measured(piece) if piece.content is None else piece.content
        if content > PIECE_LIMIT:
            raise NotSeekableError
        if len(self.sizes) == PIECES_LIMIT:
            raise NotSeekableError
        if content:
            self.starts.append(self.starts[-1] + content)
            self.places.append(piece.place)
            self.sizes.append(piece.packed)

    def _measured(self, piece: Piece) -> int:
        """What a piece unpacks to, learnt by unpacking it."""
        if piece.packed > 2 * PIECE_LIMIT:
            raise NotSeekableError
        try:
            packed = some(self._file, piece.place, piece.packed)
            return len(self._frame.unpack(packed, piece.guess or PIECE_LIMIT + 1))
        except CorruptError as error:
            if not piece.guess:
                raise CorruptError(error.message, file=self._file.name, offset=piece.place) from error
            return piece.guess


class _Unpacked:
    """A piece's content, or why there is none. The lock is held by whoever unpacks it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.content: bytes | memoryview | None = None
        self.error = ""


class FramedFile:
    """The file within a framed one; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, outer: ByteFile, frame: Frame, index: Index) -> None:
        self.name = outer.name
        self.size: int = index.starts[-1]
        self._outer, self._frame, self._index = outer, frame, index
        self._lock = threading.Lock()
        #: By number of the piece, the one that was used last at the end.
        self._cache: dict[int, _Unpacked] = {}
        self._cached = 0
        #: A piece of zeros as it is packed: the next one is known by it.
        self._zeros = b""

    def read_into(self, offset: int, out: memoryview) -> int:
        """See :class:`vmsieve.formats.files.ByteFile`.

        Raises:
            ReadError: A piece is damaged; ``offset`` is the first byte within the inner file that can't be had.
        """
        starts = self._index.starts
        at, end = offset, min(offset + len(out), self.size)
        while at < end:
            number = bisect_right(starts, at) - 1
            start, stop = starts[number], min(starts[number + 1], end)
            try:
                content = self._content(number)
            except ReadError as error:
                raise ReadError(error.message, file=self.name, offset=at) from error
            out[at - offset : stop - offset] = content[at - start : stop - start]
            at = stop
        return max(0, end - offset)

    def next_data(self, offset: int) -> int:
        """See :func:`vmsieve.formats.files.next_data`: pieces that are packed like one of zeros are zeros."""
        number = bisect_right(self._index.starts, offset) - 1
        following = number
        while self._zeros and following < len(self._index.sizes) and self._is_zeros(following):
            following += 1
        return offset if following == number else self._index.starts[following]

    def _is_zeros(self, number: int) -> bool:
        size = self._index.sizes[number]
        return size == len(self._zeros) and some(self._outer, self._index.places[number], size) == self._zeros

    def _content(self, number: int) -> bytes | memoryview:
        """The content of a piece; unpacked once, however many threads ask for it."""
        entry = self._entry(number)
        with entry.lock:
            if entry.content is None and not entry.error:
                try:
                    entry.content = self._unpack(number)
                except ReadError as error:
                    entry.error = error.message
            if entry.content is None:
                raise ReadError(entry.error)
            return entry.content

    def _entry(self, number: int) -> _Unpacked:
        with self._lock:
            entry = self._cache.pop(number, None)
            if entry is None:
                entry = _Unpacked()
                self._cached += self._size(number)
            self._cache[number] = entry
            while self._cached > _CACHE_BYTES:
                oldest = next(iter(self._cache))
                del self._cache[oldest]
                self._cached -= self._size(oldest)
        return entry

    def _size(self, number: int) -> int:
        return self._index.starts[number + 1] - self._index.starts[number]

    def _unpack(self, number: int) -> bytes | memoryview:
        packed, size = self._index.sizes[number], self._size(number)
        data = some(self._outer, self._index.places[number], packed)
        if len(data) < packed:
            raise ReadError("the file has become shorter")
        try:
            content = self._frame.unpack(data, size + 1)
        except CorruptError as error:
            raise ReadError(error.message) from error
        if len(content) != size:
            raise ReadError(f"damaged {self._frame.title} frame: it holds more or less than it should")
        if not self._zeros and packed <= _ZEROS_MOST and not any(content):
            self._zeros = data
        return content

    def close(self) -> None:
        """Close the framed file too."""
        self._outer.close()
