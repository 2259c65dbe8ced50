"""Is the crash kernel's initramfs there, for this kernel, and newer than what it was made of?"""

from __future__ import annotations

from typing import Final

from vmsieve.pipeline.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding
from vmsieve.pipeline.kdump.dracut import MODULE_SETUP

__all__ = ["CHECK"]

#: SUSE writes the release of the kernel that its one image is for here.
_SUSE_RELEASE: Final = "/var/lib/kdump/kernel-version"


def _run(case: Case) -> Finding:
    flavour, parts = case.flavour, case.parts
    if flavour is None or parts is None:
        return Finding(CANT_TELL, "there is no kdump service that makes one")
    again = " ".join(flavour.rebuild or flavour.load)
    status = case.system.status(parts.initramfs) if parts.initramfs is not None else None
    if status is None:
        return Finding(FAIL, f"there is none for kernel {case.release or '(unknown)'}", again)
    other = (case.system.text(_SUSE_RELEASE) or "").strip()
    if flavour.name == "suse" and other and case.release and other != case.release:
        return Finding(WARN, f"it is for kernel {other}, and {case.release} is running", again)
    if not parts.in_initramfs:
        return Finding(OK, f"{parts.initramfs}; memory is saved by programs of the root file system")
    for path in (flavour.config, MODULE_SETUP):
        made_of = case.system.status(path)
        if made_of is not None and made_of.st_mtime > status.st_mtime:
            return Finding(WARN, f"{parts.initramfs} is older than {path}", again)
    return Finding(OK, f"{parts.initramfs}")


CHECK: Final = Check("image", 50, "crash kernel's initramfs", _run)
