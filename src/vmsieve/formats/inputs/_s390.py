"""Registers, os_info and VMCOREINFO of an s390x machine, read from memory for headers that lack them.

Stand-alone dumps lack all of them; others (QEMU's ELF cores) have registers but no VMCOREINFO.
"""

from __future__ import annotations

import re
import struct

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import elf, lowcore
from vmsieve.formats.notes import build_note, cpus
from vmsieve.formats.os_info import lowcore_vmcoreinfo, read_os_info
from vmsieve.formats.s390_mappings import in_linear, linear_maps
from vmsieve.formats.s390_registers import notes, parse_notes, read_registers
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import read_bytes
from vmsieve.formats.vmcoreinfo_search import find_vmcoreinfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.inputs import Source
    from vmsieve.formats.os_info import OsInfo
    from vmsieve.formats.s390_registers import Registers

#: zgetdump writes this to address 0 of a live dump.
_LIVE: Final = b"LIVEDUMP"
#: Bits of a PSW's first word: wait state; I/O and external interruptions enabled.
_PSW_WAIT: Final = 1 << 49
_PSW_INTERRUPTIBLE: Final = 3 << 56
#: Most processors that are read, and that get a separate remark.
_MOST_CPUS: Final = 4096
_MOST_REMARKS: Final = 8


def complete(source: Source, prefixes: Sequence[int] | None = ()) -> None:
    """Set ``notes``, ``cpus`` and ``vmcoreinfo`` of ``source`` from memory, where its headers lack them.

    Also sets ``machine``, adds to ``header``, and adds missing parts to ``remarks``. Reads a few pages, unless
    VMCOREINFO has to be searched for. Each of ``prefixes``, the addresses of the processors' lowcores, should have
    saved registers; None: use the kernel's array.
    """
    source.machine, source.byte_order = "s390x", "big"
    info = read_os_info(source)
    _describe_os_info(source, info)
    lacking = source.vmcoreinfo is None
    if lacking:
        source.vmcoreinfo = _vmcoreinfo(source, info)
    if prefixes is None:
        prefixes = _kernels_prefixes(source)
    found = _processors(source, prefixes)
    if prefixes:
        source.header["processors"] = f"{len(prefixes)}, registers of {len(found)}"
    if not source.notes:
        source.notes = notes(found, source.vmcoreinfo)
    elif lacking and source.vmcoreinfo is not None:
        source.notes += build_note(*elf.NOTE_VMCOREINFO, source.vmcoreinfo, "big")
    _set_cpus(source)
    if read_bytes(source, 0, len(_LIVE)) == _LIVE:
        source.header["dump_method"] = "live"


def _state(cpu: Registers) -> str:
    """A line that describes a processor."""
    word = int.from_bytes(cpu.psw[:8], "big")
    state = "running" if not word & _PSW_WAIT else "idle" if word & _PSW_INTERRUPTIBLE else "stopped (disabled wait)"
    return f"prefix {cpu.prefix:#x}, PSW {cpu.psw[:8].hex()} {cpu.psw[8:].hex()}, {state}"


def _set_cpus(source: Source) -> None:
    source.cpus = cpus(source.notes, "big")
    if source.cpus:
        source.header["registers"] = [_state(cpu) for cpu in parse_notes(source.notes)[:_MOST_CPUS]]


def keep_own_registers(source: Source, size: int) -> None:
    """Drop registers of processors that do not belong to the kernel in ``source``, whose memory ends at ``size``."""
    own = set(_kernels_prefixes(source))
    found = parse_notes(source.notes)
    kept = [cpu for cpu in found if (cpu.prefix in own if own else cpu.prefix < size)]
    if len(kept) < len(found):
        source.remarks.append(f"processors of the other kernel are left out: {len(found) - len(kept)}")
        source.notes = notes(kept, source.vmcoreinfo)
    _set_cpus(source)


def _kernels_prefixes(source: Source) -> list[int]:
    """Physical addresses of the lowcores in the kernel's array ``lowcore_ptr``."""
    text = source.vmcoreinfo or b""
    symbol, length = (re.search(rb"^%b\(lowcore_ptr\)=([0-9a-fA-F]{1,16})\r?$" % kind, text, re.MULTILINE)
                      for kind in (b"SYMBOL", b"LENGTH"))  # fmt: skip
    if symbol is None or length is None or not length[1].isdigit():
        source.remarks.append("VMCOREINFO does not export lowcore_ptr: the processors' registers are unknown")
        return []
    count = min(int(length[1]), _MOST_CPUS)
    for _, maps in linear_maps(source, text):
        array = in_linear(maps, int(symbol[1], 16))
        table = read_bytes(source, array[0], count * 8) if array else None
        if table is None:
            continue
        found = [in_linear(maps, vaddr) for (vaddr,) in struct.iter_unpack(">Q", table) if vaddr]
        prefixes = [one[0] for one in found if one is not None and one[0] % lowcore.PREFIX_ALIGN == 0]
        if prefixes:
            return prefixes
    source.remarks.append("the kernel's array of lowcores is not where VMCOREINFO says")
    return []


def _processors(source: Source, prefixes: Sequence[int]) -> list[Registers]:
    found, failed = [], []
    for prefix in prefixes[:_MOST_CPUS]:
        try:
            if prefix % lowcore.PREFIX_ALIGN:
                raise ReadError("invalid prefix", offset=prefix)
            found.append(read_registers(source, prefix))
        except ReadError as error:
            failed.append(f"the registers of the processor with prefix {prefix:#x} are unknown: {error.message}")
    source.remarks += failed[:_MOST_REMARKS]
    if len(failed) > _MOST_REMARKS:
        source.remarks.append(f"the same is true of {len(failed) - _MOST_REMARKS} more processors")
    return found


def _describe_os_info(source: Source, info: OsInfo | None) -> None:
    """Describe ``info`` in ``header``, and its problems in ``remarks``."""
    if info is None:
        source.header["os_info"] = "none"
        return
    if info.problem is not None:
        source.header["os_info"] = f"BAD at {info.address:#x}: {info.problem}"
        source.remarks.append(f"the kernel's os_info page can't be used: {info.problem}")
        return
    source.header["os_info"] = f"OK at {info.address:#x}, version {info.version[0]}.{info.version[1]}"
    base, size = info.crashkernel
    source.header["crash_kernel_memory"] = f"{base:#x} - {base + size - 1:#x}" if size else "none"
    source.header.update(os_info_vmcoreinfo="none", os_info_reipl_block="none")
    for entry in info.entries:
        if entry.state == "empty":
            continue
        text = f"{entry.value:#x}"
        if entry.state != "value":
            text = f"{entry.state}, {entry.size} bytes at {text}"
        source.header[f"os_info_{entry.name.lower()}"] = text
        if entry.state in ("BAD", "missing"):
            source.remarks.append(f"the os_info entry {entry.name} can't be used: {text}")


def _vmcoreinfo(source: Source, info: OsInfo | None) -> bytes | None:
    entry = info.entry("VMCOREINFO") if info is not None else None
    if entry is not None and entry.data:
        source.header["vmcoreinfo_from"] = "os_info"
        return entry.data
    text = lowcore_vmcoreinfo(source)
    if text is not None:
        source.header["vmcoreinfo_from"] = "the lowcore"
        return text
    found = find_vmcoreinfo(source)
    text = found[0] if found is not None and found[1] == source.byte_order else None
    if text is not None:
        source.remarks.append("neither os_info nor the lowcore leads to VMCOREINFO: memory was searched for it")
        source.header["vmcoreinfo_from"] = "a search of memory"
    else:
        source.remarks.append(
            "there is no VMCOREINFO: neither os_info nor the lowcore leads to it, and a search of memory found none"
        )
    return text
