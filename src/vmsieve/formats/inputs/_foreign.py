"""Files that no format here reads, by their signatures: what they are, and what to do next.

A format that is added takes its row out of this table.
"""

from __future__ import annotations

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.slim.typing import Final

_MEMORY: Final = "dump the guest's memory as an ELF core: 'virsh dump --memory-only DOMAIN FILE'"
_DISK: Final = "memory is needed, not a disk; of a running guest: 'virsh dump --memory-only DOMAIN FILE'"
_FORENSIC: Final = "volatility3 and crash read it"
_VMWARE: Final = "vmss2core of VMware makes an ELF core of it: 'vmss2core -N6 FILE.vmss FILE.vmem'"
_KERNEL: Final = "a kernel is no dump; of a vmlinux: --vmlinux FILE"
_LONGEST: Final = 1 << 10  # bytes that tell text

#: Offset, magic number, what it is, what to do.
_SIGNATURES: Final = (
    (0, b"\xfd7zXZ\0", "a file packed by xz", "unpack it: 'xz -dk FILE'"),
    (0, b"BZh", "a file packed by bzip2", "unpack it: 'bzip2 -dk FILE'"),
    (0, b"\x89LZO\0\r\n\x1a\n", "a file packed by lzop", "unpack it: 'lzop -d FILE'"),
    (0, b"\x1f\x9d", "a file packed by compress", "unpack it: 'gzip -d FILE'"),
    (0, b"PK\3\4", "a zip archive", "unpack it: 'unzip FILE'"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: '7z x FILE'"),
    (0, b"Rar!\x1a\7", "a RAR archive", "unpack it: 'unrar x FILE'"),
    (0, b"0707", "a cpio archive", "unpack it: 'cpio -id < FILE'"),
    (257, b"ustar", "a tar archive", "unpack it: 'tar -xf FILE'"),
    (0, b"QFI\xfb", "a disk image of QEMU (qcow2)", _DISK),
    (0, b"KDMV", "a disk image of VMware (vmdk)", _DISK),
    (0, b"# Disk DescriptorFile", "a description of a disk of VMware (vmdk)", _DISK),
    (0, b"conectix", "a disk image of Hyper-V (vhd)", _DISK),
    (0, b"vhdxfile", "a disk image of Hyper-V (vhdx)", _DISK),
    (64, b"\x7f\x10\xda\xbe", "a disk image of VirtualBox (vdi)", _DISK),
    (0, b"LibvirtQemud", "a saved guest of libvirt", _MEMORY),
    (0, b"QEVM", "a migration stream of QEMU", _MEMORY),
    (0, b"EMiL", "a LiME image of memory", _FORENSIC),
    (
        0,
        b"AVML",
        "an AVML image of memory",
        "'avml-convert' makes a LiME image of it, which volatility3 and crash read",
    ),
    (0, b"\xd0\xbe\xd2\xbe", "a saved guest of VMware (vmss, vmsn)", _VMWARE),
    (0, b"\xd1\xba\xd1\xba", "a saved guest of VMware (vmss, vmsn)", _VMWARE),
    (0, b"\xd2\xbe\xd2\xbe", "a saved guest of VMware (vmss, vmsn)", _VMWARE),
    (0, b"\xd3\xbe\xd3\xbe", "a saved guest of VMware (vmss, vmsn)", _VMWARE),
    (0, b"PAGEDU", "a crash dump of Windows", "WinDbg reads it"),
    (0, b"MDMP", "a minidump of a Windows program", "WinDbg reads it"),
    (0, b"sadump\0\0", "a stand-alone dump of Fujitsu (sadump)", "crash and makedumpfile read it"),
    (0, b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump of a little-endian machine", "crash reads it"),
    (4086, b"S1SUSPEND", "swap space with a hibernated system", "resume it, then make a dump of it"),
    (4086, b"ULSUSPEND", "swap space with a hibernated system", "resume it, then make a dump of it"),
    (4086, b"LINHIB0001", "swap space with a hibernated system", "resume it, then make a dump of it"),
    (4086, b"SWAPSPACE2", "swap space without a dump", "was the dump saved elsewhere, or overwritten?"),
    (0x202, b"HdrS", "a Linux kernel (bzImage)", _KERNEL),
    (56, b"ARM\x64", "a Linux kernel (arm64)", _KERNEL),
    (56, b"RSC\x05", "a Linux kernel (riscv)", _KERNEL),
    (0, b"XFSB", "a file system (XFS)", "mount it, and name the dump in it"),
    (510, b"\x55\xaa", "a disk image", _DISK),
)


def refusal(start: bytes, name: str, within: str = "") -> UnsupportedError:
    """The error for a file that begins with ``start``, which no format takes; ``within``: the container around it."""
    what, hint = _known(start)
    holds = f"the {within} holds {what or 'no dump of a known format'}" if within else ""
    message = holds or (f"not a dump, but {what}" if what else "not a dump of a known format")
    found = None if what else start[:8].hex(" ") or "an empty file"
    return UnsupportedError(message, file=name, found=found, hint=hint or None)


def _known(start: bytes) -> tuple[str, str]:
    """What a file is that begins with ``start``, and what to do; empty: unknown."""
    for offset, magic, what, hint in _SIGNATURES:
        if start[offset : offset + len(magic)] == magic:
            return what, hint
    if start and not start.strip(b"\0"):
        return "zeros at its start", "raw memory is not read, as its ranges are unknown; was the dump ever written?"
    if start and all(32 <= byte < 127 or byte in b"\t\n\r" for byte in start[:_LONGEST]):
        return "text", "a kernel log, for example; the dump itself is usually called vmcore"
    return "", ""
