"""Architectures: how a machine's kernel lays out its virtual memory.

A plugin is one file, named like the machine, that ends in ``ARCH``, an :class:`Arch`. Its ``open`` reads what it needs
(VMCOREINFO, page tables, the dump's headers) and returns a :class:`Translator`. What a kernel exports is taken first,
what is known of its version only as a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Callable

from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.records import field, record

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

__all__ = ["Arch", "Translator", "arches", "find"]


@record(eq=False)
class Translator(ABC):
    """Virtual to physical addresses of one crashed kernel.

    Attributes:
        phys_base: What a kdump sub-header calls so: physical address of the kernel map's start, less its link-time
            address; bytes, may be negative. None where the architecture has none.
        page_offset: Where the direct map of physical memory begins, a virtual address; None when not known.
        flat_first_pfn: Page frame of ``mem_map[0]`` where the memory model is flat (the kernel's ARCH_PFN_OFFSET);
            may be negative.
        notes: Sentences on what the translation is based on, for reports.
    """

    phys_base: int | None = None
    page_offset: int | None = None
    flat_first_pfn: int = 0
    notes: list[str] = field(default_factory=list)

    @abstractmethod
    def translate(self, vaddr: int) -> tuple[int, int]:
        """Physical address of ``vaddr``, and for how many bytes from there on both run side by side (at least 1).

        Safe to call from several threads.

        Raises:
            KernelError: There is no such address, or its page table entries make no sense.
            ReadError: A page table is not in the dump.
        """

    def is_kernel(self, vaddr: int) -> bool:
        """Could ``vaddr`` be an address of the kernel's? For telling pointers from garbage."""
        return 1 << 63 <= vaddr < 1 << 64

    def describe(self) -> list[str]:
        """Sentences on what the translation is based on, for reports."""
        return list(self.notes)


@record(frozen=True)
class Arch:
    """An architecture.

    Attributes:
        name: As ``uname -m`` says it; unique, and the name of the plugin's file.
        aliases: Other names of the same machine.
        section_size_bits: SECTION_SIZE_BITS of a kernel that does not export it: a memory section has
            ``1 << bits`` bytes.
        max_physmem_bits: Likewise MAX_PHYSMEM_BITS: physical addresses are below ``1 << bits``.
        open: Gets ready to translate. Raises KernelError when the kernel does not tell enough, ReadError when what it
            needs is not in the dump.
        roots: Symbols of the top page table, the best first.
        virtual: Told where the ``roots`` are, by name, and where the kernel's text is, physical addresses: what has to
            be added to a physical address in the kernel's image to give a virtual one, or None. None: not known how.
        image: Where processors' registers say that the kernel's image is: physical addresses, from and to, or None.
    """

    name: str
    aliases: tuple[str, ...]
    section_size_bits: Callable[[VmcoreInfo], int]
    max_physmem_bits: Callable[[VmcoreInfo], int]
    open: Callable[[PhysicalMemory, VmcoreInfo], Translator]
    roots: tuple[str, ...] = ()
    virtual: Callable[[PhysicalMemory, dict[str, int], int], int | None] | None = None
    image: Callable[[PhysicalMemory], tuple[int, int] | None] | None = None


def arches() -> list[Arch]:
    """All plugins of this room, by name."""
    from vmsieve.filters.linux import arch
    from vmsieve.formats.plugins import scan

    return scan(arch, "ARCH", Arch)


def find(machine: str | None) -> Arch:
    """The architecture called ``machine``.

    Raises:
        KernelError: None is; the message lists those that exist.
    """
    from vmsieve.filters.linux import arch as room
    from vmsieve.formats.plugins import load, names

    if machine in names(room):
        # The others take a tenth of the time to the first page.
        return load(room, "ARCH", machine, "machine", Arch)
    known = arches()
    for arch in known:
        if machine == arch.name or machine in arch.aliases:
            return arch
    raise KernelError(
        "no knowledge of this machine's kernel",
        expected=", ".join(arch.name for arch in known),
        found=machine or "a dump that does not name its machine",
    )
