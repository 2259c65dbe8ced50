"""Is VMCOREINFO of the kernel that runs? Its memory says so in several places, or contradicts.

* The kernel's name (``init_uts_ns``) has VMCOREINFO's release.
* The kernel's own ELF notes have VMCOREINFO's build id. They are told from those of a vDSO by a note about link-time
  optimisation (LINUX_ELFNOTE_LTO_INFO, ``include/linux/elfnote-lto.h``, v5.12).
* The log begins with a banner that has the release and the version.

What can't be found contradicts nothing.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.log_buffer import flat_buffer, text_ring
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.notes import build_note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import Source

__all__ = ["find_contradiction", "foreign_memory", "is_crash_kernel", "log_text"]

#: Bytes of the log, and of the kernel's image behind its symbols, that are looked at.
_LOG_MOST: Final = 4 << 20
_IMAGE_MOST: Final = 32 << 20
_STEP: Final = 1 << 20
#: How far apart notes of one section are at most, and bytes of a GNU build id.
_APART: Final = 1024
_ID: Final = 20
_LTO: Final = 0x101
_BANNER: Final = b"Linux version "
_MOST_BANNERS: Final = 16
#: Ranges of memory that are held against struct pages; pages that are looked into; the part of memory, one in so many,
#: that firmware and devices may have.
_MOST_RANGES: Final = 4096
_SAMPLES: Final = 256
_ONE_IN: Final = 32


def find_contradiction(memory: VirtualMemory, info: VmcoreInfo, names: tuple[str, ...], log: bytes) -> str | None:
    """Why ``info`` is not of the kernel in ``memory``; None if nothing says so.

    ``names``: the kernel's utsname, or what is known of it; ``log``: :func:`log_text`.
    """
    banners = list(islice(_banners(log), _MOST_BANNERS))
    release, version = names[2] or info.peek("OSRELEASE"), names[3]
    if banners and not any(_agrees(banner, release, version) for banner in banners):
        return f"the log is of Linux {banners[0][0]} {banners[0][1]}, VMCOREINFO leads to {release} {version}".rstrip()
    return _other_build(memory, info)


def _banners(log: bytes) -> Iterator[tuple[str, str]]:
    """Release and version of each banner: ``Linux version 6.1.0 (builder) (compiler) #1 SMP ...``."""
    for part in log.split(_BANNER)[1:]:
        line = part.partition(b"\0")[0].partition(b"\n")[0]
        release, builder, rest = line.partition(b" (")
        version = rest.partition(b") #")[2]
        if builder and version[:1].isdigit():
            yield release.decode("utf-8", "replace"), "#" + version.decode("utf-8", "replace")


def _agrees(banner: tuple[str, str], release: str | None, version: str) -> bool:
    """Lines of the log may be cut off, and colours follow them in some."""
    return banner[0] == release and (not version or banner[1][: len(version)] == version[: len(banner[1])])


def _other_build(memory: VirtualMemory, info: VmcoreInfo) -> str | None:
    told = info.peek("BUILD-ID")
    file = memory.physical.source.file
    # A crash kernel gets the note from the kernel that crashed, without a search.
    if told is None or len(told) != 2 * _ID or (isinstance(file, PlainFile) and file.vmcore):
        return None
    found = _build_id(memory, info, told)
    return None if found is None else f"VMCOREINFO is of build {told}, the kernel in memory of {found}"


def _build_id(memory: VirtualMemory, info: VmcoreInfo, told: str) -> str | None:
    """The build id in the kernel's notes if it is found and is not ``told``."""
    start = max((info.peek_address(key) for key in info.keys if key.startswith("SYMBOL(kallsyms_")), default=0)
    start = start or info.peek_address("SYMBOL(_stext)")
    order = memory.physical.byte_order
    mark = build_note(b"GNU", 3, bytes(_ID), order)[:-_ID]
    lto = build_note(b"Linux", _LTO, bytes(4), order)[:-4]
    # One buffer for all pieces, and before each the end of the last: fresh memory would cost more than the search.
    kept, data = 2 * _APART, bytearray(2 * _APART + _STEP)
    for at in range(start, start + _IMAGE_MOST if start else 0, _STEP):
        try:
            memory.read_into(at, memoryview(data)[kept:])
        except (KernelError, ReadError):
            return None
        place = data.find(mark)
        while 0 <= place < len(data) - _APART:
            found = data[place + len(mark) : place + len(mark) + _ID].hex()
            if found == told:
                return None
            if data.find(lto, max(place - _APART, 0), place + _APART) >= 0:
                return found
            place = data.find(mark, place + 1)
        data[:kept] = data[-kept:]
    return None


def log_text(memory: VirtualMemory, info: VmcoreInfo) -> bytes:
    """The log as it lies in memory, records' heads and all; empty where it can't be read."""
    try:
        start, size = text_ring(memory, info) if info.peek("SYMBOL(prb)") else flat_buffer(memory, info)
        pieces = memory.pieces(start, min(size, _LOG_MOST))
        if pieces is None:
            return b""
        out = bytearray(sum(length for _, length in pieces))
        memory.read_pieces(pieces, memoryview(out))
        return bytes(out)
    except (KernelError, ReadError):
        return b""


def is_crash_kernel(log: bytes) -> bool:
    """Whether a kernel was started to dump another one: its command line or device tree told where that one is."""
    return b"elfcorehdr" in log


def foreign_memory(source: Source, memmap: MemMap, page_size: int, log: bytes) -> tuple[int, int] | None:
    """How many bytes of memory hold something and are not the kernel's, and where they begin; None if they are few.

    Firmware and devices have some, and ``mem=`` keeps memory from a kernel: that is not another kernel's. None, too,
    where memory is in too many pieces to tell cheaply.
    """
    ranges = list(islice(source.ranges(), _MOST_RANGES + 1))
    if len(ranges) > _MOST_RANGES or source.dump_level:
        return None
    stored, outside = 0, list[tuple[int, int]]()
    for one in ranges:
        at, end = one.start // page_size, -(-min(one.stored_end, one.end) // page_size)
        stored += max(end - at, 0)
        for run in memmap.runs(at, end):
            if at < run.first_pfn:
                outside.append((at, run.first_pfn))
            at = run.first_pfn + run.count
        if at < end:
            outside.append((at, end))
    count = sum(end - start for start, end in outside)
    if count * _ONE_IN <= stored or _limits_memory(log):
        return None
    filled = _filled(source, outside, count, page_size)
    return (count * page_size, outside[0][0] * page_size) if filled * _ONE_IN > stored else None


def _filled(source: Source, pieces: list[tuple[int, int]], count: int, page_size: int) -> int:
    """About how many of the ``count`` page frames in ``pieces`` hold something, by a sample."""
    step = max(count // _SAMPLES, 1)
    page, seen, filled = bytearray(page_size), 0, 0
    skip = 0
    for start, end in pieces:
        for pfn in range(start + skip, end, step):
            seen += 1
            try:
                source.read_into(pfn * page_size, memoryview(page))
                filled += any(page)
            except ReadError:
                continue
        skip = -(end - start - skip) % step
    return filled * count // max(seen, 1)


def _limits_memory(log: bytes) -> bool:
    """Whether the command line keeps memory from the kernel."""
    line = log.partition(b"ommand line: ")[2].partition(b"\0")[0].partition(b"\n")[0]
    return any(word.startswith((b"mem=", b"memmap=")) for word in line.split())
