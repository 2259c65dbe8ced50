"""A machine's memory with a loaded crash kernel, as the two loaders leave it.

After ``kexec_calculate_store_digests`` of kernel/kexec_file.c and the purgatory of kexec-tools: a table of sixteen
pairs (start, length), and a SHA-256 digest of all regions in the table's order. Nothing here uses the code under test.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import struct
from dataclasses import dataclass, field

from tests.build.elf_core import Core, Load

PAGE, MIB = 4096, 1 << 20
#: Address of the memory in the dump, and its reserved part.
START, END = 0, 8 * MIB
RESERVED = (3 * MIB, 7 * MIB)
_MACHINES = {"little": 62, "big": 22}


def cpio(files: dict[str, bytes]) -> bytes:
    """A newc archive, as used for initial RAM disks."""
    out = b""
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        fields = [number, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(f"{value:08x}".encode() for value in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def noise(seed: int, size: int) -> bytes:
    """Random bytes without zeros."""
    return random.Random(seed).randbytes(size).replace(b"\0", b"\1")


def initrd(seed: int = 1) -> bytes:
    """An uncompressed archive, followed by a compressed one."""
    return cpio({"microcode": noise(seed, 5000)}).ljust(8192, b"\0") + gzip.compress(
        cpio({"init": noise(seed + 1, 60000)}), mtime=0
    )


def boot_parameters(kernel_size: int, payload: tuple[int, int], ramdisk: int) -> bytes:
    """The x86 boot protocol's header at its offset in the zero page."""
    page = bytearray(2 * PAGE)
    struct.pack_into("<I", page, 0x1F4, kernel_size // 16)
    page[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", page, 0x206, 0x20F)
    struct.pack_into("<I", page, 0x218, ramdisk)
    struct.pack_into("<II", page, 0x248, *payload)
    page[PAGE : PAGE + 12] = b"console=tty0"
    return bytes(page)


@dataclass
class CrashKernel:
    """A loaded crash kernel.

    ``digest_at``: offset of the digest from the table: 256 where the x86 kernel loads, -32 with kexec-tools.
    ``segments``: the loaded segments by address; the default is an x86 machine's.
    """

    order: str = "little"
    digest_at: int = 256
    table_at: int = RESERVED[1] - 2 * PAGE + 0x40
    segments: dict[int, bytes] = field(default_factory=dict)
    edits: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.segments:
            self.segments = self._x86()

    def _x86(self) -> dict[int, bytes]:
        base = RESERVED[0]
        payload = gzip.compress(noise(3, 300000), mtime=0)
        code = (noise(4, 700) + payload).ljust(PAGE * 80, b"\0")
        room = code + bytes(MIB)
        ramdisk = base + 2 * MIB
        elf = (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 4, 62)).ljust(PAGE, b"\0")
        return {
            base + MIB // 2: room,
            ramdisk: padded(initrd()),
            base + 3 * MIB: boot_parameters(len(code), (700, len(payload)), ramdisk),
            base + 3 * MIB + 64 * PAGE: elf,
            base + 3 * MIB + 70 * PAGE: bytes(160 * PAGE),
        }

    def words(self) -> list[int]:
        """The table."""
        found = [word for start, data in self.segments.items() for word in (start, len(data))]
        return found + [0] * (32 - len(found))

    def digest(self) -> bytes:
        """The digest of all loaded regions."""
        return hashlib.sha256(b"".join(self.segments.values())).digest()

    def memory(self) -> bytes:
        """All memory."""
        out = bytearray(END)
        out[MIB : 2 * MIB] = noise(9, MIB)
        for start, data in self.segments.items():
            out[start : start + len(data)] = data
        out[self.table_at + self.digest_at : self.table_at + self.digest_at + 32] = self.digest()
        order = "<" if self.order == "little" else ">"
        out[self.table_at : self.table_at + 256] = struct.pack(order + "32Q", *self.words())
        for at, data in self.edits.items():
            out[at : at + len(data)] = data
        return bytes(out)

    def core(self) -> bytes:
        """The machine as an ELF core."""
        return core(self.memory(), self.order)


def padded(data: bytes) -> bytes:
    """``data`` padded to whole pages, as it is loaded."""
    return data + bytes(-len(data) % PAGE)


def core(memory: bytes, order: str = "little", start: int = START) -> bytes:
    """``memory``, from physical address ``start`` on, as an ELF core."""
    return Core([Load(start, memory)], order=order, machine=_MACHINES[order]).build()


def flipped(data: bytes, at: int, bit: int = 2) -> bytes:
    """``data`` with one bit changed."""
    out = bytearray(data)
    out[at] ^= 1 << bit
    return bytes(out)
