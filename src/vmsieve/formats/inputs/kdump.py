"""kdump-compressed files: makedumpfile's, and within a flattened file those of QEMU's ``dump-guest-memory -z``.

The files of a split dump (``makedumpfile --split``), in any order, are read as one dump. Each has the headers and both
bitmaps of the whole dump, the range of its page frames in the sub-header, and the page descriptors of these alone. If a
file is missing, so are its pages, and the dump is incomplete.
"""

from __future__ import annotations

from bisect import bisect_right

from vmsieve.formats.errors import CorruptError, UsageError
from vmsieve.formats.inputs import InputFormat, begins_with
from vmsieve.formats.inputs._kdump_pages import PageMap
from vmsieve.formats.inputs._kdump_source import KdumpSource
from vmsieve.formats.layouts import elf, kdump
from vmsieve.formats.notes import note_text, with_text
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs._kdump_header import KdumpHeader


def in_order(parts: list[KdumpSource]) -> list[KdumpSource]:
    """The files of one dump, in order of their page frames.

    Raises UsageError if a file is a whole dump, and CorruptError if two are of different dumps or hold the same pages.
    """
    for part in parts:
        if part.head.part is None:
            raise UsageError("a whole dump: it has no other files", file=part.file.name)
        if _identity(part.head) != _identity(parts[0].head):
            raise CorruptError(
                "the file is of another dump", file=part.file.name, hint=f"compared with {parts[0].file.name}"
            )
    # An empty part may begin where the next one does.
    ordered = sorted(parts, key=lambda part: part.head.part or (0, 0))
    for one, other in zip(ordered, ordered[1:]):
        if _range(other)[0] < _range(one)[1]:
            raise CorruptError(
                "two files hold the same pages", file=other.file.name, offset=_range(other)[0], hint=one.file.name
            )
    return ordered


def gaps(ordered: list[KdumpSource]) -> list[tuple[int, int]]:
    """Ranges ``first, end`` of page frames that no file holds."""
    found, covered = [], 0
    for start, end in (*map(_range, ordered), (ordered[0].head.pages, 0)):
        if start > covered:
            found.append((covered, start))
        covered = max(covered, end)
    return found


def _range(part: KdumpSource) -> tuple[int, int]:
    return part.head.part or (0, 0)


def erased(ordered: list[KdumpSource]) -> bytes:
    """The records of erased data of all files, without duplicates."""
    texts: list[bytes] = []
    for part in ordered:
        text = note_text(part.notes, part.byte_order, elf.NOTE_ERASEINFO) or b""
        if text not in texts:
            texts.append(text)
    return b"".join(texts)


def _identity(head: KdumpHeader) -> tuple[object, ...]:
    """Header values that all files of a dump share."""
    return (
        head.byte_order, head.version, head.utsname, head.crash_time, head.page_size, head.pages, head.cpus,
        head.exists, head.stored, head.descriptors, head.sub.dump_level, head.sub.phys_base,
    )  # fmt: skip


class _Pages(PageMap):
    """The bitmaps of all files."""

    def __init__(self, parts: list[KdumpSource]) -> None:
        self._parts = parts
        self.count = sum(part.pages.count for part in parts)

    def next_block(self, block: int, *, stored: bool) -> int:
        found = (part.pages.next_block(block, stored=stored) for part in self._parts)
        return min((block for block in found if block >= 0), default=-1)

    def last_block(self) -> int:
        return max(part.pages.last_block() for part in self._parts)

    def both(self, first_pfn: int, count: int) -> tuple[bytearray, bytearray]:
        """Bitmaps of existing pages, and of pages stored in any file."""
        exists, stored = self._parts[0].pages.both(first_pfn, count)
        for part in self._parts[1:]:
            start, end = _range(part)
            if start < first_pfn + count and first_pfn < end:
                bits = int.from_bytes(stored, "little") | int.from_bytes(part.pages.both(first_pfn, count)[1], "little")
                stored = bytearray(bits.to_bytes(len(stored), "little"))
        return exists, stored


class PartsSource(KdumpSource):
    """The open files of a split dump."""

    def __init__(self, parts: list[KdumpSource]) -> None:
        """Join ``parts``; raises FormatError if they do not belong together."""
        ordered = in_order(parts)
        self.__dict__.update(ordered[0].__dict__)
        self._parts = ordered
        self._starts = [_range(part)[0] for part in ordered]
        self.pages = _Pages(ordered)
        # Not every file needs to have VMCOREINFO and notes.
        best = max(ordered, key=lambda part: (part.vmcoreinfo is not None, bool(part.notes)))
        self.vmcoreinfo, self.cpus, self.large_notes = best.vmcoreinfo, best.cpus, best.large_notes
        self.notes = with_text(best.notes, self.byte_order, elf.NOTE_ERASEINFO, erased(ordered))
        self.format += f", {len(parts)} file{'s' * (len(parts) > 1)} of a split dump"
        self.incomplete = any(part.incomplete for part in ordered)
        self.remarks = [f"{part.file.name}: {odd}" for part in ordered for odd in part.remarks]
        for start, end in gaps(ordered):
            self.incomplete = True
            self.remarks.append(f"no file is given that holds page frames {start:#x} to {end:#x} of the split dump")
        self.header = {
            **self.header,
            "stored pages": self.pages.count,
            "files": ", ".join(f"{one.file.name}: {_range(one)[0]:#x} to {_range(one)[1]:#x}" for one in ordered),
        }

    def _pieces(self, paddr: int, size: int) -> Iterator[tuple[KdumpSource, int, int]]:
        """Divide a span: file, start and end within the span of each piece."""
        at = 0
        while at < size:
            # The last file that begins there or before; empty ones may begin at the same page.
            which = max(bisect_right(self._starts, (paddr + at) // self._size) - 1, 0)
            following = self._starts[which + 1] * self._size - paddr if which + 1 < len(self._starts) else size
            end = min(max(following, at + 1), size)
            yield self._parts[which], at, end
            at = end

    def fill(self, paddr: int, out: memoryview) -> int:
        return sum(part.fill(paddr + at, out[at:end]) for part, at, end in self._pieces(paddr, len(out)))

    def close(self) -> None:
        for part in self._parts:
            KdumpSource.close(part)


def _open(file: ByteFile) -> KdumpSource:
    source = KdumpSource(file)
    return source if source.head.part is None else PartsSource([source])


def _open_set(files: list[ByteFile]) -> KdumpSource:
    return PartsSource([KdumpSource(file) for file in files])


_PROBE = begins_with(kdump.SIGNATURE, kdump.OLD_SIGNATURE)
FORMAT = InputFormat("kdump", "kdump-compressed", 20, _PROBE, _open, _open_set)
