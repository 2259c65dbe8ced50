"""What a dump of an s390x machine has in its memory rather than in headers: registers, os_info, VMCOREINFO.

Stand-alone dumps have nothing else; others (QEMU's ELF cores) have registers and no VMCOREINFO.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import ReadError
from vmsieve.formats.s390_registers import Registers, notes, parse_notes, read_registers
from vmsieve.formats.vmcoreinfo_search import find_vmcoreinfo
from vmsieve.formats.layouts import elf, lowcore
from vmsieve.formats.notes import build_note, cpus
from vmsieve.formats.os_info import lowcore_vmcoreinfo, read_bytes, read_os_info
from vmsieve.formats.s390_mappings import in_linear, linear_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.inputs import Source
    from vmsieve.formats.os_info import OsInfo

__all__ = ["Registers", "complete", "keep_own_registers", "notes", "parse_notes", "read_registers"]

#: What zgetdump writes at address 0 of a copy of a running system's memory.
_LIVE: Final = b"LIVEDUMP"
#: Bits of a PSW's first word: waiting; open to input, output or external interruptions.
_PSW_WAIT: Final = 1 << 49
_PSW_INTERRUPTIBLE: Final = 3 << 56
#: Most processors that are looked at, and that are complained of one by one.
_MOST_CPUS: Final = 4096
_MOST_COMPLAINTS: Final = 8


def complete(source: Source, prefixes: Sequence[int] | None = ()) -> None:
    """Find in the memory of ``source`` what its headers lack: sets ``notes``, ``cpus``, ``vmcoreinfo``.

    Notes that are there already are kept. Also sets ``machine``, adds to ``header``, and says in ``oddities`` what
    could not be found. Reads a few pages, unless VMCOREINFO has to be searched for.

    Args:
        source: An open dump of an s390x machine.
        prefixes: Where the processors' lowcores are, physical addresses; those without saved registers are said. None:
            where the kernel says.
    """
    source.machine, source.byte_order = "s390x", "big"
    info = read_os_info(source)
    _tell_os_info(source, info)
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
        name, kind = elf.NOTE_VMCOREINFO
        source.notes += build_note(name, kind, source.vmcoreinfo, "big")
    _tell_registers(source)
    if read_bytes(source, 0, len(_LIVE)) == _LIVE:
        source.header["dump_method"] = "live"


def _state(cpu: Registers) -> str:
    """A processor in a line."""
    word = int.from_bytes(cpu.psw[:8], "big")
    state = "running" if not word & _PSW_WAIT else "idle" if word & _PSW_INTERRUPTIBLE else "stopped (disabled wait)"
    return f"prefix {cpu.prefix:#x}, PSW {cpu.psw[:8].hex()} {cpu.psw[8:].hex()}, {state}"


def _tell_registers(source: Source) -> None:
    source.cpus = cpus(source.notes, "big")
    if source.cpus:
        source.header["registers"] = [_state(cpu) for cpu in parse_notes(source.notes)[:_MOST_CPUS]]


def keep_own_registers(source: Source, size: int) -> None:
    """Of a kernel whose memory ends at ``size``: leave out registers of processors that are not its own."""
    own = set(_kernels_prefixes(source))
    found = parse_notes(source.notes)
    kept = [cpu for cpu in found if (cpu.prefix in own if own else cpu.prefix < size)]
    if len(kept) < len(found):
        source.oddities.append(f"processors that are not this kernel's are left out: {len(found) - len(kept)}")
        source.notes = notes(kept, source.vmcoreinfo)
    _tell_registers(source)


def _kernels_prefixes(source: Source) -> list[int]:
    """Where the lowcores are that the kernel's array ``lowcore_ptr`` tells of."""
    text = source.vmcoreinfo or b""
    symbol, length = (re.search(rb"^%b\(lowcore_ptr\)=([0-9a-fA-F]{1,16})\r?$" % kind, text, re.MULTILINE)
                      for kind in (b"SYMBOL", b"LENGTH"))  # fmt: skip
    if symbol is None or length is None or not length[1].isdigit():
        source.oddities.append("VMCOREINFO does not tell where the processors' registers are")
        return []
    count = min(int(length[1]), _MOST_CPUS)
    for _, maps in linear_maps(source, text):
        place = in_linear(maps, int(symbol[1], 16))
        table = read_bytes(source, place[0], count * 8) if place else None
        if place is None or table is None:
            continue
        found = [in_linear(maps, vaddr) for (vaddr,) in struct.iter_unpack(">Q", table) if vaddr]
        prefixes = [one[0] for one in found if one is not None and one[0] % lowcore.PREFIX_ALIGN == 0]
        if prefixes:
            return prefixes
    source.oddities.append("the kernel's array of lowcores is not where VMCOREINFO says")
    return []


def _processors(source: Source, prefixes: Sequence[int]) -> list[Registers]:
    found, failed = [], []
    for prefix in prefixes[:_MOST_CPUS]:
        try:
            if prefix % lowcore.PREFIX_ALIGN:
                raise ReadError("no such prefix", offset=prefix)
            found.append(read_registers(source, prefix))
        except ReadError as error:
            failed.append(f"the registers of the processor with prefix {prefix:#x} are not known: {error.message}")
    source.oddities += failed[:_MOST_COMPLAINTS]
    if len(failed) > _MOST_COMPLAINTS:
        source.oddities.append(f"the same holds for {len(failed) - _MOST_COMPLAINTS} more processors")
    return found


def _tell_os_info(source: Source, info: OsInfo | None) -> None:
    """Facts for people."""
    if info is None:
        source.header["os_info"] = "none"
        return
    if info.problem is not None:
        source.header["os_info"] = f"BAD at {info.address:#x}: {info.problem}"
        source.oddities.append(f"the kernel's os_info page can't be used: {info.problem}")
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
            source.oddities.append(f"the os_info entry {entry.name} can't be used: {text}")


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
        source.oddities.append("neither os_info nor the lowcore leads to VMCOREINFO: memory was searched for it")
        source.header["vmcoreinfo_from"] = "a search of memory"
    else:
        source.oddities.append("there is no VMCOREINFO: not by way of os_info or the lowcore, nor found in memory")
    return text
