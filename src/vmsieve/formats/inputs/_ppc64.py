"""Corrections of ppc64 dumps that a hypervisor wrote: VMCOREINFO and the byte order.

QEMU (``target/ppc/arch_dump.c``, ``hw/ppc/spapr.c``) has no VMCOREINFO of this machine, and writes headers and notes in
the byte order of the interrupt mode that it assumes: often big-endian for a little-endian kernel. The kernel's own
VMCOREINFO note in memory has the right order.
"""

from __future__ import annotations

from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note, cpus, each_note
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.vmcoreinfo_search import find_vmcoreinfo

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source

_MACHINES: Final = {"little": "ppc64le", "big": "ppc64"}
#: ``struct elf_prstatus`` before ``pr_reg``: bytes per number, and numbers (Linux ``include/linux/elfcore.h``).
_PRSTATUS: Final = ((4, 3), (2, 2), (8, 2), (4, 4), (8, 8))
#: Bytes per number in the notes of other registers (Linux ``include/uapi/linux/elf.h``): FPREGSET, VMX, SPE, VSX.
_REGISTERS: Final = {2: 8, 0x100: 16, 0x101: 4, 0x102: 8}
_VMX: Final = 0x100
_VMX_REGISTERS: Final = 32 * 16


def complete(source: Source) -> None:
    """Find VMCOREINFO, and by it the byte order, in the memory of ``source``, a ppc64 dump without.

    Sets ``vmcoreinfo``, ``byte_order``, ``machine``, ``notes`` and ``cpus``, and adds corrections to ``remarks``.
    """
    found = find_vmcoreinfo(source)
    if found is None:
        source.remarks.append("there is no VMCOREINFO: neither among the notes, nor found in memory")
        return
    source.vmcoreinfo, order = found
    source.header["vmcoreinfo_from"] = "a search of memory"
    if order != source.byte_order:
        turn(source, order)
    source.machine = _MACHINES[order]
    source.notes += build_note(*elf.NOTE_VMCOREINFO, source.vmcoreinfo, order)
    source.cpus = cpus(source.notes, order)


def turn(source: Source, order: str) -> None:
    """Convert ``source``, whose headers have the other byte order, to ``order``."""
    source.remarks.append(
        f"the headers are {source.byte_order}-endian, the kernel is {order}-endian: notes are converted"
    )
    source.notes = _turned(source.notes, source.byte_order, order)
    source.byte_order = order
    source.cpus = cpus(source.notes, order)


def _turned(notes: bytes, given: str, order: str) -> bytes:
    """``notes`` converted from byte order ``given`` to ``order``; unknown descriptors are unchanged."""
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
    """Numbers of ``width`` bytes in the other byte order; an odd rest is unchanged."""
    whole = len(data) // width * width
    return b"".join(data[at : at + width][::-1] for at in range(0, whole, width)) + data[whole:]
