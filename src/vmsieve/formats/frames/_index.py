"""Random access to a framed file: an index of its pieces, and a cache of unpacked ones."""

from __future__ import annotations

import threading
from bisect import bisect_right

from vmsieve.formats.errors import CorruptError, ReadError, TruncatedError
from vmsieve.formats.frames import PIECE_LIMIT, PIECES_LIMIT, NotSeekableError, end_remark, read_up_to
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.frames import Frame, Piece

#: Bytes of unpacked content in the cache.
_CACHE_BYTES: Final = 16 << 20
#: Largest packed piece of zeros that is remembered to recognise others.
_ZEROS_MOST: Final = 1 << 15


class Index:
    """The pieces of a framed file; 24 bytes each."""

    def __init__(self, frame: Frame, file: ByteFile) -> None:
        """Find the pieces of ``file``; NotSeekableError without random access, FormatError if it can't be read."""
        self.starts = array("Q", (0,))  #: Where each one's content begins; the last entry is the size of all content.
        self.places = array("Q")  #: Offset of each in the framed file.
        self.sizes = array("Q")  #: Packed bytes of each.
        self.torn = False  #: The file ends early, or is damaged from some point on.
        self.remarks: list[str] = []  #: Sentences on that.
        self._frame, self._file = frame, file
        try:
            for piece in frame.pieces(file):
                self._add(piece)
        except (CorruptError, TruncatedError, ReadError) as error:
            self.remarks.append(end_remark(error))
            self.torn = True
        if not self.sizes:
            raise TruncatedError(f"the {frame.title} file has no readable content", file=file.name)

    def _add(self, piece: Piece) -> None:
        content = self._measured(piece) if piece.content is None else piece.content
        if content > PIECE_LIMIT or len(self.sizes) == PIECES_LIMIT:
            raise NotSeekableError
        if content:
            self.starts.append(self.starts[-1] + content)
            self.places.append(piece.place)
            self.sizes.append(piece.packed)

    def _measured(self, piece: Piece) -> int:
        """Unpack a piece to find its content size."""
        if piece.packed > 2 * PIECE_LIMIT:
            raise NotSeekableError
        try:
            packed = read_up_to(self._file, piece.place, piece.packed)
            return len(self._frame.unpack(packed, piece.guess or PIECE_LIMIT + 1))
        except CorruptError as error:
            if not piece.guess:
                raise CorruptError(error.message, file=self._file.name, offset=piece.place) from error
            return piece.guess


class _Unpacked:
    """A piece's content, or the reason why it has none. The thread that unpacks it holds the lock."""

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
        #: By number of the piece, least recently used first.
        self._cache: dict[int, _Unpacked] = {}
        self._cached = 0
        #: A packed piece of zeros, to recognise others by comparison.
        self._zeros = b""

    def read_into(self, offset: int, out: memoryview) -> int:
        """See :class:`vmsieve.formats.files.ByteFile`; ReadError has the first unreadable byte of the inner file."""
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
        """Skip pieces packed like a known piece of zeros; see :func:`vmsieve.formats.files.next_data`."""
        number = bisect_right(self._index.starts, offset) - 1
        following = number
        while self._zeros and following < len(self._index.sizes) and self._is_zeros(following):
            following += 1
        return offset if following == number else self._index.starts[following]

    def _is_zeros(self, number: int) -> bool:
        size = self._index.sizes[number]
        return size == len(self._zeros) and read_up_to(self._outer, self._index.places[number], size) == self._zeros

    def _content(self, number: int) -> bytes | memoryview:
        """The content of a piece, unpacked once even if several threads need it."""
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
        data = read_up_to(self._outer, self._index.places[number], packed)
        if len(data) < packed:
            raise ReadError("the file has become shorter")
        try:
            content = self._frame.unpack(data, size + 1)
        except CorruptError as error:
            raise ReadError(error.message) from error
        if len(content) != size:
            raise ReadError(f"damaged {self._frame.title} frame: wrong content size")
        if not self._zeros and packed <= _ZEROS_MOST and not any(content):
            self._zeros = data
        return content

    def close(self) -> None:
        """Close the framed file too."""
        self._outer.close()
