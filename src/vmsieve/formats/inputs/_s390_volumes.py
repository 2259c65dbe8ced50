"""Volumes of a multi-volume dump: detection of each, and all of them as one file."""

from __future__ import annotations

import struct

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.files import file_pieces, read_as, read_exactly
from vmsieve.formats.inputs.s390 import read_header
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields
    from vmsieve.formats.mapping import FilePiece

#: Bits of an offset within a volume in a :class:`VolumesFile`.
SHIFT: Final = 48
_BLOCKS: Final = (4096, 2048, 1024, 512)
_SIGN: Final = struct.pack(">Q", s390.MAGIC_EXT)


@record(frozen=True)
class Table:
    """The table of volumes behind the dump tool: the same on all disks of a set."""

    raw: bytes  # as stored
    count: int  # volumes
    parts: tuple[tuple[int, int], ...]  # start and end of each volume's partition, in bytes
    names: tuple[str, ...]  # bus ID of each volume


@record(frozen=True)
class Volume:
    """One volume."""

    file: ByteFile  # the disk, or its partition alone
    start: int  # offset of the partition, which begins with the header
    end: int  # end of the partition; of the file if it is the partition alone
    header: Fields  # the dump's header
    table: Table | None  # None if the file is the partition alone


class VolumesFile:
    """Volumes as one file; see :class:`vmsieve.formats.files.ByteFile`. An offset is ``number << SHIFT | offset``."""

    def __init__(self, files: list[ByteFile]) -> None:
        self.name = ",".join(file.name for file in files)
        self.size = sum(file.size for file in files)
        self._files = files

    def read_into(self, offset: int, out: memoryview) -> int:
        number, at = offset >> SHIFT, offset & ((1 << SHIFT) - 1)
        file = self._files[number]
        return read_as(file, at, out, offset, file.name)

    def pieces(self, offset: int, size: int) -> list[FilePiece] | None:
        """As :meth:`vmsieve.formats.files.PlainFile.pieces`."""
        return file_pieces(self._files[offset >> SHIFT], offset & ((1 << SHIFT) - 1), size)

    def shrunk(self) -> bool:
        return any(getattr(file, "shrunk", bool)() for file in self._files)

    def close(self) -> None:
        for file in self._files:
            file.close()


def is_disk(start: bytes) -> bytes | None:
    """The dump tool's magic number on a disk that begins with ``start``, or None."""
    for block in _BLOCKS:
        magic = start[s390.TOOL_BLOCK * block :][: len(s390.TOOL_MULTI)]
        if magic in (s390.TOOL_MULTI, s390.TOOL_SINGLE):
            return magic
    return None


def is_signed(start: bytes) -> bool:
    """True if ``start`` begins a partition that zipl or the dump tool marked as one of several."""
    return start.startswith(_SIGN) and start[s390.HEADER.offset("mvdump_sign") :].startswith(_SIGN)


def read_volume(file: ByteFile) -> Volume | Table:
    """The volume in ``file``, a disk or its partition alone; the table of a disk without a dump."""
    start = read_exactly(file, 0, min(file.size, s390.TOOL_BLOCK * _BLOCKS[0] + s390.HEADER_SIZE))
    if is_signed(start):
        return Volume(file, 0, file.size, read_header(file), None)
    block = next(
        (size for size in _BLOCKS if start[s390.TOOL_BLOCK * size :].startswith(s390.TOOL_MULTI)), None
    )  # fmt: skip
    if block is None:
        raise UnsupportedError(
            "a whole disk with a dump tool on it", file=file.name, hint="the dump is in the disk's partition: name that"
        )
    table = _read_table(file, s390.TOOL_BLOCK * block)
    found = (_in_part(file, table, number) for number in range(table.count))
    return next((volume for volume in found if volume is not None), table)


def _read_table(file: ByteFile, tool: int) -> Table:
    (version,) = read_exactly(file, tool + len(s390.TOOL_MULTI), 1)
    size = s390.TOOL_SIZES.get(version)
    if size is None:
        raise UnsupportedError("an unknown version of the multi-volume dump tool", file=file.name, found=version)
    raw = read_exactly(file, tool + size, s390.TABLE_SIZE)
    count = s390.VOLUMES.unpack(raw).vol_cnt
    if not 1 <= count <= s390.VOLUMES_MOST:
        raise CorruptError(
            "the table of volumes is damaged", file=file.name, offset=tool + size,
            expected=f"1 to {s390.VOLUMES_MOST} volumes", found=str(count),
        )  # fmt: skip
    volumes = [*s390.VOLUME.array(raw, s390.VOLUMES.size, count)]
    sets = raw[s390.VOLUMES.size + s390.VOLUMES_MOST * s390.VOLUME.size :]
    parts = tuple((one.start_blk * (one.blk_size << 8), (one.end_blk + 1) * (one.blk_size << 8)) for one in volumes)
    return Table(raw, count, parts, tuple(f"0.{sets[i]:x}.{one.devno:04x}" for i, one in enumerate(volumes)))


def _in_part(file: ByteFile, table: Table, number: int) -> Volume | None:
    """Volume ``number`` if it is on this disk, or None."""
    start, end = table.parts[number]
    try:
        signed = is_signed(read_exactly(file, start, s390.HEADER_SIZE))
        header = read_header(file, start) if signed else None
    except TruncatedError:
        return None
    if header is None or header.volnr != number or header.mem_size == 0:
        return None
    return Volume(file, start, end, header, table)
