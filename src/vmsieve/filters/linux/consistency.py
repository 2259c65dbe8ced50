"""Consistency of VMCOREINFO with the kernel in memory, which must not be another one.

* The kernel's name (``init_uts_ns``) has VMCOREINFO's release.
* The kernel's ELF notes have VMCOREINFO's build id. A vDSO has such notes too, but none about link-time optimisation
  (LINUX_ELFNOTE_LTO_INFO, ``include/linux/elfnote-lto.h``, v5.12).
* The log begins with a banner that has the release and the version.

Missing evidence is no contradiction.
"""

from __future__ import annotations

from itertools import islice

from vmsieve.filters.linux.log_buffer import flat_buffer, text_ring
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.notes import build_note
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import Source

#: Bytes to read at most of the log, and of the kernel image from its symbol table on.
_LOG_MOST: Final = 4 << 20
_IMAGE_MOST: Final = 32 << 20
_STEP: Final = 1 << 20
#: Greatest distance of two notes of one section; bytes of a GNU build id.
_APART: Final = 1024
_ID: Final = 20
_LTO: Final = 0x101
_BANNER: Final = b"Linux version "
_MOST_BANNERS: Final = 16
#: Memory ranges to compare with struct pages; pages to sample; firmware and devices may have 1/32 of memory.
_MOST_RANGES: Final = 4096
_SAMPLES: Final = 256
_ONE_IN: Final = 32


def find_contradiction(memory: VirtualMemory, info: VmcoreInfo, names: tuple[str, ...], log: bytes) -> str | None:
    """Explain why ``info`` is not of the kernel in ``memory``; None if nothing contradicts.

    ``names``: the kernel's utsname, as far as known; ``log``: :func:`log_text`.
    """
    banners = list(islice(_banners(log), _MOST_BANNERS))
    release, version = names[2] or info.peek("OSRELEASE"), names[3]
    if banners and not any(_agrees(banner, release, version) for banner in banners):
        return f"the log is of Linux {banners[0][0]} {banners[0][1]}, VMCOREINFO leads to {release} {version}".rstrip()
    return _other_build(memory, info)


def _banners(log: bytes) -> Iterator[tuple[str, str]]:
    """Yield release and version of each banner: ``Linux version 6.1.0 (builder) (compiler) #1 SMP ...``."""
    for part in log.split(_BANNER)[1:]:
        line = part.partition(b"\0")[0].partition(b"\n")[0]
        release, builder, rest = line.partition(b" (")
        version = rest.partition(b") #")[2]
        if builder and version[:1].isdigit():
            yield release.decode("utf-8", "replace"), "#" + version.decode("utf-8", "replace")


def _agrees(banner: tuple[str, str], release: str | None, version: str) -> bool:
    """True if the banner has this release and version; it may be cut off, or followed by colour codes."""
    return banner[0] == release and (not version or banner[1][: len(version)] == version[: len(banner[1])])


def _other_build(memory: VirtualMemory, info: VmcoreInfo) -> str | None:
    """Compare VMCOREINFO's build id with the one in the kernel's notes, if that is found."""
    noted = info.peek("BUILD-ID")
    file = memory.physical.source.file
    # The note of /proc/vmcore comes from the crashed kernel itself: no search.
    if noted is None or len(noted) != 2 * _ID or (isinstance(file, PlainFile) and file.vmcore):
        return None
    start = max((info.peek_address(key) for key in info.keys if key.startswith("SYMBOL(kallsyms_")), default=0)
    start = start or info.peek_address("SYMBOL(_stext)")
    order = memory.physical.byte_order
    mark = build_note(b"GNU", 3, bytes(_ID), order)[:-_ID]
    lto = build_note(b"Linux", _LTO, bytes(4), order)[:-4]
    # One buffer for all pieces, each after the end of the last: allocating would cost more than the search.
    kept, data = 2 * _APART, bytearray(2 * _APART + _STEP)
    for at in range(start, start + _IMAGE_MOST if start else 0, _STEP):
        try:
            memory.read_into(at, memoryview(data)[kept:])
        except (KernelError, ReadError):
            return None
        offset = data.find(mark)
        while 0 <= offset < len(data) - _APART:
            found = data[offset + len(mark) : offset + len(mark) + _ID].hex()
            if found == noted:
                return None
            if data.find(lto, max(offset - _APART, 0), offset + _APART) >= 0:
                return f"VMCOREINFO is of build {noted}, the kernel in memory of {found}"
            offset = data.find(mark, offset + 1)
        data[:kept] = data[-kept:]
    return None


def log_text(memory: VirtualMemory, info: VmcoreInfo) -> bytes:
    """The raw log buffer, record headers included; empty if it is unreadable."""
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
    """True if kdump booted the kernel: ``elfcorehdr`` is on its command line or in its device tree."""
    return b"elfcorehdr" in log


def foreign_memory(source: Source, memmap: MemMap, page_size: int, log: bytes) -> tuple[int, int] | None:
    """Size and start of memory that has no struct pages and yet is in use; None if there is little of it.

    Firmware and devices have a little, and ``mem=`` hides memory from a kernel: neither is another kernel's. None, too,
    if memory is in too many ranges to check cheaply.
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
    """Estimate, by a sample, how many of the ``count`` page frames in ``pieces`` are not zero."""
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
    """True if the command line hides memory from the kernel."""
    line = log.partition(b"ommand line: ")[2].partition(b"\0")[0].partition(b"\n")[0]
    return any(word.startswith((b"mem=", b"memmap=")) for word in line.split())
