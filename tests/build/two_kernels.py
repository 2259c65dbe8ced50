"""A dump of several made-up machines with disjoint memory, each with its VMCOREINFO note in memory.

As QEMU dumps a machine whose crash kernel runs: the file's headers do not locate the kernels.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build.machine import MIB, PAGE, Machine
from tests.build.notes import note, prstatus

if TYPE_CHECKING:
    from pathlib import Path

#: Start of the second kernel's memory, and offset of a kernel's note from the start of its memory.
SECOND = 128 * MIB
_NOTE = 0xA00
#: Memory for which neither kernel has struct pages.
FOREIGN = (1 << 30, (1 << 30) + 4 * MIB)


def remember_note(machine: Machine, text: bytes | None = None) -> None:
    """Store the note where a search of memory finds it."""
    machine.memory[machine.base // PAGE + _NOTE] = note(b"VMCOREINFO\0", 0, text or machine.vmcoreinfo())


def write_together(path: Path, machines: list[Machine], text: bytes | None = None, foreign: bool = False) -> Path:
    """An ELF core; ``text``: of its VMCOREINFO note; ``foreign``: add memory that belongs to neither machine."""
    notes = prstatus(1, bytes(216)) + (note(b"VMCOREINFO\0", 0, text) if text else b"")
    pages = {pfn: page for machine in machines for pfn, page in machine._physical().items()}
    ram = [piece for machine in machines for piece in machine.ram] + ([FOREIGN] if foreign else [])
    if foreign:
        pages |= {pfn: struct.pack("<Q", pfn) * 512 for pfn in range(FOREIGN[0] // PAGE, FOREIGN[1] // PAGE)}
    table = struct.pack("<IIQQQQQQ", 4, 0, 2 * PAGE, 0, 0, len(notes), len(notes), 4)
    places, at = {}, 4 * PAGE
    for start, end in sorted(ram):
        table += struct.pack("<IIQQQQQQ", 1, 7, at, 0, start, end - start, end - start, PAGE)
        places[start, end] = at
        at += end - start
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1 + len(ram), 0, 0, 0)
    with path.open("wb") as file:
        file.truncate(at)
        for offset, data in ((0, head + table), (2 * PAGE, notes)):
            file.seek(offset)
            file.write(data)
        for pfn, page in pages.items():
            (start, _), place = next(item for item in places.items() if item[0][0] <= pfn * PAGE < item[0][1])
            file.seek(place + pfn * PAGE - start)
            file.write(page)
    return path
