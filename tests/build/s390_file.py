"""s390 stand-alone dumps made by hand: single volume, extended (raw and zlib), and sets of volumes.

Field by field after ``include/dump/s390_dump.h`` of s390-tools; nothing here uses the code under test.
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass, replace

from tests.build.notes import vmcoreinfo

PAGE, MIB = 4096, 1 << 20
PREFIXES = (0x14000, 0x1A000)
VMCOREINFO = b"OSRELEASE=6.1.0-s390x\nPAGESIZE=4096\n"
#: 2023-11-14 22:13:20.25 UTC, and a second later.
TOD, TOD_END = 0xDE33460DEB090000, 0xDE33460EDF2D0000
MAGIC, MAGIC_EXT = 0xA8190173618F23FD, 0xA8190173618F23FE


def registers(number: int) -> bytes:
    """The save area of a lowcore, 0x1200 to 0x1400: each byte depends on the processor and its offset."""
    area = bytearray((number * 0x40 + at) & 0xFF for at in range(0x200))
    struct.pack_into(">I", area, 0x118, PREFIXES[number])
    return bytes(area)


def machine(mib: int = 6, seed: int = 1) -> bytes:
    """Memory with two processors' lowcores, vector registers and VMCOREINFO; MiB 2 is zero, MiB 1 compressible."""
    dice = random.Random(seed)
    memory = bytearray()
    for number in range(mib):
        kinds = {1: b"abcd" * (MIB // 4), 2: bytes(MIB)}
        memory += kinds.get(number % 4) or dice.randbytes(MIB // 2) + bytes(MIB // 4) + dice.randbytes(MIB // 4)
    memory[0x2000:0x3000] = bytes(PAGE)
    for number, prefix in enumerate(PREFIXES):
        memory[prefix : prefix + 0x2000] = bytes(0x2000)
        memory[prefix + 0x1200 : prefix + 0x1400] = registers(number)
        struct.pack_into(">H", memory, prefix + 0x84, number)
        vector = 0x30000 + number * 0x400
        struct.pack_into(">Q", memory, prefix + 0x11B0, vector)
        memory[vector : vector + 512] = bytes((number + at) & 0xFF for at in range(512))
        for i in range(16):  # their upper halves are the floating point registers
            memory[vector + i * 16 : vector + i * 16 + 8] = registers(number)[i * 8 : i * 8 + 8]
    text = vmcoreinfo(VMCOREINFO, "big")
    memory[0x40000 : 0x40000 + len(text)] = text
    memory[0xE00:0x1000] = bytes(0x200)
    struct.pack_into(">Q", memory, 0xE0C, 0x40000)
    return bytes(memory)


@dataclass
class Dump:
    """A dump. None is computed."""

    memory: bytes
    magic: int = MAGIC
    version: int = 5
    mem_size: int | None = None
    mem_end: int | None = None
    tod: int = TOD
    tod_end: int = TOD_END
    cpu_id: int = 0xFF00000012345678
    arch: int = 2
    volume: int = 0
    build_arch: int = 2
    real_size: int = 0
    multi: int = 0
    prefixes: tuple[int, ...] = PREFIXES
    cpu_cnt: int | None = None
    real_cpus: int = 4
    zlib_version: int = 0
    unit: int = 0
    signed: int = 0
    zipl_time: int = 0

    def header(self) -> bytes:
        """The first 4096 bytes."""
        size = len(self.memory) if self.mem_size is None else self.mem_size
        last = size if self.mem_end is None else self.mem_end
        out = bytearray(PAGE)
        struct.pack_into(
            ">QIIIIQQQI", out, 0, self.magic, self.version, 0x1000, 4, 0x1000, size, 0, last, size >> 12 & 0xFFFFFFFF
        )
        struct.pack_into(">QQIII", out, 0x38, self.tod, self.cpu_id, self.arch, self.volume, self.build_arch)
        cpus = len(self.prefixes) if self.cpu_cnt is None else self.cpu_cnt
        struct.pack_into(
            ">QBHHBI", out, 0x54, self.real_size, self.multi, cpus, self.real_cpus, self.zlib_version, self.unit
        )
        struct.pack_into(">QQ", out, 0x200, self.signed, self.zipl_time)
        struct.pack_into(f">{len(self.prefixes)}I", out, 0x800, *self.prefixes)
        return bytes(out)

    def end(self) -> bytes:
        """The end marker."""
        return b"DUMP_END" + struct.pack(">Q", self.tod_end)

    def flat(self) -> bytes:
        """Header, memory, end marker."""
        return self.header() + self.memory + self.end()

    def tape(self) -> bytes:
        """Like :meth:`flat`, with memory in whole records of 32 KiB."""
        return self.header() + self.memory.ljust(-(-len(self.memory) // 0x8000) * 0x8000, b"\0") + self.end()


def segments(memory: bytes) -> list[tuple[int, int]]:
    """Runs of MiBs that are not all zero: first and last address plus one. The first MiB is always a separate run."""
    found: list[tuple[int, int]] = []
    for start in range(0, len(memory), MIB):
        end = min(start + MIB, len(memory))
        if not any(memory[start:end]):
            continue
        if found and found[-1][1] == start and start != MIB:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def segment(start: int, size: int, stop: bool, on_disk: int = 0, entries: tuple[int, ...] = ()) -> bytes:
    """The header of a segment."""
    head = struct.pack(">QQQI", start, size, (1 << 64) - 1 if stop else 0, on_disk).ljust(0x30, b"\0")
    return (head + struct.pack(f">I{len(entries)}I", len(entries), *entries)).ljust(PAGE, b"\0")


def extended(dump: Dump, block: int = 4096) -> bytes:
    """Version 1: uncompressed segments."""
    dump = replace(dump, magic=MAGIC_EXT, version=1)
    out = dump.header()
    rows = segments(dump.memory) or [(0, 0)]
    for start, end in rows:
        out += segment(start, end - start, end == rows[-1][1]) + dump.memory[start:end]
    return out + dump.end().ljust(block, b"\0")


def packed(data: bytes, block: int, unit: int) -> tuple[bytes, tuple[int, ...]]:
    """Units of ``data``, each a zlib stream or, if that would be larger, uncompressed; and their offsets in blocks."""
    out, offsets = b"", []
    for at in range(0, len(data), unit):
        plain = data[at : at + unit]
        stream = zlib.compress(plain, 1)
        stored = len(stream) >= len(plain)
        offsets.append(len(out) // block | (1 << 31 if stored else 0))
        content = plain if stored else stream
        out += content.ljust(-(-len(content) // block) * block, b"\0")
    return out, tuple(offsets)


def compressed(dump: Dump, block: int = 4096, unit: int = MIB) -> bytes:
    """Version 2: the first segment uncompressed, the others in units packed with zlib."""
    dump = replace(dump, magic=MAGIC_EXT, version=2, zlib_version=1, unit=unit)
    out = dump.header()
    rows = segments(dump.memory) or [(0, 0)]
    for start, end in rows:
        last = end == rows[-1][1]
        if end <= MIB:
            out += segment(start, end - start, last) + dump.memory[start:end]
            continue
        data, offsets = packed(dump.memory[start:end], block, unit)
        out += segment(start, end - start, last, len(data) // block, offsets) + data
    return out + dump.end().ljust(block, b"\0")


def volumes(dump: Dump, sizes: list[int]) -> list[bytes]:
    """Version 2 on several volumes: contents of partitions of these sizes, as the dump tool fills them."""
    dump = replace(dump, magic=MAGIC_EXT, version=2, multi=1, signed=MAGIC_EXT)
    rows = segments(dump.memory) or [(0, 0)]
    parts = []
    for number, size in enumerate(sizes):
        out, free = replace(dump, volume=number).header(), size - 3 * PAGE
        done = False
        while rows and free >= MIB:
            start, end = rows.pop(0)
            stop = min(end, start + free // MIB * MIB)
            if stop < end:
                rows.insert(0, (stop, end))
            out += segment(start, stop - start, not rows) + dump.memory[start:stop]
            free -= stop - start + PAGE
            done = not rows
        parts.append((out + (dump.end() if done else b"")).ljust(size, b"\xee"))
        if done:
            break
    unused = replace(dump, volume=len(parts), mem_size=0, tod=0).header()
    return parts + [unused.ljust(size, b"\xee") for size in sizes[len(parts) :]]


def disks(parts: list[bytes], block: int = 4096, version: int = 2, timestamp: int = 7) -> list[bytes]:
    """Whole disks around the partitions, with the dump tool and the table of volumes."""
    tool = b"XMULT64" + bytes([version])
    firsts = [(24 + 3 * number) * 4096 // block for number in range(len(parts))]
    rows = [
        struct.pack(">HIIBBB", 0x5000 + number, first, first + len(part) // block - 1, block >> 8, 12, 15)
        for number, (part, first) in enumerate(zip(parts, firsts))
    ]
    table = struct.pack(">QH", timestamp, len(parts)) + b"".join(rows).ljust(32 * 13, b"\0") + bytes([0, 1] * 16)
    head = bytes(3 * block) + tool.ljust({1: 0x3000}.get(version, 0x4000), b"\xdd") + table
    return [head.ljust(first * block, b"\0") + part for part, first in zip(parts, firsts)]
