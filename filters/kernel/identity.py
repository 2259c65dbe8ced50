"""Who the kernel is and when it crashed: what a dump's header repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.records import record

if TYPE_CHECKING:
    from vmsieve.filters.kernel.memory import VirtualMemory
    from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo

__all__ = ["HOST_FIELDS", "Identity", "field_address", "identify"]

#: Six strings of __NEW_UTS_LEN + 1 bytes: struct new_utsname, include/uapi/linux/utsname.h.
_FIELDS = 6
_FIELD_SIZE = 65
#: Fields that tell whose machine it is: nodename and domainname.
HOST_FIELDS = (1, 5)


@record(frozen=True)
class Identity:
    """Who the kernel is.

    Attributes:
        utsname: sysname, nodename, release, version, machine, domainname; what is not known is empty.
        crash_time: Seconds since 1970, or None.
        notes: Sentences on what could not be read.
    """

    utsname: tuple[str, ...]
    crash_time: int | None
    notes: tuple[str, ...] = ()


def identify(memory: VirtualMemory | None, info: VmcoreInfo, machine: str | None) -> Identity:
    """The kernel's identity from its memory, or as much of it as VMCOREINFO tells; never fails.

    Args:
        memory: Its memory; None when that can't be read.
        info: Its VMCOREINFO.
        machine: The machine the dump names.
    """
    try:
        if memory is None:
            raise KernelError("the kernel's memory can't be read")
        return Identity(_utsname(memory, info), info.crash_time)
    except (KernelError, ReadError) as error:
        told = ("Linux", "", info.release or "", "", machine or "", "")
        return Identity(told, info.crash_time, (f"the kernel's name is taken from VMCOREINFO: {error}",))


def field_address(info: VmcoreInfo, number: int) -> tuple[int, int]:
    """Virtual address and size of a field of the kernel's name, counted as in :attr:`Identity.utsname`.

    In ``system_utsname`` (before v2.6.19) or in ``init_uts_ns``.

    Raises:
        KernelError: VMCOREINFO does not tell.
    """
    vaddr = info.symbol("system_utsname")
    if vaddr is None:
        vaddr = info.need("SYMBOL", "init_uts_ns") + info.need("OFFSET", "uts_namespace.name")
    return vaddr + number * _FIELD_SIZE, _FIELD_SIZE


def _utsname(memory: VirtualMemory, info: VmcoreInfo) -> tuple[str, ...]:
    """The kernel's name, checked against OSRELEASE."""
    vaddr, _ = field_address(info, 0)
    data = memory.read(vaddr, _FIELDS * _FIELD_SIZE)
    fields = [data[at : at + _FIELD_SIZE].partition(b"\0") for at in range(0, len(data), _FIELD_SIZE)]
    names = tuple(head.decode("utf-8", "replace") for head, _, _ in fields)
    if names[0] != "Linux" or not all(nul for _, nul, _ in fields):
        raise KernelError("no utsname where it should be", offset=vaddr)
    if info.release is not None and names[2] != info.release:
        raise KernelError("the release in memory is not VMCOREINFO's", expected=info.release, found=names[2])
    return names
