"""Registers of s390x processors: in a lowcore as stand-alone dumpers leave them, and as ELF notes.

Layouts: :mod:`vmsieve.formats.layouts.lowcore`; ``include/uapi/linux/elf.h`` of Linux (types of the notes),
``arch/s390/include/uapi/asm/ptrace.h`` (``s390_regs``, what NT_PRSTATUS holds), ``include/linux/elfcore.h``. The order
of the notes is that of zgetdump (s390-tools). Everything is big-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import elf, lowcore
from vmsieve.formats.notes import build_note, each_note
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.source import Source

__all__ = ["Registers", "notes", "parse_notes", "read_registers"]

_PRSTATUS, _FPREGSET, _PRPSINFO = 1, 2, 3
_TIMER, _TODCMP, _TODPREG, _CTRS, _PREFIX = 0x301, 0x302, 0x303, 0x304, 0x305
_VXRS_LOW, _VXRS_HIGH, _GS_CB = 0x309, 0x30A, 0x30B

#: ``struct elf_prstatus`` with ``s390_regs``: bytes in all; PSW, general and access registers follow one another.
_PRSTATUS_SIZE: Final = 336
_PSW_AT: Final = elf.PRSTATUS_REGISTERS
_GPRS_AT: Final = _PSW_AT + 16
_ACRS_AT: Final = _GPRS_AT + 128
#: ``struct elf_prpsinfo``: bytes, and where the state's letter and the program's name are.
_PRPSINFO_SIZE: Final = 136
_SNAME_AT: Final = 1
_FNAME_AT: Final = 40


@record(frozen=True)
class Registers:
    """One processor. Groups of registers are bytes as stored: big-endian, register 0 first.

    Attributes:
        prefix: Where its lowcore is: a physical address of 32 bits.
        psw: 16 bytes.
        gprs: Sixteen general registers, 128 bytes.
        acrs: Sixteen access registers, 64 bytes.
        crs: Sixteen control registers, 128 bytes.
        fprs: Sixteen floating point registers, 128 bytes.
        fpc: Floating point control, 32 bits.
        timer: CPU timer, 64 bits.
        clock_comparator: 64 bits as stored. A lowcore holds bits 0 to 55 behind a zero byte; QEMU's notes the register.
        todpreg: TOD programmable register, 32 bits.
        address: The number of the processor that the lowcore names; None where that is not known.
        vxrs_low: Of v0 to v15 the halves that are no floating point registers, 128 bytes; None: not known.
        vxrs_high: v16 to v31, 256 bytes; None: not known.
        gs_cb: Guarded storage control block, 32 bytes; None: not known.
    """

    prefix: int
    psw: bytes = bytes(16)
    gprs: bytes = bytes(128)
    acrs: bytes = bytes(64)
    crs: bytes = bytes(128)
    fprs: bytes = bytes(128)
    fpc: int = 0
    timer: int = 0
    clock_comparator: int = 0
    todpreg: int = 0
    address: int | None = None
    vxrs_low: bytes | None = None
    vxrs_high: bytes | None = None
    gs_cb: bytes | None = None


def read_registers(source: Source, prefix: int) -> Registers:
    """The registers that were saved in the lowcore at physical address ``prefix``.

    Raises:
        ReadError: The lowcore is not in the dump, or holds nothing that this processor saved: a processor saves its
            prefix with the rest.
    """
    first, second = bytearray(lowcore.SIZE // 2), bytearray(lowcore.SIZE // 2)
    source.read_into(prefix, memoryview(first))
    source.read_into(prefix + len(first), memoryview(second))
    area = bytes(first + second)

    def number(place: tuple[int, int]) -> int:
        return int.from_bytes(group(place), "big")

    def group(place: tuple[int, int]) -> bytes:
        return area[place[0] : sum(place)]

    if number(lowcore.PREFIX) != prefix:
        raise ReadError("no registers were saved here", offset=prefix, expected=prefix, found=number(lowcore.PREFIX))
    low, high, guarded = _vector_registers(source, number((lowcore.VX_AREA, 8)), group(lowcore.FPRS))
    return Registers(
        prefix=prefix,
        psw=group(lowcore.PSW),
        gprs=group(lowcore.GPRS),
        acrs=group(lowcore.ACRS),
        crs=group(lowcore.CRS),
        fprs=group(lowcore.FPRS),
        fpc=number(lowcore.FPC),
        timer=number(lowcore.TIMER),
        clock_comparator=number(lowcore.CLOCK_COMPARATOR),
        todpreg=number(lowcore.TODPREG),
        address=number((lowcore.CPU_ADDRESS, 2)),
        vxrs_low=low,
        vxrs_high=high,
        gs_cb=guarded,
    )


def _vector_registers(source: Source, place: int, fprs: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    """``vxrs_low``, ``vxrs_high`` and ``gs_cb`` by the lowcore's pointer; None where nothing was saved."""
    nothing = None, None, None
    length = place & lowcore.VX_LENGTH
    place -= length
    if place == 0 or place % lowcore.VX_ALIGN:
        return nothing
    area = bytearray(lowcore.VX_SIZE if length < lowcore.GS_LENGTH else sum(lowcore.GS_CB))
    try:
        source.read_into(place, memoryview(area))
    except ReadError:
        return nothing
    # v0 to v15 begin with the floating point registers, unless the dumper took the pointer for none.
    if length and b"".join(bytes(area[at : at + 8]) for at in range(0, 256, 16)) != fprs:
        return nothing
    low = b"".join(bytes(area[at + 8 : at + 16]) for at in range(0, 256, 16))
    return low, bytes(area[256 : lowcore.VX_SIZE]), bytes(area[lowcore.GS_CB[0] :]) or None


def notes(cpus: Sequence[Registers], vmcoreinfo: bytes | None) -> bytes:
    """ELF notes of ``cpus``, and of the text ``vmcoreinfo`` if there is one."""
    psinfo = bytearray(_PRPSINFO_SIZE)
    psinfo[_SNAME_AT : _SNAME_AT + 1] = b"R"
    psinfo[_FNAME_AT : _FNAME_AT + 7] = b"vmlinux"
    parts = [build_note(b"CORE", _PRPSINFO, bytes(psinfo), "big")]
    for ordinal, cpu in enumerate(cpus, 1):
        parts += _cpu_notes(cpu, ordinal)
    if vmcoreinfo is not None:
        name, kind = elf.NOTE_VMCOREINFO
        parts.append(build_note(name, kind, vmcoreinfo, "big"))
    return b"".join(parts)


def _cpu_notes(cpu: Registers, ordinal: int) -> Iterator[bytes]:
    status = bytearray(_PRSTATUS_SIZE)
    struct.pack_into(">i", status, elf.PRSTATUS_PID, ordinal)
    status[_PSW_AT : _ACRS_AT + 64] = cpu.psw + cpu.gprs + cpu.acrs
    yield build_note(b"CORE", _PRSTATUS, bytes(status), "big")
    yield build_note(b"CORE", _FPREGSET, struct.pack(">II", cpu.fpc, 0) + cpu.fprs, "big")
    yield build_note(b"LINUX", _TIMER, struct.pack(">Q", cpu.timer), "big")
    yield build_note(b"LINUX", _TODCMP, struct.pack(">Q", cpu.clock_comparator), "big")
    yield build_note(b"LINUX", _TODPREG, struct.pack(">I", cpu.todpreg), "big")
    yield build_note(b"LINUX", _CTRS, cpu.crs, "big")
    yield build_note(b"LINUX", _PREFIX, struct.pack(">I", cpu.prefix), "big")
    for kind, data in ((_VXRS_LOW, cpu.vxrs_low), (_VXRS_HIGH, cpu.vxrs_high), (_GS_CB, cpu.gs_cb)):
        if data is not None:
            yield build_note(b"LINUX", kind, data, "big")


#: Type of a note: the field of :class:`Registers` it holds, the descriptor's bytes, and whether it is a number.
_FIELDS: Final = {
    _TIMER: ("timer", 8, True),
    _TODCMP: ("clock_comparator", 8, True),
    # The kernel writes eight bytes, of which the first four are the register (arch/s390/kernel/crash_dump.c).
    _TODPREG: ("todpreg", 4, True),
    _CTRS: ("crs", 128, False),
    _PREFIX: ("prefix", 4, True),
    _VXRS_LOW: ("vxrs_low", 128, False),
    _VXRS_HIGH: ("vxrs_high", 256, False),
    _GS_CB: ("gs_cb", 32, False),
}


def parse_notes(area: bytes) -> list[Registers]:
    """The processors that the ELF notes ``area`` tell of, in order; what is damaged or too short is passed over.

    A processor begins with its NT_PRSTATUS. Its other notes may be called CORE (old kernels) or LINUX, in any order.
    """
    found: list[dict[str, object]] = []
    for note in each_note(area, "big"):
        data = area[note.offset : note.offset + note.size]
        if note.name not in (b"CORE", b"LINUX"):
            continue
        if note.type == _PRSTATUS and len(data) >= _ACRS_AT + 64:
            found.append({
                "prefix": 0,
                "psw": data[_PSW_AT:_GPRS_AT],
                "gprs": data[_GPRS_AT:_ACRS_AT],
                "acrs": data[_ACRS_AT : _ACRS_AT + 64],
            })  # fmt: skip
        elif found and note.type == _FPREGSET and len(data) >= 136:
            found[-1].update(fpc=int.from_bytes(data[:4], "big"), fprs=data[8:136])
        elif found and note.type in _FIELDS:
            name, size, is_number = _FIELDS[note.type]
            if len(data) >= size:
                found[-1][name] = int.from_bytes(data[:size], "big") if is_number else data[:size]
    return [Registers(**fields) for fields in found]  # type: ignore[arg-type]
