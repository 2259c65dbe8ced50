"""Joins the files of a split dump without unpacking a page, as ``makedumpfile --reassemble`` does."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import FormatError, UnsupportedError, UsageError
from vmsieve.formats.files import PlainFile, read_exactly
from vmsieve.formats.inputs._kdump_source import KdumpSource
from vmsieve.formats.inputs.kdump import erased, gaps, in_order
from vmsieve.formats.layouts import kdump
from vmsieve.formats.loops.describe import describe_pages
from vmsieve.formats.loops.descriptors import take_pages
from vmsieve.formats.outputs import output_format
from vmsieve.formats.places import FilePlace
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.dump.output import DumpOutput

if TYPE_CHECKING:
    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.process.progress import Progress

_CHUNK: Final = 1 << 20
_LEAVE_ZERO: Final = 1
_STATUS_AT: Final = kdump.HEADER.offset("status")
#: Texts that the sub-header points to, and the header version that added its fields.
_TEXTS: Final = {"vmcoreinfo": 3, "note": 4, "eraseinfo": 5}


def reassemble(plan: Plan, parts: list[str], progress: Progress) -> bool:
    """Join ``parts``, in any order, into the output of ``plan``; returns True if the dump is whole.

    Raises:
        FormatError: They are files of different dumps, or one is missing.
        OutputError: The output can't be written.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(closing(PlainFile(path))) for path in parts]
        ordered = in_order([_opened(file) for file in files])
        for start, end in gaps(ordered):
            raise FormatError(
                f"no file is given that holds page frames {start:#x} to {end:#x} of the split dump",
                file=", ".join(parts),
            )
        target = stack.enter_context(DumpOutput(plan, output_format("kdump")))
        if not isinstance(target.place, FilePlace):
            raise UsageError("a joined dump needs a file as its output")
        whole = _Join(ordered, target.place, progress).run()
        target.finish()
        return whole


def _opened(file: PlainFile) -> KdumpSource:
    found = read_exactly(file, 0, len(kdump.SIGNATURE))
    if found != kdump.SIGNATURE:
        raise FormatError("not a kdump-compressed file", file=file.name, found=found.hex(" "))
    source = KdumpSource(file)
    if not source.head.wide:
        raise UnsupportedError("the headers are of a 32-bit machine", file=file.name)
    return source


class _Join:
    def __init__(self, parts: list[KdumpSource], place: FilePlace, progress: Progress) -> None:
        self._parts, self._place, self._progress = parts, place, progress
        head = self._head = parts[0].head
        self._count = sum(part.pages.count for part in parts)
        #: Offset of the data in the joined file, and of its block of zeros; 0: it has none.
        self._start = head.descriptors + self._count * kdump.DESCRIPTOR.size
        self._zero = self._start if head.sub.dump_level & _LEAVE_ZERO else 0
        self._at = self._start
        #: Offset and size of each text in the joined file: those before the page descriptors stay in place.
        self._texts = {name: self._kept(name) for name in _TEXTS}
        self._described = 0
        self._missing = 0
        self._batch = max(1, _CHUNK // head.page_size)
        self._swap = int(head.byte_order != sys.byteorder)

    def run(self) -> bool:
        whole = not any(part.incomplete for part in self._parts)
        self._put_headers()
        if self._zero:
            self._place.put(self._at, bytes(self._head.page_size))
            self._at += self._head.page_size
        self._progress.step("Copying pages", self._count, self._head.page_size)
        for part in self._parts:
            self._copy(part)
        self._progress.close()
        self._put_texts()
        whole = whole and not self._missing
        self._place.settle(_STATUS_AT, self._status(whole=whole))
        self._place.finish()
        return whole

    def _raw(self, offset: int, size: int) -> bytearray:
        return bytearray(read_exactly(self._parts[0].file, offset, size))

    def _status(self, *, whole: bool) -> bytes:
        bits = 0
        for part in self._parts:
            bits |= part.head.status
        bits = bits & ~kdump.INCOMPLETE if whole else bits | kdump.INCOMPLETE
        return kdump.HEADER.pack_field("status", bits, self._head.byte_order)

    def _put_headers(self) -> None:
        """Write the headers of the first file, without the fields of a split dump, and the bitmaps."""
        head, main = self._head, self._raw(0, kdump.HEADER.size)
        self._place.put(0, main[:_STATUS_AT])
        self._place.hold(_STATUS_AT, self._status(whole=False), self._status(whole=True))
        self._place.put(_STATUS_AT + 4, main[_STATUS_AT + 4 :])
        self._place.put(head.page_size, self._sub_header())
        for offset in range(head.page_size + kdump.SUB_HEADER.size, head.descriptors, _CHUNK):
            piece = self._raw(offset, min(_CHUNK, head.descriptors - offset))
            if any(piece):
                self._place.put(offset, piece)
        self._place.extend(self._start)
        self._place.flush()

    def _kept(self, name: str) -> tuple[int, int]:
        """Offset and size of a text that is copied with the headers of the first file, or 0 and 0."""
        offset, size = self._parts[0].texts.get(name, (0, 0))
        inside = self._head.page_size + kdump.SUB_HEADER.size <= offset <= self._head.descriptors - size
        return (offset, size) if inside and name != "eraseinfo" else (0, 0)

    def _sub_header(self) -> bytes:
        order, version, layout = self._head.byte_order, self._head.version, kdump.SUB_HEADER
        sub = vars(layout.unpack(self._raw(self._head.page_size, layout.size), order=order))
        sub.update(split=0, start_pfn=0, end_pfn=0)
        for name, since in _TEXTS.items():
            if version >= since:
                sub[f"offset_{name}"], sub[f"size_{name}"] = self._texts[name]
        if version >= 6:
            sub.update(start_pfn_64=0, end_pfn_64=0)
        return layout.pack(order, **sub)

    def _copy(self, part: KdumpSource) -> None:
        sizes, flags = array("I", bytes(4 * self._batch)), array("I", bytes(4 * self._batch))
        extents = array("Q", bytes(16 * self._batch))
        size_at, flag_at, extent_at = (address_of(memoryview(row).cast("B")) for row in (sizes, flags, extents))
        tally = memoryview(bytearray(16)).cast("Q")
        for first in range(0, part.pages.count, self._batch):
            count = min(self._batch, part.pages.count - first)
            table = bytearray(count * kdump.DESCRIPTOR.size)
            part.file.read_into(part.head.descriptors + first * kdump.DESCRIPTOR.size, memoryview(table))
            found = take_pages(
                count, address_of(table), self._swap, self._head.page_size, part.file.size, self._zero, size_at,
                flag_at, extent_at,
            )  # fmt: skip
            for i in range(found):
                self._place.put(self._next(extents[2 * i + 1]), read_exactly(part.file, *extents[2 * i : 2 * i + 2]))
            stored = sum(extents[1 : 2 * found : 2])
            describe_pages(
                count, size_at, flag_at, self._at - stored, self._zero, self._head.page_size, self._swap,
                address_of(table), address_of(tally.cast("B")),
            )  # fmt: skip
            place = self._head.descriptors + self._described * kdump.DESCRIPTOR.size
            self._place.put(place, table, unit=kdump.DESCRIPTOR.size)
            self._described += count
            self._missing += tally[1]
            self._progress.advance(count)

    def _next(self, size: int) -> int:
        """Reserve ``size`` bytes of data; returns their offset."""
        self._at += size
        return self._at - size

    def _put_texts(self) -> None:
        """Append the texts that lie elsewhere or in other files, and the erase information of all files."""
        before = dict(self._texts)
        for name in ("vmcoreinfo", "note"):
            part = next((part for part in self._parts if name in part.texts), None)
            if part is not None and not before[name][1]:
                offset, size = part.texts[name]
                self._texts[name] = self._at, size
                for start in range(offset, offset + size, _CHUNK):
                    piece = read_exactly(part.file, start, min(_CHUNK, offset + size - start))
                    self._place.put(self._next(len(piece)), piece)
        text = erased(self._parts)
        if text:
            self._texts["eraseinfo"] = self._at, len(text)
            self._place.put(self._next(len(text)), text)
        if self._texts != before:
            self._place.flush()
            self._place.put(self._head.page_size, self._sub_header())
