"""Memory of the running machine as its kernel exposes it: ``/proc/kcore``, else ``/dev/mem``.

``/proc/iomem`` lists memory and the crash kernel's reservation (kernel/resource.c), to root only. A locked-down kernel
exposes neither; most expose only devices in ``/dev/mem`` (CONFIG_STRICT_DEVMEM).
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import FormatError, ReadError, VmsieveError
from vmsieve.formats.extents import joined
from vmsieve.formats.files import read_at
from vmsieve.formats.inputs import MemoryRange, Source, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

CRASH_KERNEL: Final = "Crash kernel"
_SYSTEM_RAM: Final = "System RAM"
_IOMEM, _KCORE, _MEM = "/proc/iomem", "/proc/kcore", "/dev/mem"
_LINE: Final = re.compile(r" *([0-9a-f]{8,16})-([0-9a-f]{8,16}) : (.*)")
#: Most lines of /proc/iomem that are read; large machines have a few thousand.
_LINES_MOST: Final = 1 << 20


def iomem_ranges(name: str) -> list[tuple[int, int]]:
    """Find physical memory called ``name``: first address and one above the last, ascending.

    Raises:
        FormatError: The file can't be read, or hides addresses from this user.
    """
    found = []
    try:
        with open(_IOMEM, encoding="utf-8", errors="replace") as file:
            for line, _ in zip(file, range(_LINES_MOST)):
                match = _LINE.fullmatch(line.rstrip("\n"))
                if match is not None and match[3] == name:
                    found.append((int(match[1], 16), int(match[2], 16) + 1))
    except OSError as error:
        raise FormatError(f"can't be read: {error.strerror}", file=_IOMEM) from error
    if found and all(end == 1 for _, end in found):
        raise FormatError("addresses are hidden from this user", file=_IOMEM, hint="only root sees them")
    return sorted(found)


class _Device:
    """``/dev/mem`` as a file; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, path: str, size: int) -> None:
        self.name, self.size = path, size
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FormatError(f"can't be opened: {error.strerror}", file=path) from error

    def read_into(self, offset: int, out: memoryview) -> int:
        """See :class:`vmsieve.formats.files.ByteFile`."""
        return read_at(self._fd, offset, out, self.name, "the kernel does not expose this memory")

    def close(self) -> None:
        """See :class:`vmsieve.formats.files.ByteFile`."""
        os.close(self._fd)


class DevMemSource(Source):
    """The running machine's memory through ``/dev/mem``: file offset is physical address."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            FormatError: The kernel refuses, or hides its memory map.
        """
        # The reservation lies within System RAM on most machines; on s390x beside it.
        self._ranges = joined(iomem_ranges(_SYSTEM_RAM) + iomem_ranges(CRASH_KERNEL))
        if not self._ranges:
            raise FormatError("no memory is listed", file=_IOMEM)
        super().__init__(
            _Device(_MEM, self._ranges[-1][1]), format="memory", machine=os.uname().machine, byte_order=sys.byteorder
        )

    def end(self) -> int:
        return self._ranges[-1][1]

    def ranges(self) -> Iterator[MemoryRange]:
        for start, end in self._ranges:
            yield MemoryRange(start, end, end)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        bits = 0
        for start, end in self._ranges:
            first = min(max(start // page_size - first_pfn, 0), count)
            last = min(max(-(-end // page_size) - first_pfn, first), count)
            bits |= (1 << last) - (1 << first)
        found = bits.to_bytes(count // 8, "little")
        return bytearray(found), bytearray(found)

    def read_into(self, paddr: int, out: memoryview) -> None:
        if self.file.read_into(paddr, out) < len(out):
            raise ReadError("no such physical memory", file=self.file.name, offset=paddr)


def open_live(wanted: int) -> Source:
    """Open the running machine's memory; the page at physical address ``wanted`` must be readable.

    Raises:
        ReadError: Neither file works; the message says why.
    """
    reasons = []
    for kcore in (True, False):
        try:
            source = open_source(_KCORE) if kcore else DevMemSource()
        except VmsieveError as error:
            reasons.append(str(error))
            continue
        try:
            source.read_into(wanted, memoryview(bytearray(4096)))
        except ReadError as error:
            source.close()
            reasons.append(str(error))
        else:
            return source
    raise ReadError("this kernel does not expose its memory: " + "; ".join(reasons), hint="needs root")
