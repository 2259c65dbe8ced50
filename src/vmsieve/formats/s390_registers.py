"""Registers of s390x processors: from a lowcore, as stand-alone dumpers leave it, and as ELF notes.

Layouts: :mod:`vmsieve.formats.layouts.lowcore`; ``include/uapi/linux/elf.h`` of Linux (types of the notes),
``arch/s390/include/uapi/asm/ptrace.h`` (``s390_regs``, the content of NT_PRSTATUS), ``include/linux/elfcore.h``. Notes
have the order of zgetdump (s390-tools). All numbers are big-endian.
"""

from __future__ import annotations

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import Struct, elf, lowcore
from vmsieve.formats.notes import build_note, each_note
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.layouts import Fields
    from vmsieve.formats.source import Source

_PRSTATUS, _FPREGSET, _PRPSINFO = 1, 2, 3
_TIMER, _TODCMP, _TODPREG, _CTRS, _PREFIX = 0x301, 0x302, 0x303, 0x304, 0x305
_VXRS_LOW, _VXRS_HIGH, _GS_CB = 0x309, 0x30A, 0x30B

_STATUS: Final = Struct("struct elf_prstatus", "pr_pid:i@32 psw:16s@112 gprs:128s acrs:64s :@336", "big")
_STATUS_LEAST: Final = _STATUS.offset("acrs") + 64
_INFO: Final = Struct("struct elf_prpsinfo", "pr_sname:1s@1 pr_fname:16s@40 :@136", "big")
_FLOATS: Final = Struct("s390_fp_regs", "fpc:I :4x fprs:128s", "big")

#: Fields of :class:`Registers` that every lowcore holds, besides the prefix.
SAVED: Final = ("psw", "gprs", "acrs", "crs", "fprs", "fpc", "timer", "clock_comparator", "todpreg")


@record(frozen=True)
class Registers:
    """One processor. Groups of registers are bytes as stored: big-endian, register 0 first."""

    prefix: int  # physical address of its lowcore, 32 bits
    psw: bytes = bytes(16)
    gprs: bytes = bytes(128)  # sixteen general registers, 128 bytes
    acrs: bytes = bytes(64)  # sixteen access registers, 64 bytes
    crs: bytes = bytes(128)  # sixteen control registers, 128 bytes
    fprs: bytes = bytes(128)  # sixteen floating point registers, 128 bytes
    fpc: int = 0  # floating point control, 32 bits
    timer: int = 0  # CPU timer, 64 bits
    #: 64 bits as stored: a lowcore has a zero byte and bits 0 to 55, QEMU's notes the register.
    clock_comparator: int = 0
    todpreg: int = 0  # TOD programmable register, 32 bits
    address: int | None = None  # CPU address from the lowcore; None: unknown
    vxrs_low: bytes | None = None  # low halves of v0 to v15, 128 bytes; the high halves are ``fprs``. None: unknown.
    vxrs_high: bytes | None = None  # v16 to v31, 256 bytes; None: unknown
    gs_cb: bytes | None = None  # guarded storage control block, 32 bytes; None: unknown


def registers(fields: Fields, **more: Any) -> Registers:
    """The registers in ``fields`` of the same names, and ``more``."""
    values = vars(fields)
    return Registers(**{name: values[name] for name in ("prefix", *SAVED) if name in values}, **more)


def read_registers(source: Source, prefix: int) -> Registers:
    """The registers saved in the lowcore at physical address ``prefix``.

    Raises ReadError if the lowcore is not in the dump, or this processor saved nothing there: the prefix, which is
    saved with the other registers, differs.
    """
    first, second = bytearray(lowcore.SIZE // 2), bytearray(lowcore.SIZE // 2)
    source.read_into(prefix, memoryview(first))
    source.read_into(prefix + len(first), memoryview(second))
    saved = lowcore.LOWCORE.unpack(first + second)
    if saved.prefix != prefix:
        raise ReadError("no registers were saved here", offset=prefix, expected=prefix, found=saved.prefix)
    low, high, guarded = _vector_registers(source, saved.mcesad, saved.fprs)
    return registers(saved, address=saved.cpu_addr, vxrs_low=low, vxrs_high=high, gs_cb=guarded)


def _vector_registers(source: Source, mcesad: int, fprs: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    """``vxrs_low``, ``vxrs_high`` and ``gs_cb``, each None if not saved."""
    nothing = None, None, None
    length = mcesad & lowcore.VX_LENGTH
    address = mcesad - length
    if address == 0 or address % lowcore.VX_ALIGN:
        return nothing
    area = bytearray(lowcore.VX_SIZE if length < lowcore.GS_LENGTH else sum(lowcore.GS_CB))
    try:
        source.read_into(address, memoryview(area))
    except ReadError:
        return nothing
    # v0 to v15 begin with the floating point registers, unless the dumper took the address for invalid.
    if length and b"".join(bytes(area[at : at + 8]) for at in range(0, 256, 16)) != fprs:
        return nothing
    low = b"".join(bytes(area[at + 8 : at + 16]) for at in range(0, 256, 16))
    return low, bytes(area[256 : lowcore.VX_SIZE]), bytes(area[lowcore.GS_CB[0] :]) or None


def notes(cpus: Sequence[Registers], vmcoreinfo: bytes | None) -> bytes:
    """ELF notes of ``cpus``, and of the text ``vmcoreinfo`` if there is one."""
    parts = [build_note(b"CORE", _PRPSINFO, _INFO.pack(pr_sname=b"R", pr_fname=b"vmlinux"), "big")]
    for ordinal, cpu in enumerate(cpus, 1):
        parts += _cpu_notes(cpu, ordinal)
    if vmcoreinfo is not None:
        parts.append(build_note(*elf.NOTE_VMCOREINFO, vmcoreinfo, "big"))
    return b"".join(parts)


def _cpu_notes(cpu: Registers, ordinal: int) -> Iterator[bytes]:
    status = _STATUS.pack(pr_pid=ordinal, psw=cpu.psw, gprs=cpu.gprs, acrs=cpu.acrs)
    yield build_note(b"CORE", _PRSTATUS, status, "big")
    yield build_note(b"CORE", _FPREGSET, _FLOATS.pack(fpc=cpu.fpc, fprs=cpu.fprs), "big")
    for kind, (name, size) in _FIELDS.items():
        value = getattr(cpu, name)
        if value is not None:
            data = value.to_bytes(size, "big") if isinstance(value, int) else value
            yield build_note(b"LINUX", kind, data, "big")


#: By the type of a note, in zgetdump's order: the field of :class:`Registers`, and its bytes.
_FIELDS: Final = {
    _TIMER: ("timer", 8),
    _TODCMP: ("clock_comparator", 8),
    # The kernel writes eight bytes, of which the first four are the register (arch/s390/kernel/crash_dump.c).
    _TODPREG: ("todpreg", 4),
    _CTRS: ("crs", 128),
    _PREFIX: ("prefix", 4),
    _VXRS_LOW: ("vxrs_low", 128),
    _VXRS_HIGH: ("vxrs_high", 256),
    _GS_CB: ("gs_cb", 32),
}


def parse_notes(area: bytes) -> list[Registers]:
    """The processors in the ELF notes ``area``, in order; damaged and short notes are skipped.

    A processor begins with its NT_PRSTATUS. Its other notes are named CORE (old kernels) or LINUX, in any order.
    """
    found: list[dict[str, object]] = []
    for note in each_note(area, "big"):
        data = area[note.offset : note.offset + note.size]
        if note.name not in (b"CORE", b"LINUX"):
            continue
        if note.type == _PRSTATUS and len(data) >= _STATUS_LEAST:
            status = _STATUS.unpack(data.ljust(_STATUS.size, b"\0"))
            found.append({"prefix": 0, "psw": status.psw, "gprs": status.gprs, "acrs": status.acrs})
        elif found and note.type == _FPREGSET and len(data) >= _FLOATS.size:
            found[-1].update(vars(_FLOATS.unpack(data)))
        elif found and note.type in _FIELDS:
            name, size = _FIELDS[note.type]
            if len(data) >= size:
                found[-1][name] = int.from_bytes(data[:size], "big") if size <= 8 else data[:size]
    return [Registers(**fields) for fields in found]  # type: ignore[arg-type]
