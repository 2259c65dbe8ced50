"""The slow way into a framed file: unpack it once into an unnamed temporary file."""

from __future__ import annotations

import errno
import os

from vmsieve.formats.errors import CorruptError, FormatError, ReadError, TruncatedError
from vmsieve.formats.files import read_at, seek_data
from vmsieve.formats.frames import end_remark
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import IO

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.frames import Frame

#: Space left free in the file system.
_LEAVE: Final = 256 << 20
#: Length of zeros that become holes: dumps, and bombs, are full of them.
_HOLE: Final = 16 << 10
_ZEROS: Final = bytes(_HOLE)


class UnpackedFile:
    """The file within a framed one; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, outer: ByteFile, frame: Frame) -> None:
        """Unpack ``outer``; FormatError if there is no space for the content, or no content."""
        self.name = outer.name
        self.size = 0
        self.torn = False  #: The framed file ends early, or is damaged.
        self.remarks: list[str] = []  #: Sentences on that, and on the location of the content.
        self._outer, self._frame = outer, frame
        self._folder = _folder()
        self._file = self._temporary()
        try:
            self._fill()
        except BaseException:
            self._file.close()
            raise
        where = f"it was unpacked into {self._folder} ({self.size} bytes)"
        self.remarks.insert(0, f"the {frame.title} file has no random access: {where}")

    def _temporary(self) -> IO[bytes]:
        import tempfile

        try:
            return tempfile.TemporaryFile(dir=self._folder, buffering=0)
        except OSError as error:
            raise self._refused(error.strerror) from error

    def _refused(self, why: str | None) -> FormatError:
        return FormatError(
            f"the {self._frame.title} file can't be unpacked into {self._folder}: {why}",
            file=self.name,
            hint="set TMPDIR to a folder with more space, or unpack it by hand",
        )

    def _fill(self) -> None:
        try:
            self._check_room(self._outer.size)  # at the very least
            self._take_all()
            os.ftruncate(self._file.fileno(), self.size)
        except OSError as error:
            raise self._refused("no space" if error.errno == errno.ENOSPC else error.strerror) from error
        if not self.size:
            raise TruncatedError(f"the {self._frame.title} file has no content", file=self.name)

    def _take_all(self) -> None:
        try:
            for portion in self._frame.stream(self._outer):
                self._check_room(len(portion))
                self._append(portion)
        except (CorruptError, TruncatedError, ReadError) as error:
            if not self.size:
                raise
            self.remarks.append(end_remark(error))
            self.torn = True

    def _check_room(self, size: int) -> None:
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < _LEAVE + size:
            raise OSError(errno.ENOSPC, "no space")

    def _append(self, portion: bytes) -> None:
        fd = self._file.fileno()
        for at in range(0, len(portion), _HOLE):
            part = portion[at : at + _HOLE]
            while part and not _ZEROS.startswith(part):
                written = os.pwrite(fd, part, self.size)
                part = part[written:]
                self.size += written
            self.size += len(part)

    def read_into(self, offset: int, out: memoryview) -> int:
        return read_at(self._file.fileno(), offset, out, self.name, "can't read the unpacked file")

    def next_data(self, offset: int) -> int:
        return seek_data(self._file.fileno(), offset, self.size)

    def close(self) -> None:
        """Close the framed file too."""
        self._file.close()
        self._outer.close()


def _folder() -> str:
    """The folder for large temporary files: ``TMPDIR``, else /var/tmp, as /tmp is often memory."""
    named = os.environ.get("TMPDIR")
    return named or next((path for path in ("/var/tmp", "/tmp") if os.path.isdir(path)), ".")
