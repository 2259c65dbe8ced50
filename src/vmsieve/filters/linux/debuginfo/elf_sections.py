"""Large sections of an ELF file, read in place or unpacked into a temporary file.

Compressed sections: ELF, gABI chapter 4, "Section compression" (Linux: CONFIG_DEBUG_INFO_COMPRESSED); older tools wrote
``.zdebug_*`` instead: "ZLIB", the size as a big-endian number, the bytes. pyelftools reads sections into memory, and
does not unpack zstd.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib

from vmsieve.formats.errors import CorruptError, FormatError, TruncatedError
from vmsieve.formats.frames import frame
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from vmsieve.formats.slim.contexts import ExitStack

_COMPRESSED: Final = 1 << 11
_PLAIN, _ZLIB, _ZSTD = -1, 1, 2
#: struct Elf64_Chdr: ch_type, ch_reserved, ch_size, ch_addralign.
_HEADER: Final = "IIQQ"
_OLD_HEADER: Final = struct.Struct(">4sQ")
_PIECE: Final = 1 << 20
_UNPACKED_MOST: Final = 8 << 30


class Section:
    """A range of a file; a :class:`~vmsieve.formats.files.ByteFile`. ``name``: the file's."""

    def __init__(self, file: BinaryIO, start: int, size: int, name: str) -> None:
        self.name, self.size = name, size
        self._file, self._start = file, start

    def at(self, at: int, size: int) -> bytes:
        """Read ``size`` bytes at offset ``at``, or those to the section's end."""
        if not 0 <= at < self.size:
            return b""
        self._file.seek(self._start + at)
        return self._file.read(min(size, self.size - at))

    def read_into(self, offset: int, out: memoryview) -> int:
        data = self.at(offset, len(out))
        out[: len(data)] = data
        return len(data)

    def behind(self, at: int) -> Section:
        """The section without its first ``at`` bytes."""
        return Section(self._file, self._start + at, max(self.size - at, 0), self.name)

    def close(self) -> None:
        """Do nothing: the caller closes the file."""


def open_section(
    stack: ExitStack, file: BinaryIO, elf: Any, path: str, name: str, most: int = _UNPACKED_MOST
) -> Section:
    """Open the section ``name`` (``.debug_info``), unpacked; an empty one if the file lacks it.

    ``stack``: closes temporary files; ``path``: the file's name, for errors; ``most``: size limit.

    Raises:
        FormatError: It can't be unpacked, or is too large.
        UnsupportedError: Its decompressor is not installed.
    """
    found, old = elf.get_section_by_name(name), elf.get_section_by_name(name.replace(".debug", ".zdebug"))
    header = found if found is not None else old
    if header is None or header["sh_type"] == "SHT_NOBITS":
        return Section(file, 0, 0, path)
    start, end = header["sh_offset"], file.seek(0, os.SEEK_END)
    section = Section(file, start, max(min(header["sh_size"], end - start), 0), path)
    if found is None:
        magic, size = _OLD_HEADER.unpack(section.at(0, _OLD_HEADER.size))
        kind, begin = _ZLIB if magic == b"ZLIB" else 0, _OLD_HEADER.size
    elif header["sh_flags"] & _COMPRESSED:
        form = ("<" if elf.little_endian else ">") + _HEADER
        begin = struct.calcsize(form)
        kind, _, size, _ = struct.unpack(form, section.at(0, begin))
    else:
        kind, begin, size = _PLAIN, 0, section.size
    if size > most:
        raise FormatError(f"the section {name} is too large", file=path, found=size, expected=f"up to {most}")
    if kind == _PLAIN:
        return section
    if kind not in (_ZLIB, _ZSTD):
        raise FormatError(f"the section {name} has an unknown compression", file=path, found=kind)
    out = tempfile.TemporaryFile()  # noqa: SIM115
    stack.callback(out.close)
    try:
        _unpack((_inflate if kind == _ZLIB else frame("zstd").stream)(section.behind(begin)), out, size)
    except (zlib.error, ValueError, CorruptError, TruncatedError) as error:
        raise FormatError(f"the section {name} can't be unpacked: {error}", file=path) from error
    return Section(out, 0, size, path)


def _unpack(pieces: Iterator[bytes], out: BinaryIO, size: int) -> None:
    written = 0
    for piece in pieces:
        written += len(piece)
        if written > size:
            break
        out.write(piece)
    if written != size:
        raise ValueError(f"it has {'more' if written > size else 'fewer'} bytes than its header says")


def _inflate(packed: Section) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    at = 0
    while not unpacker.eof and (data := packed.at(at, _PIECE)):
        at += len(data)
        while data:
            yield unpacker.decompress(data, _PIECE)
            data = unpacker.unconsumed_tail
