"""cpio archives of the kind that the kernel unpacks an initramfs from ("newc").

Source: ``Documentation/driver-api/early-userspace/buffer-format.rst`` of Linux. All numbers are 8 hexadecimal digits.
After the magic: ino, mode, uid, gid, nlink, mtime, filesize, major, minor, rmajor, rminor, namesize, check.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final

MAGIC: Final = "070701"
#: Header and name together, and the data, are each padded to a multiple of this.
ALIGN: Final = 4
#: Name of the entry that ends an archive.
TRAILER: Final = "TRAILER!!!"
