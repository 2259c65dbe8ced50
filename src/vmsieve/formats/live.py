"""Memory of the running machine as its kernel exposes it: ``/proc/kcore``, else ``/dev/mem``.

``/proc/iomem`` lists memory and the crash kernel's reservation (kernel/resource.c), to root only. A locked-down kernel
exposes neither; most expose only devices in ``/dev/mem`` (CONFIG_STRICT_DEVMEM).
"""

from __future__ import annotations

import os
import re
import sys

from vmsieve.formats.errors import FormatError, ReadError, VmsieveError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_at
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs._pieces import StoredPieces
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.source import Source

CRASH_KERNEL: Final = "Crash kernel"
_SYSTEM_RAM: Final = "System RAM"
_IOMEM, _KCORE, _MEM = "/proc/iomem", "/proc/kcore", "/dev/mem"
_LINE: Final = re.compile(r" *([0-9a-f]{8,16})-([0-9a-f]{8,16}) : (.*)")
#: Most lines of /proc/iomem that are read; large machines have a few thousand.
_LINES_MOST: Final = 1 << 20


def iomem_ranges(name: str) -> list[tuple[int, int]]:
    """Find physical memory called ``name``: first address and one above the last, ascending.

    Raises FormatError if the file can't be read, or hides addresses from this user.
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
        return read_at(self._fd, offset, out, self.name, "the kernel does not expose this memory")

    def close(self) -> None:
        os.close(self._fd)


class DevMemSource(StoredPieces):
    """The running machine's memory through ``/dev/mem``: file offset is physical address."""

    def __init__(self) -> None:
        """Open it; raises FormatError if the kernel refuses, or hides its memory map."""
        memory = Extents()
        # The reservation lies within System RAM on most machines; on s390x beside it.
        for start, end in iomem_ranges(_SYSTEM_RAM) + iomem_ranges(CRASH_KERNEL):
            memory.add(start, end, start)
        memory.resolve_overlaps(last_wins=False)
        if not memory.starts:
            raise FormatError("no memory is listed", file=_IOMEM)
        self._memory = self._data = memory
        super().__init__(
            _Device(_MEM, self.end()), format="memory", machine=os.uname().machine, byte_order=sys.byteorder
        )


def open_live(wanted: int) -> Source:
    """Open the running machine's memory; raises ReadError, with reasons, if the page at ``wanted`` is unreadable."""
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
