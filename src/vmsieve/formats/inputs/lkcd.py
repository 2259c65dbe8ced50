"""LKCD dumps of s390x, version 8, which vmconvert and the old zfcpdump wrote before kdump.

Layout: :mod:`vmsieve.formats.layouts.lkcd`. Pages are in any order: plain, run-length encoded or zlib streams. A page
without a record reads as zeros, as in zgetdump: writers skipped zeros and holes. Bugs of writers: vmconvert stores the
last page twice instead of an end mark; zfcpdump's mark has its fields mixed up.
"""

from __future__ import annotations

import struct

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.codecs._pack import unpack_pages
from vmsieve.formats.errors import ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import InputFormat, begins_with
from vmsieve.formats.inputs._lkcd_records import OFFSET_BITS, Walk, full_size
from vmsieve.formats.inputs._zero_filled import ADDRESS_END, PAGE, ZeroFilledSource
from vmsieve.formats.layouts import lkcd
from vmsieve.formats.loops.page_records import RUN_PAGES, expand_rle, plan_records
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.codecs import State
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.mapping import FilePiece

_WITHIN: Final = (1 << OFFSET_BITS) - 1
#: Most bytes of a run in the file.
_RUN_BYTES: Final = RUN_PAGES * (lkcd.RECORD.size + 2 * PAGE)


class LkcdSource(ZeroFilledSource):
    """An open LKCD dump."""

    def __init__(self, file: ByteFile) -> None:
        """Read the header and scan all records; raises FormatError if they are unusable."""
        if file.size < lkcd.DATA_AT:
            raise TruncatedError("the file ends within the dump's header", file=file.name, expected=lkcd.DATA_AT)
        head = lkcd.HEADER.unpack(read_exactly(file, 0, lkcd.HEADER.size))
        size = lkcd.UTSNAME_SIZE
        names = tuple(_string(head.utsname[at : at + size]) for at in range(0, len(head.utsname), size))
        self._method = head.dump_compress
        _check(file, names[4], head.page_size, self._method)
        end = head.mem_end or head.mem_size
        walk = Walk(file)
        if self._method == lkcd.NONE and PAGE <= end < ADDRESS_END and file.size == full_size(end):
            walk.full(end)
        else:
            walk.all()
        super().__init__(file, f"LKCD, version {head.version}", max(end, walk.highest))
        self._runs, data = walk.runs, walk.data
        self.compressed = True  # or as slow: pages are not aligned, and each is read by itself
        self.utsname = names
        self.crash_time = head.tv_sec if 0 < head.tv_sec < 1 << 40 else None
        self.header = {
            "version": head.version, "level": head.dump_level, "method": lkcd.METHODS[self._method],
            "pages": walk.records,
            "pages_taken_as_zeros": self.end() // PAGE - data.total() // PAGE,
        }  # fmt: skip
        self.prefixes = self._prefixes(head.hdr_size)
        self._idle: list[State] = []
        self._which = codec_number("zlib")
        if walk.problem:
            self.incomplete = True
            self.remarks.append(walk.problem)
        if data.repeated:
            self.remarks.append(f"{data.repeated // PAGE} pages are stored more than once; the first ones hold")
        self.set_pieces(data, walk.highest if walk.problem else self.end())

    def _prefixes(self, at: int) -> tuple[int, ...]:
        """Prefixes from the machine's header at ``at``; empty if it is missing."""
        size = lkcd.MACHINE.size + 4 * lkcd.CPUS_MOST
        if not 0 < at <= lkcd.DATA_AT - size:
            return ()
        data = read_exactly(self.file, at, size)
        machine = lkcd.MACHINE.unpack(data)
        if machine.magic != lkcd.MACHINE_MAGIC:
            self.remarks.append("there is no header of the machine: no registers")
            return ()
        self.header.update(cpus_online=machine.cpu_cnt, cpus_real=machine.real_cpu_cnt)
        return struct.unpack_from(f">{min(machine.cpu_cnt, lkcd.CPUS_MOST)}I", data, lkcd.MACHINE.size)

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None:  # noqa: ARG002 - records lie between pages
        return None

    def find_stored(self, paddr: int, size: int) -> tuple[int, int] | None:  # noqa: ARG002 - pages are packed
        return None

    def _read_piece(self, offset: int, paddr: int, out: memoryview) -> None:
        at, end = paddr, paddr + len(out)
        while at < end:
            entry = offset + at - paddr
            within = entry % PAGE
            part = out[at - paddr : min(end - paddr, at - paddr + (1 << OFFSET_BITS) - (entry & _WITHIN))]
            if within or len(part) < PAGE:
                page = bytearray(PAGE)
                part = part[: PAGE - within]
                self._unpack(entry - within, at - within, memoryview(page))
                part[:] = page[within : within + len(part)]
            else:
                part = part[: len(part) // PAGE * PAGE]
                self._unpack(entry, at, part)
            at += len(part)

    def _unpack(self, entry: int, paddr: int, out: memoryview) -> None:
        """Fill ``out`` with whole pages of one run."""
        number, skip, count = entry >> OFFSET_BITS, (entry & _WITHIN) // PAGE, len(out) // PAGE
        start = self._runs[number]
        packed = bytearray(min(self._runs[number + 1] - start, _RUN_BYTES))
        got = self.file.read_into(start, memoryview(packed))
        table = bytearray(count * 16)
        addresses = address_of(packed), address_of(table), address_of(out)
        good = plan_records(addresses[0], got, skip, count, paddr, addresses[1])
        if good:
            good = self._expand(good, *addresses)
        if good < count:
            raise ReadError("the page's data are damaged", file=self.file.name, offset=paddr + good * PAGE)

    def _expand(self, count: int, packed: int, table: int, out: int) -> int:
        if self._method == lkcd.RLE:
            return expand_rle(count, table, packed, PAGE, out)
        try:
            state = self._idle.pop()
        except IndexError:
            state = codec("zlib").open_decompressor(PAGE)
        try:
            return unpack_pages(self._which, state.address, count, table, packed, PAGE, out)
        finally:
            self._idle.append(state)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        super().close()


def _string(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("ascii", "replace")


def _check(file: ByteFile, machine: str, page_size: int, method: int) -> None:
    if machine != "s390x":
        raise UnsupportedError(
            "an LKCD dump of an unknown machine", file=file.name, expected="s390x", found=machine or "none"
        )
    if page_size != PAGE:
        raise UnsupportedError("pages of s390x have one size", file=file.name, expected=PAGE, found=page_size)
    if method not in lkcd.METHODS:
        raise UnsupportedError("pages are packed by an unknown method", file=file.name, found=method)


FORMAT = InputFormat("lkcd", "LKCD dump", 56, begins_with(struct.pack(">Q", lkcd.MAGIC)), LkcdSource)
