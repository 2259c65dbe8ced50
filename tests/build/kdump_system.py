"""Made-up systems with a kdump service, as folders: its configuration, and the needed parts of /proc and /sys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
RELEASE = "6.1.0-made-up"

CONFIGS = {
    "kdump-utils": "/etc/kdump.conf",
    "kdump-tools": "/etc/default/kdump-tools",
    "suse": "/etc/sysconfig/kdump",
}
TEXTS = {
    "kdump-utils": "# made up\nauto_reset_crashkernel yes\npath /var/crash\n"
    "core_collector makedumpfile -l --message-level 7 -d 31\n#core_collector scp\n",
    "kdump-tools": "# made up\nUSE_KDUMP=1\nKDUMP_KERNEL=/var/lib/kdump/vmlinuz\n"
    "KDUMP_INITRD=/var/lib/kdump/initrd.img\n"
    'KDUMP_COREDIR="/var/crash"\n#MAKEDUMP_ARGS="-c -d 31"\n',
    "suse": '## made up\nKDUMP_CPUS=32\nKDUMP_TRANSFER=""\nKDUMP_SAVEDIR="/var/crash"\nKDUMP_DUMPLEVEL=31\n'
    'KDUMP_DUMPFORMAT="compressed"\n',
}
MARKS = {
    "kdump-utils": "/usr/bin/kdumpctl",
    "kdump-tools": "/usr/sbin/kdump-config",
    "suse": "/usr/lib/kdump/kdump-read-config.sh",
}
PARTS = {
    "kdump-utils": (f"/boot/vmlinuz-{RELEASE}", f"/boot/initramfs-{RELEASE}kdump.img"),
    "kdump-tools": ("/var/lib/kdump/vmlinuz", "/var/lib/kdump/initrd.img"),
    "suse": ("/var/lib/kdump/kernel", "/var/lib/kdump/initrd"),
}


def put(root: Path, name: str, content: str | bytes) -> Path:
    """The file ``name`` of the system."""
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def config(root: Path, flavour: str) -> Path:
    """The service's configuration file."""
    return root / CONFIGS[flavour].lstrip("/")


def make(root: Path, flavour: str, *, sizes: tuple[int, int] = (0, 0)) -> Path:
    """A working system whose service does not use vmsieve.

    ``sizes``: of the crash kernel's parts, kernel and initramfs, in MiB.
    """
    put(root, MARKS[flavour], "")
    put(root, CONFIGS[flavour], TEXTS[flavour])
    put(root, "/proc/sys/kernel/osrelease", f"{RELEASE}\n")
    put(
        root, "/proc/meminfo", "MemTotal: 1000 kB\nMemFree: 500 kB\nCached: 100 kB\nBuffers: 10 kB\nAnonPages: 200 kB\n"
    )
    put(root, "/sys/kernel/kexec_crash_loaded", "1\n")
    put(root, "/sys/kernel/kexec_crash_size", f"{256 * MIB}\n")
    for path, size in zip(PARTS[flavour], sizes):
        os.truncate(put(root, path, ""), size * MIB)
    put(root, "/var/crash/.keep", "")
    return root
