"""The contract of address translation, between architectures and readers of virtual memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vmsieve.formats.slim.records import field, record


@record(eq=False)
class Translator(ABC):
    """Virtual to physical addresses of one crashed kernel.

    Attributes:
        phys_base: phys_base for the kdump sub-header: physical address of the kernel map's start, less its link-time
            address; bytes, may be negative. None if the architecture has none.
        page_offset: Virtual address of the direct map of physical memory; None if not known.
        flat_first_pfn: Page frame of ``mem_map[0]`` in the flat memory model (ARCH_PFN_OFFSET); may be negative.
        notes: Sentences on what the translation is based on, for reports.
    """

    phys_base: int | None = None
    page_offset: int | None = None
    flat_first_pfn: int = 0
    notes: list[str] = field(default_factory=list)

    @abstractmethod
    def translate(self, vaddr: int) -> tuple[int, int]:
        """Return the physical address of ``vaddr``, and for how many bytes both run side by side (at least 1).

        Safe to call from several threads.

        Raises:
            KernelError: The address is not mapped, or its page table entries make no sense.
            ReadError: A page table is not in the dump.
        """

    def is_kernel(self, vaddr: int) -> bool:
        """True if ``vaddr`` may be an address of the kernel's, to tell pointers from garbage."""
        return 1 << 63 <= vaddr < 1 << 64

    def describe(self) -> list[str]:
        """Return sentences on what the translation is based on, for reports."""
        return list(self.notes)
