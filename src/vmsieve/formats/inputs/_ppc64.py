"""What a dump of a ppc64 machine lacks, or says wrong, when a hypervisor wrote it.

QEMU (``target/ppc/arch_dump.c``, ``hw/ppc/spapr.c``) knows nothing of VMCOREINFO on this machine, and writes its
headers and notes in the byte order in which the processor takes interrupts, as far as it knows: often big-endian where
the kernel is little-endian. The kernel's own VMCOREINFO note in memory tells which it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.vmcoreinfo_search import find_vmcoreinfo
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note, cpus, each_note

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source

__all__ = ["complete", "is_lacking", "turn"]

_MACHINES: Final = {"little": "ppc64le", "big": "ppc64"}
#: Bytes a number of ``struct elf_prstatus`` before and after ``pr_reg`` (Linux ``include/linux/elfcore.h``).
_PRSTATUS: Final = ((4, 3), (2, 2), (8, 2), (4, 4), (8, 8))
#: Bytes a number in the notes of other registers (Linux ``include/uapi/linux/elf.h``): FPREGSET, VMX, SPE, VSX.
_REGISTERS: Final = {2: 8, 0x100: 16, 0x101: 4, 0x102: 8}
_VMX: Final = 0x100
_VMX_REGISTERS: Final = 32 * 16


def is_lacking(source: Source) -> bool:
    """Whether ``source`` is a dump of a ppc64 machine that has no VMCOREINFO."""
    return source.vmcoreinfo is None and source.machine in _MACHINES.values()


def complete(source: Source) -> None:
    """Find VMCOREINFO in the memory of ``source``, a dump of a ppc64 machine without, and by it the byte order.

    Sets ``vmcoreinfo``, ``byte_order``, ``machine``, ``notes`` and ``cpus``; what was set right is said in
    ``oddities``.
    """
    found = find_vmcoreinfo(source)
    if found is None:
        source.oddities.append("there is no VMCOREINFO: neither among the notes, nor found in memory")
        return
    source.vmcoreinfo, order = found
    source.header["vmcoreinfo_from"] = "a search of memory"
    if order != source.byte_order:
        turn(source, order)
    source.machine = _MACHINES[order]
    name, kind = elf.NOTE_VMCOREINFO
    source.notes += build_note(name, kind, source.vmcoreinfo, order)
    source.cpus = cpus(source.notes, order)


def turn(source: Source, order: str) -> None:
    """Set the byte order of ``source``, whose headers have the other one."""
    source.oddities.append(
        f"the headers are {source.byte_order}-endian, the kernel is {order}-endian: notes are turned round"
    )
    source.notes = _turned(source.notes, source.byte_order, order)
    source.byte_order = order
    source.cpus = cpus(source.notes, order)


def _turned(notes: bytes, given: str, order: str) -> bytes:
    """``notes`` of byte order ``given`` in byte order ``order``; descriptors that are not known stay as they are."""
    out = []
    for note in each_note(notes, given):
        content = notes[note.offset : note.offset + note.size]
        if (note.name, note.type) == elf.NOTE_PRSTATUS:
            content = _turn_prstatus(content)
        elif note.type == _VMX:
            content = _turn(content[:_VMX_REGISTERS], 16) + _turn(content[_VMX_REGISTERS:], 4)
        elif note.type in _REGISTERS:
            content = _turn(content, _REGISTERS[note.type])
        out.append(build_note(note.name, note.type, content, order))
    return b"".join(out)


def _turn_prstatus(content: bytes) -> bytes:
    parts, at = [], 0
    for width, count in _PRSTATUS:
        parts.append(_turn(content[at : at + width * count], width))
        at += width * count
    registers = max(len(content) - elf.PRSTATUS_TAIL, at)
    return b"".join([*parts, _turn(content[at:registers], 8), _turn(content[registers:], 4)])


def _turn(data: bytes, width: int) -> bytes:
    """Numbers of ``width`` bytes each in the other byte order; an odd rest stays as it is."""
    whole = len(data) // width * width
    return b"".join(data[at : at + width][::-1] for at in range(0, whole, width)) + data[whole:]
