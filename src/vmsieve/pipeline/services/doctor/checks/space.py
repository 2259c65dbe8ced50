"""Does the next dump fit where it goes?"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding
from vmsieve.pipeline.dump.report import size_text

if TYPE_CHECKING:
    from vmsieve.pipeline.services.flavours import Target
    from vmsieve.pipeline.services.system import System

__all__ = ["CHECK"]

_KCORE: Final = "/proc/kcore"
_MEMINFO: Final = re.compile(r"^(\w+): +(\d{1,15}) kB$", re.MULTILINE)
#: What each bit of a dump level leaves out, by the counts of /proc/meminfo (fs/proc/meminfo.c).
_LEFT_OUT: Final = {2: ("Buffers", "Cached"), 8: ("AnonPages",), 16: ("MemFree",)}
_SECTOR: Final = 512


def _run(case: Case) -> Finding:
    target, collector = case.target, case.collector
    if target is None or collector is None:
        return Finding(CANT_TELL, "it is not known where dumps go")
    if target.kind in ("remote", "mount"):
        what = "another machine" if target.kind == "remote" else "a file system that is not mounted now"
        return Finding(CANT_TELL, f"dumps go to {target.where}, {what}", "look there yourself")
    room = _device_size(case.system, target.where) if target.kind == "device" else _free(case.system, target.where)
    if room is None:
        return Finding(FAIL, f"{target.where} does not exist", f"set {target.origin} right, or make it")
    return _compared(case, target, room, collector.level())


def _compared(case: Case, target: Target, room: int, level: int) -> Finding:
    size, exact = _estimate(case, level), True
    if size is None:
        size, exact = _bound(case.system, level), False
    if size is None:
        return Finding(CANT_TELL, f"{target.where} has {size_text(room)}, but the dump's size can't be estimated")
    about = "about" if exact else "at most"
    said = f"{target.where} has {size_text(room)}; a dump of level {level} now takes {about} {size_text(size)}"
    more = "make room, or set a higher dump level (31 leaves out most)"
    if size <= room:
        # Memory fills up until it crashes.
        return Finding(OK, said) if not exact or 2 * size <= room else Finding(WARN, said, more)
    return Finding(FAIL if exact else WARN, said, more)


def _free(system: System, folder: str) -> int | None:
    """Bytes that are free where ``folder`` is, or will be made; None if that can't be told."""
    while folder.strip("/") and not system.exists(folder):
        folder = folder.rpartition("/")[0]
    try:
        there = os.statvfs(system.resolve(folder))
    except OSError:
        return None
    return there.f_bavail * there.f_frsize


def _device_size(system: System, device: str) -> int | None:
    """Bytes of a block device (Documentation/ABI/stable/sysfs-block)."""
    name = system.resolve(device).rpartition("/")[2]
    sectors = system.number(f"/sys/class/block/{name}/size")
    return sectors * _SECTOR if sectors is not None else None


def _estimate(case: Case, level: int) -> int | None:
    """Size of a dump made now, by what is in memory; None if memory can't be read or understood."""
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
    """The most that a dump can take, by the kernel's own counts: nothing packed."""
    counts = {name: int(kib) << 10 for name, kib in _MEMINFO.findall(system.text("/proc/meminfo") or "")}
    total = counts.get("MemTotal", 0)
    if not total:
        return None
    names = [name for bit, some in _LEFT_OUT.items() if level & bit for name in some]
    # struct pages, of 64 bytes for 4096, are not counted in MemTotal.
    return max(total - sum(counts.get(name, 0) for name in names), 0) + total // 64


CHECK: Final = Check("room", 70, "room for the dump", _run)
