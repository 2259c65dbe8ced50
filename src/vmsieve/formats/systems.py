"""Dumps of two systems: the one that crashed, and its kdump kernel, which crashed in turn.

An s390x kdump kernel runs at address 0: the memory there and the memory that it was loaded to were swapped (Linux
``arch/s390/kernel/relocate_kernel.S``, ``crash_dump.c``). It stores address and size (``oldmem_base`` and
``oldmem_size``, ``arch/s390/include/asm/setup.h``), which a stand-alone dump contains. zgetdump names the systems the
same.

On other machines a crash kernel runs where it was loaded, and no memory is swapped: :mod:`vmsieve.filters.choice`
selects a kernel there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.errors import FormatError, ReadError, UsageError
from vmsieve.formats.inputs import MemoryRange, Source, open_source
from vmsieve.formats.layouts import lowcore
from vmsieve.formats.slim.records import record
from vmsieve.formats.source import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names of the systems, and descriptions for messages.
SYSTEMS: Final = {
    "prod": "the system that crashed",
    "kdump": "the crash kernel that should have dumped it",
    "all": "memory as it is, which can't be filtered",
}
_S390X: Final = ("s390x", "big")
_MIB: Final = 1 << 20
_PAGE: Final = 4096
#: Attributes of a source that are the same for both systems.
_SHARED: Final = (
    "format", "machine", "byte_order", "page_size", "dump_level", "incomplete", "compressed", "sparse",
)  # fmt: skip


@record(frozen=True)
class _Piece:
    """Memory ``start <= paddr < end`` of the selected system, at ``paddr + shift`` in the dump."""

    start: int
    end: int
    shift: int


def open_system(path: str, select: str | None = None) -> Source:
    """Open the dump at ``path``; if it has two systems, the one that ``select`` names.

    Raises:
        FormatError: As :func:`vmsieve.formats.inputs.open_source`; or there are two systems and ``select`` is None.
        UsageError: An s390x dump has one system, and ``select`` is not None. For other machines
            :mod:`vmsieve.filters.choice` checks that.
    """
    source = open_source(path)
    try:
        return choose(source, select)
    except BaseException:
        source.close()
        raise


def choose(source: Source, select: str | None) -> Source:
    """The system that ``select``, one of :data:`SYSTEMS`, names; it owns ``source``. Raises as :func:`open_system`."""
    oldmem = _kdump_memory(source)
    if oldmem is None:
        if select is not None and (source.machine, source.byte_order) == _S390X:
            raise UsageError("the dump holds one system: there is nothing to select", file=source.file.name)
        source.selected = select
        return source
    if select is None:
        raise FormatError(
            "the dump holds two systems, one that crashed and its kdump kernel", file=source.file.name,
            hint="say which: " + ", ".join(f"--select {name} ({what})" for name, what in SYSTEMS.items()),
        )  # fmt: skip
    base, size = oldmem
    swapped = f"{base:#x} - {base + size - 1:#x} changed places with 0x0 - {size - 1:#x}"
    if select == "all":
        # One kernel's VMCOREINFO would misclassify the other kernel's pages, or exclude them as missing memory.
        source.vmcoreinfo, source.utsname, source.mixed = None, (), True
        source.header["system"] = "both"
        source.header["memory_of_the_kdump_kernel"] = swapped
        source.remarks.append("memory of two kernels together can't be filtered: one has to be selected for that")
        return source
    from vmsieve.formats.inputs._s390 import complete, keep_own_registers
    from vmsieve.formats.s390_registers import notes, parse_notes

    if select == "prod":
        end = -(-max(source.end(), base + size) // _PAGE) * _PAGE
        pieces = [_Piece(0, size, base), _Piece(size, base, 0), _Piece(base + size, end, 0)]
        selected = SelectedSource(source, pieces, SYSTEMS[select])
        selected.header["memory_of_the_kdump_kernel"] = swapped
        complete(selected, None)
        return selected
    selected = SelectedSource(source, [_Piece(0, size, 0)], SYSTEMS[select])
    selected.crash_time = source.crash_time
    selected.notes = notes(parse_notes(source.notes), None)
    complete(selected)
    keep_own_registers(selected, size)
    return selected


def _kdump_memory(source: Source) -> tuple[int, int] | None:
    """Address before it was started, and size, of a kdump kernel's memory; None if none was started."""
    if (source.machine, source.byte_order) != _S390X:
        return None
    words = read_bytes(source, lowcore.OLDMEM_AT, lowcore.OLDMEM.size)
    if words is None:
        return None
    oldmem = lowcore.OLDMEM.unpack(words)
    base, size = oldmem.oldmem_base, oldmem.oldmem_size
    valid = base and size and not (base | size) % _MIB and size <= base and base + size <= source.end()
    return (base, size) if valid and _all_memory(source, base, size) else None


def _all_memory(source: Source, base: int, size: int) -> bool:
    """True if all pages of ``base .. base + size`` exist."""
    first, end = base // _PAGE, (base + size) // _PAGE
    return all(
        source.memory_bits(at, count, _PAGE)[0] == b"\xff" * (count // 8)
        for at in range(first, end, BLOCK)
        for count in [min(BLOCK, end - at)]
    )


class SelectedSource(Source):
    """One system of a dump with two. Header values that may be the other system's are left out."""

    def __init__(self, inner: Source, pieces: list[_Piece], name: str) -> None:
        shared = {attribute: getattr(inner, attribute) for attribute in _SHARED}
        super().__init__(inner.file, header={"system": name}, **shared)
        if inner.incomplete:
            self.remarks += inner.remarks
        self._inner = inner
        self._pieces = [piece for piece in pieces if piece.start < piece.end]
        self._end: int | None = None

    def end(self) -> int:
        if self._end is None:
            self._end = max((one.end for one in self.ranges()), default=0)
        return self._end

    def ranges(self) -> Iterator[MemoryRange]:
        last: MemoryRange | None = None
        for one in self._each_range():
            whole = last is not None and last.stored_end == last.end
            if last is not None and last.end == one.start and (whole or one.stored_end == one.start):
                last = MemoryRange(last.start, one.end, one.stored_end if whole else last.stored_end)
            else:
                if last is not None:
                    yield last
                last = one
        if last is not None:
            yield last

    def _each_range(self) -> Iterator[MemoryRange]:
        for piece in self._pieces:
            low, high = piece.start + piece.shift, piece.end + piece.shift
            for one in self._inner.ranges():
                start, end = max(one.start, low), min(one.end, high)
                if start < end:
                    stored = min(max(one.stored_end, start), end)
                    yield MemoryRange(start - piece.shift, end - piece.shift, stored - piece.shift)

    def next_memory(self, paddr: int) -> int:
        for piece in self._pieces:
            if paddr < piece.end:
                at = max(paddr, piece.start)
                found = self._inner.next_memory(at + piece.shift) - piece.shift
                if found < piece.end:
                    return max(found, at)
        return max(paddr, self.end())

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        exists, stored = bytearray(count // 8), bytearray(count // 8)
        for piece in self._pieces:
            start = max(first_pfn, piece.start // page_size)
            end = min(first_pfn + count, -(-piece.end // page_size // 8) * 8)
            if start >= end:
                continue
            first, last = (start - first_pfn) // 8, (end - first_pfn) // 8
            found = self._inner.memory_bits(start + piece.shift // page_size, end - start, page_size)
            exists[first:last], stored[first:last] = found
        return exists, stored

    def read_into(self, paddr: int, out: memoryview) -> None:
        done = 0
        while done < len(out):
            at = paddr + done
            piece = next((one for one in self._pieces if one.start <= at < one.end), None)
            if piece is None:
                raise ReadError("no such physical memory", file=self.file.name, offset=at)
            step = min(piece.end - at, len(out) - done)
            try:
                self._inner.read_into(at + piece.shift, out[done : done + step])
            except ReadError as error:
                if error.offset is not None:
                    error.offset -= piece.shift
                raise
            done += step

    def map_at(self, address: int, paddr: int, size: int) -> bool:
        piece = next((one for one in self._pieces if one.start <= paddr and paddr + size <= one.end), None)
        return piece is not None and self._inner.map_at(address, paddr + piece.shift, size)

    def close(self) -> None:
        self._inner.close()
