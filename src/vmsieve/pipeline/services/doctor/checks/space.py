"""Checks that the next dump fits the free space of its target."""

from __future__ import annotations

import os
import re

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding

if TYPE_CHECKING:
    from vmsieve.pipeline.services.flavours import Target
    from vmsieve.pipeline.services.system import System

_KCORE: Final = "/proc/kcore"
_MEMINFO: Final = re.compile(r"^(\w+): +(\d{1,15}) kB$", re.MULTILINE)
#: Counts of /proc/meminfo (fs/proc/meminfo.c) that each bit of a dump level excludes.
_LEFT_OUT: Final = {2: ("Buffers", "Cached"), 8: ("AnonPages",), 16: ("MemFree",)}
_SECTOR: Final = 512


def _run(case: Case) -> Finding:
    target, collector = case.target, case.collector
    if target is None or collector is None:
        return Finding(CANT_TELL, "the target of dumps is unknown")
    if target.kind in ("remote", "mount"):
        what = "another machine" if target.kind == "remote" else "a file system that is not mounted now"
        return Finding(CANT_TELL, f"dumps go to {target.location}, {what}", "look there yourself")
    space = (_device_size if target.kind == "device" else _free)(case.system, target.location)
    if space is None:
        return Finding(FAIL, f"{target.location} does not exist", f"set {target.origin} right, or make it")
    return _compared(case, target, space, collector.level())


def _compared(case: Case, target: Target, space: int, level: int) -> Finding:
    size, exact = _estimate(case, level), True
    if size is None:
        size, exact = _bound(case.system, level), False
    if size is None:
        return Finding(CANT_TELL, f"{target.location} has {size_text(space)}, but the dump's size can't be estimated")
    about = "about" if exact else "at most"
    said = f"{target.location} has {size_text(space)}; a dump of level {level} now takes {about} {size_text(size)}"
    more = "free space, or set a higher dump level (31 leaves out most)"
    if size <= space:
        # The kernel may use more memory at the time of the crash: warn below twice the estimate.
        return Finding(OK, said) if not exact or 2 * size <= space else Finding(WARN, said, more)
    return Finding(FAIL if exact else WARN, said, more)


def _free(system: System, folder: str) -> int | None:
    """Free bytes where ``folder`` is or would be created; None if unknown."""
    while folder.strip("/") and not system.exists(folder):
        folder = folder.rpartition("/")[0]
    try:
        stats = os.statvfs(system.resolve(folder))
    except OSError:
        return None
    return stats.f_bavail * stats.f_frsize


def _device_size(system: System, device: str) -> int | None:
    """Size of a block device in bytes (Documentation/ABI/stable/sysfs-block)."""
    name = system.resolve(device).rpartition("/")[2]
    sectors = system.number(f"/sys/class/block/{name}/size")
    return sectors * _SECTOR if sectors is not None else None


def _estimate(case: Case, level: int) -> int | None:
    """Size of a dump made now, by classifying memory; None if that is impossible."""
    if case.quick or not case.system.exists(_KCORE):
        return None
    try:
        source = open_system(case.system.resolve(_KCORE))
        try:
            class_counts = count_classes(source, gather_knowledge(source), case.progress)
        finally:
            source.close()
    except VmsieveError:
        return None
    return None if class_counts.weaker else class_counts.level(level)["bytes"]


def _bound(system: System, level: int) -> int | None:
    """Upper bound of a dump's size by the kernel's own counts, uncompressed."""
    counts = {name: int(kib) << 10 for name, kib in _MEMINFO.findall(system.text("/proc/meminfo") or "")}
    total = counts.get("MemTotal", 0)
    if not total:
        return None
    names = [name for bit, some in _LEFT_OUT.items() if level & bit for name in some]
    # MemTotal lacks the struct pages: 64 bytes per 4096.
    return max(total - sum(counts.get(name, 0) for name in names), 0) + total // 64


CHECK: Final = Check("room", 70, "space for the dump", _run)
