"""What the kernel in a dump says of itself: VMCOREINFO, its memory, its memory map, its log.

:func:`open_kernel` puts the parts together. Everything here reads through a source, works per run or section and never
per page, and raises :class:`~vmsieve.formats.errors.KernelError` where the kernel can't be understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmsieve.filters.kernel.arch import find
from vmsieve.filters.kernel.memory import PhysicalMemory, VirtualMemory

if TYPE_CHECKING:
    from vmsieve.filters.kernel.arch import Arch
    from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import Source

__all__ = ["Kernel", "open_kernel"]


@dataclass(frozen=True)
class Kernel:
    """The kernel in a dump.

    Attributes:
        info: Its VMCOREINFO.
        arch: Its architecture.
        page_size: Bytes a page.
        memory: Its virtual memory.
    """

    info: VmcoreInfo
    arch: Arch
    page_size: int
    memory: VirtualMemory


def open_kernel(source: Source, info: VmcoreInfo) -> Kernel:
    """Get ready to read the memory of the kernel that ``info`` describes in ``source``.

    Raises:
        KernelError: The machine is unknown, or the kernel does not tell enough.
        ReadError: What is needed to begin is not in the dump.
    """
    arch = find(source.machine)
    physical = PhysicalMemory(source)
    memory = VirtualMemory(physical, arch.open(physical, info))
    return Kernel(info, arch, info.page_size or source.page_size or 4096, memory)
