"""Checks that the crash kernel can open the target: it has no key of an encrypted disk, unless one is passed on.

``/sys/kernel/config/crash_dm_crypt_keys`` passes volume keys on (Linux commit 180cf31af7c3 (crash_dump: make dm crypt
keys persist for the kdump kernel), v6.16); ``kdumpctl`` names them there. Device mapper's UUIDs begin with ``CRYPT-``
for dm-crypt (cryptsetup, lib/libdevmapper.c).
"""

from __future__ import annotations

import os

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, OK, WARN, Case, Check, Finding

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_KEYS: Final = "/sys/kernel/config/crash_dm_crypt_keys/count"
_DEEPEST: Final = 8  # block devices on top of each other: dm-crypt below LVM, RAID, a partition


def _run(case: Case) -> Finding:
    target = case.target
    if target is None:
        return Finding(CANT_TELL, "the target of dumps is unknown")
    if target.kind == "remote":
        return Finding(OK, f"dumps go to {target.location}, another machine")
    device = target.location if target.kind == "device" else _device_below(case.system, target.location)
    if not device.startswith("/dev/"):
        return Finding(CANT_TELL, f"the disk of {target.location} is unknown")
    name = case.system.resolve(device).rpartition("/")[2]
    layer = _encrypted(case.system, name, _DEEPEST)
    if not layer:
        return Finding(OK, f"{device} is not encrypted")
    if case.system.number(_KEYS):
        return Finding(OK, f"{device} is encrypted ({layer}); keys are passed on to the crash kernel")
    advice = (
        "save dumps to another disk or machine, or pass the volume key on to the crash kernel (Linux 6.16, kdumpctl)"
    )
    return Finding(WARN, f"{device} is encrypted ({layer}), and the crash kernel has no key", advice)


def _device_below(system: System, folder: str) -> str:
    """The source of the file system that holds ``folder``, as /proc/mounts has it; empty: unknown."""
    best = ("", "")
    for line in (system.text("/proc/mounts") or "").splitlines():
        source, _, rest = line.partition(" ")
        point = rest.partition(" ")[0].replace("\\040", " ")
        inside = f"{folder.rstrip('/')}/".startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(best[0]):
            best = (point, source)
    return best[1]


def _encrypted(system: System, name: str, deepest: int) -> str:
    """Name of the dm-crypt layer in or below block device ``name``; empty if there is none."""
    folder = f"/sys/class/block/{name}"
    if (system.text(f"{folder}/dm/uuid") or "").startswith("CRYPT-"):
        return (system.text(f"{folder}/dm/name") or name).strip()
    below = system.names(f"{folder}/slaves") if deepest else []
    return next((found for one in below if (found := _encrypted(system, os.path.basename(one), deepest - 1))), "")


CHECK: Final = Check("encryption", 65, "encryption of the target", _run)
