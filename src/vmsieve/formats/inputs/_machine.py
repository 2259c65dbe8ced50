"""Detection of the machine of a dump whose header names none, or a wrong one.

QEMU has two machine names for kdump headers and writes "Unknown" for all others (``dump/dump.c``). It writes EM_386 for
an x86_64 machine whose first processor is not in long mode (``target/i386/arch_dump.c``: at reset, in firmware, in a
trampoline).
"""

from __future__ import annotations

import struct

from vmsieve.formats.layouts import elf
from vmsieve.formats.layouts.elf import I386, machine_number
from vmsieve.formats.notes import build_note, cpus, each_note
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.vmcoreinfo_search import each_vmcoreinfo, stored_memory

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source

#: Lines that only one machine's kernel adds to VMCOREINFO (``arch_crash_save_vmcoreinfo`` of ``arch/*``). ppc64 stands
#: for either byte order.
_KEYS: Final = (
    ("x86_64", b"SYMBOL(init_top_pgt)="),
    ("x86_64", b"SYMBOL(init_level4_pgt)="),
    ("aarch64", b"NUMBER(kimage_voffset)="),
    ("ppc64", b"OFFSET(mmu_psize_def.shift)="),
    ("ppc64", b"SYMBOL(cur_cpu_spec)="),
    ("s390x", b"SYMBOL(lowcore_ptr)="),
    ("riscv64", b"NUMBER(va_kernel_pa_offset)="),
    ("riscv64", b"NUMBER(phys_ram_base)="),
)
#: Last part of a kernel release in distributions.
_RELEASES: Final = {
    b"x86_64": "x86_64", b"amd64": "x86_64", b"aarch64": "aarch64", b"arm64": "aarch64", b"ppc64le": "ppc64",
    b"powerpc64le": "ppc64", b"ppc64": "ppc64", b"s390x": "s390x", b"riscv64": "riscv64", b"loongarch64": "loongarch64",
    b"loong64": "loongarch64",
}  # fmt: skip
#: Most significant digit of a kernel text address: PAGE_OFFSET of ppc64, CACHE_BASE of loongarch64.
_TEXTS: Final = {b"c": "ppc64", b"9": "loongarch64"}
#: By bytes of ``pr_reg`` in NT_PRSTATUS (``ELF_NGREG`` of ``arch/*/include/asm/elf.h``) and byte order.
_REGISTERS: Final = {
    (216, "little"): "x86_64", (216, "big"): "s390x", (272, "little"): "aarch64", (272, "big"): "aarch64",
    (384, "little"): "ppc64", (384, "big"): "ppc64", (256, "little"): "riscv64",
}  # fmt: skip
#: struct new_utsname (``include/uapi/linux/utsname.h``): its first field, and the offset of machine.
_SYSNAME: Final = b"Linux".ljust(65, b"\0")
_MACHINE_AT: Final = 4 * 65
_FIELD: Final = 65
_NAMES: Final = 6 * _FIELD


def complete(source: Source) -> None:
    """Detect the machine and byte order of ``source``; leaves both unchanged if there is no evidence."""
    label = source.machine or (f"number {source.machine_number}" if source.machine_number else "")
    found = _detect(source)
    if found is None:
        return
    name, order, evidence = found
    if name == "ppc64" and order == "little":
        name = "ppc64le"
    if source.machine == I386 and name == "x86_64":
        source.notes = _widened(source.notes)
        source.cpus = cpus(source.notes, order)
    claim = f"the machine is labelled {label}" if label else "the header names no machine"
    source.remarks.append(f"{claim}; it is {name} by its {evidence}")
    source.machine, source.machine_number = name, machine_number(name)
    if order != source.byte_order and not name.startswith("ppc64"):
        # Notes of ppc64 are converted when VMCOREINFO is found in memory.
        from vmsieve.formats.inputs._ppc64 import turn

        turn(source, order)


def _detect(source: Source) -> tuple[str, str, str] | None:
    """Machine, byte order, and evidence; None if unknown."""
    order = source.byte_order
    if source.vmcoreinfo is not None:
        name = _by_text(source.vmcoreinfo)
        if name is not None or _is_32_bits(source.vmcoreinfo):
            return None if name is None else (name, order, "VMCOREINFO")
    for text, found in each_vmcoreinfo(source):
        name = _by_text(text)
        if name is not None:
            return name, found, "VMCOREINFO in memory"
    if source.machine != I386 and source.cpus:
        name = _REGISTERS.get((len(source.cpus[0].registers), order))
        if name is not None:
            return name, order, "registers"
    name = _by_name(source)
    return None if name is None else (name, order, "kernel's name in memory")


def _value(text: bytes, key: bytes) -> bytes:
    return next((line[len(key) :].strip() for line in text.split(b"\n") if line.startswith(key)), b"")


def _is_32_bits(text: bytes) -> bool:
    return 0 < len(_value(text, b"SYMBOL(_stext)=")) <= 8 and not _value(text, b"SYMBOL(lowcore_ptr)=")


def _by_text(text: bytes) -> str | None:
    """The machine whose kernel wrote VMCOREINFO ``text``; None if unknown or of 32 bits."""
    if _is_32_bits(text):
        return None
    for name, key in _KEYS:
        if _value(text, key):
            return name
    release = _value(text, b"OSRELEASE=")
    for part, name in _RELEASES.items():
        if release.endswith((b"." + part, b"-" + part, b"_" + part)):
            return name
    address = _value(text, b"SYMBOL(_stext)=")
    return _TEXTS.get(address[:1]) if len(address) == 16 and address.isalnum() else None


def _by_name(source: Source) -> str | None:
    """The machine in the utsname of a kernel in memory, or None."""
    tail, end = b"", 0
    for start, buffer, size in stored_memory(source, "a kernel's name"):
        # A name may lie across two chunks.
        for text in (tail * (start == end) + buffer[: min(size, _NAMES)], buffer[:size]):
            name = _name_in(text)
            if name is not None:
                return None if name.startswith("i") else name
        tail, end = bytes(buffer[max(0, size - _NAMES) : size]), start + size
    return None


def _name_in(text: bytes | bytearray) -> str | None:
    at = text.find(_SYSNAME)
    while at >= 0:
        field = bytes(text[at + _MACHINE_AT : at + _MACHINE_AT + _FIELD])
        name = field.split(b"\0")[0].decode("ascii", "replace")
        if machine_number(name):
            return name
        at = text.find(_SYSNAME, at + 1)
    return None


def _widened(notes: bytes) -> bytes:
    """``notes`` of a little-endian machine, with registers of i386 converted to those of x86_64."""
    out = []
    for note in each_note(notes, "little"):
        content = notes[note.offset : note.offset + note.size]
        if (note.name, note.type, note.size) == (*elf.NOTE_PRSTATUS, elf.PRSTATUS_SIZE_32):
            names = elf.REGISTERS_I386.split()
            values = dict(zip(names, struct.unpack_from(f"<{len(names)}I", content, elf.PRSTATUS_32.size)))
            registers = [values.get(name, 0) for name in elf.REGISTERS_X86_64.split()]
            pid = elf.PRSTATUS_32.unpack(content, order="little").pr_pid
            content = (
                elf.PRSTATUS.pack("little", pr_pid=pid)
                + struct.pack(f"<{len(registers)}Q", *registers)
                + bytes(elf.PRSTATUS_TAIL)
            )
        out.append(build_note(note.name, note.type, content, "little"))
    return b"".join(out)
