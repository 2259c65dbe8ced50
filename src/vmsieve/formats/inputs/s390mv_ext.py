"""Stand-alone dumps of s390x on several DASD volumes, given together, in any order.

Layout: :mod:`vmsieve.formats.layouts.s390`. A volume is a whole disk, with the dump tool and a table of all volumes, or
its partition alone. A dump that ended before the last volume does not need the rest, which older dumps may fill.
"""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, FormatError
from vmsieve.formats.extents import Extents
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._s390_segments import Segments, read_segment
from vmsieve.formats.inputs._s390_volumes import SHIFT, Volume, VolumesFile, is_disk, is_signed, read_volume
from vmsieve.formats.inputs.s390 import StandAloneSource, end_marker
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs._s390_volumes import Table

_NOT_COMPLETE: Final = "the dump is not complete: "


class _Volumes:
    """The volumes of one set, by number."""

    def __init__(self, files: list[ByteFile]) -> None:
        self.files = files
        self.by_number: dict[int, tuple[int, Volume]] = {}
        self.table: Table | None = None
        for index, file in enumerate(files):
            one = read_volume(file)
            if isinstance(one, Volume):
                self._set_table(file, one.table)
                self._take(index, one)
            else:
                self._set_table(file, one)
        if not self.by_number:
            raise CorruptError("prepared for dumps on several volumes, but holds no dump", file=files[0].name)
        if 0 not in self.by_number:
            raise self.missing(0)

    def _set_table(self, file: ByteFile, table: Table | None) -> None:
        if table is None:
            return
        if self.table is not None and table.raw != self.table.raw:
            raise CorruptError(
                "the volume is of another set: its table of volumes differs", file=file.name,
                hint=f"compared with {self.files[0].name}",
            )  # fmt: skip
        self.table = table

    def _take(self, index: int, volume: Volume) -> None:
        number = volume.header.volnr
        if number in self.by_number:
            raise CorruptError(
                f"volume {number} is given twice", file=volume.file.name,
                hint=f"{self.by_number[number][1].file.name} is that volume too",
            )  # fmt: skip
        self.by_number[number] = index, volume

    def name(self, number: int) -> str:
        """Name of a volume for messages."""
        known = self.table is not None and number < self.table.count
        return f"volume {number} ({self.table.names[number]})" if self.table and known else f"volume {number}"

    def missing(self, first: int) -> FormatError:
        """The error that volumes are missing from ``first`` on."""
        most = self.table.count if self.table is not None else max([first, *self.by_number]) + 1
        lacking = [self.name(number) for number in range(first, max(most, first + 1)) if number not in self.by_number]
        return FormatError(
            f"the dump is on several volumes: {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing",
            file=",".join(file.name for file in self.files),
            hint="name all of them with commas between: VOLUME0,VOLUME1",
        )

    def ends_with(self, number: int) -> bool:
        """True if the table shows that ``number`` is the last volume."""
        return self.table is not None and number + 1 >= self.table.count


class VolumesSource(StandAloneSource):
    """An open dump on several volumes."""

    def __init__(self, files: list[ByteFile]) -> None:
        """Read the segments of all volumes in order; raises FormatError if a volume is missing, or of another dump."""
        volumes = self._volumes = _Volumes(files)
        self._head = volumes.by_number[0][1].header
        self._head.zlib_entry_size = 0  # volumes are never compressed
        super().__init__(VolumesFile(files), "extended multi-volume dump", self._head)
        self._data, self._walked_end, self._ended = Extents(), 0, False
        #: Start of a segment of which only the header fits in the volume; None: there is none.
        self._lost: int | None = None
        number = 0
        while self._walk(number):
            number += 1
        used = number + 1
        self.set_pieces(self._data, self.end() if self._ended else self._walked_end)
        self.header["volumes"] = ", ".join(
            f"{volumes.name(i)}: {volumes.by_number[i][1].file.name}" for i in range(used) if i in volumes.by_number
        )
        if extra := sorted(set(volumes.by_number) - set(range(used))):
            self.remarks.append(f"the dump does not reach {', '.join(map(volumes.name, extra))}")

    def _torn(self, why: str) -> None:
        self.incomplete = True
        self.remarks.append(_NOT_COMPLETE + why)

    def _walk(self, number: int) -> bool:
        """Add the segments of volume ``number``; returns True if the dump continues on the next one."""
        if number not in self._volumes.by_number:
            raise self._volumes.missing(number)
        index, volume = self._volumes.by_number[number]
        if not self._same_dump(volume):
            self._torn(f"{self._volumes.name(number)} holds another dump")
            return False
        found = Segments(volume.file, self._head, s390.PAGE_SIZE)
        found.walk(volume.start + s390.HEADER_SIZE, self._walked_end, volume.end)
        if self._lost is not None and found.data.starts and self._lost < found.data.starts[0]:
            self._torn(f"{self._volumes.name(number - 1)} is cut off")
            return False
        for start, end, offset in zip(found.data.starts, found.data.ends, found.data.offsets):
            self._data.add(start, end, index << SHIFT | offset)
        self._walked_end = found.stored_end
        if found.stopped:
            self._ended = found.stored_end == found.end
            self.set_end(*end_marker(volume.file, found.at, self._head))
            return False
        # The dump tool continues on the next volume if there is no space for a segment and the end marker.
        full = found.stored_end == found.end and found.at + s390.PAGE_SIZE <= volume.end
        if not full or found.at + 2 * s390.PAGE_SIZE + (1 << 20) <= volume.end:
            self._torn(f"{self._volumes.name(number)} ends without a stop marker")
            return False
        if self._volumes.ends_with(number):
            self._torn("the volumes are full, and there is no stop marker")
            return False
        following = read_segment(volume.file, found.at, 0, s390.PAGE_SIZE)
        self._lost = following.start if following is not None and following.start >= found.end else None
        return True

    def _same_dump(self, volume: Volume) -> bool:
        one, other = self._head, volume.header
        return (one.tod, one.cpu_id, one.mem_size) == (other.tod, other.cpu_id, other.mem_size)


def _probe(start: bytes) -> bool:
    return is_signed(start) or is_disk(start) is not None


FORMAT = InputFormat(
    "s390mv_ext", "s390 extended multi-volume dump", 50, _probe, lambda file: VolumesSource([file]), VolumesSource
)
