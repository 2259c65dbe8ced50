"""The kernel's identity: its utsname and the time of its crash."""

from __future__ import annotations

from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Six strings of __NEW_UTS_LEN + 1 bytes: struct new_utsname, include/uapi/linux/utsname.h.
_FIELDS = 6
FIELD_SIZE = 65
#: Fields that identify the machine: nodename and domainname.
HOST_FIELDS = (1, 5)
#: Most bytes that precede the name in its namespace.
BEFORE_NAME = 64


@record(frozen=True)
class Identity:
    """A kernel's identity.

    Attributes:
        utsname: sysname, nodename, release, version, machine, domainname; empty if unknown.
        crash_time: Seconds since 1970, or None.
        notes: Remarks on what could not be read.
        other: The release in memory, if it differs from VMCOREINFO's.
    """

    utsname: tuple[str, ...]
    crash_time: int | None
    notes: tuple[str, ...] = ()
    other: str | None = None


def identify(memory: VirtualMemory | None, info: VmcoreInfo, machine: str | None) -> Identity:
    """Identify the kernel by its memory, else by VMCOREINFO and the dump's ``machine``; never fails."""
    try:
        if memory is None:
            raise KernelError("the kernel's memory can't be read")
        names = _utsname(memory, info)
        if info.release in (None, names[2]):
            return Identity(names, info.crash_time)
        other: str | None = names[2]
        error: Exception = KernelError("the release in memory is not VMCOREINFO's", expected=info.release, found=other)
    except (KernelError, ReadError) as caught:
        other, error = None, caught
    names = ("Linux", "", info.release or "", "", machine or "", "")
    return Identity(names, info.crash_time, (f"the kernel's name is taken from VMCOREINFO: {error}",), other)


def host_field_ranges(memory: VirtualMemory, info: VmcoreInfo) -> list[tuple[int, int]]:
    """Virtual addresses and sizes of :data:`HOST_FIELDS` in the kernel's name; empty if unknown."""
    try:
        start = _name_address(info) if info.symbol("system_utsname") else info.need("SYMBOL", "init_uts_ns")
        # Kernels before v5.11 do not export the offset of the name in its namespace, where a counter precedes it.
        found = memory.read(start, BEFORE_NAME + _FIELDS * FIELD_SIZE).find(b"Linux\0", 0, BEFORE_NAME)
    except (KernelError, ReadError):
        return []
    return [(start + found + field * FIELD_SIZE, FIELD_SIZE) for field in HOST_FIELDS] if found >= 0 else []


def _name_address(info: VmcoreInfo) -> int:
    """Address of the name: ``system_utsname`` (before v2.6.19), or in ``init_uts_ns``."""
    vaddr = info.symbol("system_utsname")
    return vaddr or info.need("SYMBOL", "init_uts_ns") + info.need("OFFSET", "uts_namespace.name")


def _utsname(memory: VirtualMemory, info: VmcoreInfo) -> tuple[str, ...]:
    vaddr = _name_address(info)
    data = memory.read(vaddr, _FIELDS * FIELD_SIZE)
    fields = [data[at : at + FIELD_SIZE].partition(b"\0") for at in range(0, len(data), FIELD_SIZE)]
    names = tuple(head.decode("utf-8", "replace") for head, _, _ in fields)
    if names[0] != "Linux" or not all(nul for _, nul, _ in fields):
        raise KernelError("no utsname where it should be", offset=vaddr)
    return names
