"""Search for several kernels in one dump: of a machine whose crash kernel ran, or with remains of an earlier kernel.

A kernel counts if its page tables map themselves where its VMCOREINFO says and if its name is there. It owns the memory
that it has struct pages of; other kernels' struct pages of that memory are ignored.
"""

from __future__ import annotations

from vmsieve.filters.linux.consistency import find_contradiction, log_text
from vmsieve.filters.linux.identity import identify
from vmsieve.filters.linux.memmap import MemMap, Run
from vmsieve.filters.linux.memory import VirtualMemory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.memory import PhysicalMemory

_MOST_KERNELS: Final = 4


def name_address(memory: VirtualMemory, info: VmcoreInfo) -> int | None:
    """Physical address of the kernel's name, which distinguishes kernels; None if unknown."""
    vaddr = info.peek_address("SYMBOL(init_uts_ns)")
    try:
        return memory.translate(vaddr)[0]
    except VmsieveError:
        return None


def iter_kernels(physical: PhysicalMemory, arch: Arch, known: set[int]) -> Iterator[bytes]:
    """Yield VMCOREINFO of each kernel that a search of memory finds.

    ``known``: :func:`name_address` of the kernels to skip; those found are added.
    """
    from vmsieve.formats.vmcoreinfo_search import each_vmcoreinfo

    source = physical.source
    for text, order in each_vmcoreinfo(source):
        info = VmcoreInfo(text)
        if not info.looks_valid() or order != source.byte_order:
            continue
        try:
            memory = VirtualMemory(physical, arch.open(physical, info))
        except VmsieveError:
            continue
        identity = identify(memory, info, source.machine)
        address = name_address(memory, info)
        if identity.notes or address is None or address in known:
            continue
        if find_contradiction(memory, info, identity.utsname, log_text(memory, info)) is None:
            known.add(address)
            yield text
        if len(known) >= _MOST_KERNELS:
            return


def subtract(memmap: MemMap, other: MemMap) -> MemMap:
    """Copy ``memmap`` without the page frames that ``other`` has struct pages of."""
    left = MemMap(memmap.model, memmap.struct_page_size)
    left.absent, left.damaged, left.notes = memmap.absent, memmap.damaged, memmap.notes
    for run in memmap.runs():
        at, end = run.first_pfn, run.first_pfn + run.count
        for gone in [*other.runs(at, end), Run(end, 0, 0)]:
            if at < gone.first_pfn:
                vaddr = run.vaddr + (at - run.first_pfn) * memmap.struct_page_size
                left.add(at, gone.first_pfn - at, vaddr)
            at = gone.first_pfn + gone.count
    return left
