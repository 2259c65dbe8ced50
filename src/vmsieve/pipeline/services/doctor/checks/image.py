"""Checks that the crash kernel's initramfs exists, fits the kernel, and is newer than its sources."""

from __future__ import annotations

import json

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.initramfs.make import changed
from vmsieve.pipeline.initramfs.tree import MANIFEST
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding
from vmsieve.pipeline.services.dracut import IMAGE, MODULE_SETUP

#: On SUSE, holds the release of the kernel that its only initramfs is for.
_SUSE_RELEASE: Final = "/var/lib/kdump/kernel-version"


def _run(case: Case) -> Finding:
    flavour, parts = case.flavour, case.parts
    if flavour is None or parts is None:
        return Finding(CANT_TELL, "no kdump service builds one")
    again = flavour.rebuild
    status = case.system.status(parts.initramfs) if parts.initramfs is not None else None
    if status is None:
        return Finding(FAIL, f"no initramfs for kernel {case.release or '(unknown)'}", "build it again", again)
    other = (case.system.text(_SUSE_RELEASE) or "").strip()
    if flavour.name == "suse" and other and case.release and other != case.release:
        return Finding(WARN, f"it is for kernel {other}, and {case.release} is running", "build it again", again)
    if not parts.in_initramfs:
        return Finding(OK, f"{parts.initramfs}; memory is saved by programs of the root file system")
    for path in (MODULE_SETUP, *((flavour.config,) if flavour.config not in flavour.outside else ())):
        made_of = case.system.status(path)
        if made_of is not None and made_of.st_mtime > status.st_mtime:
            return Finding(WARN, f"{parts.initramfs} is older than {path}", "build it again", again)
    collector = case.collector
    if collector is not None and collector.ours:
        return _with_vmsieve(case, parts.initramfs or "", status.st_mtime, again)
    return Finding(OK, f"{parts.initramfs}")


def _with_vmsieve(case: Case, path: str, made: float, again: str) -> Finding:
    """Compare the vmsieve in the initramfs at ``path`` with the installed one."""
    name = f"{IMAGE}/{MANIFEST}"
    status = case.system.status(name)
    if status is None:
        return Finding(FAIL, f"vmsieve was not put into {path}: there is no {name}", "build it again", again)
    if status.st_mtime > made:
        return Finding(WARN, f"{path} is older than the image that vmsieve made for it", "build it again", again)
    try:
        gone = changed(json.loads(case.system.text(name) or "")) if case.system.running else []
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, OSError):
        return Finding(CANT_TELL, f"{name} is damaged", "build it again", again)
    if gone:
        return Finding(WARN, f"{path} has an older vmsieve or Python: {gone[0]} has changed", "build it again", again)
    return Finding(OK, f"{path}, with vmsieve in it")


CHECK: Final = Check("image", 50, "crash kernel's initramfs", _run)
