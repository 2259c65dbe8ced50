"""The knowledge of the kernel in a dump; :mod:`vmsieve.filters.gather` fills it."""

from __future__ import annotations

from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.filters.linux.identity import Identity
    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo


@record
class Knowledge:
    """A kernel, as far as it is known.

    Attributes:
        identity: Names and crash time, from the first source that has them.
        memory: Virtual memory; None if addresses can't be translated.
        memmap: The struct pages; None if they are not found, and every page is kept.
        problem: Why ``memmap`` is None; None if it is set.
        notes: Remarks.
        phys_base: phys_base for the kdump sub-header; 0 where the architecture has none.
        end_uncertain: Memory may go on behind the last struct page: see :meth:`covered_end`.
        ambiguous: Memory may hold another kernel, so less is left out than was asked for.
    """

    page_size: int
    identity: Identity
    info: VmcoreInfo | None = None
    memory: VirtualMemory | None = None
    memmap: MemMap | None = None
    problem: str | None = None
    notes: list[str] = field(default_factory=list)
    phys_base: int = 0
    end_uncertain: bool = False
    ambiguous: bool = False

    def max_pfn(self, end: int) -> int:
        """Return one above the highest page frame of memory that ends at physical address ``end``."""
        return -(-end // self.page_size)

    def covered_end(self, end: int) -> int:
        """Return :meth:`max_pfn` cut at the last memory section, as makedumpfile cuts it.

        Memory above has no struct pages: ``mem=`` left it out, it is firmware or a device that a hypervisor dumps too,
        or it belongs to another kernel.
        """
        top = self.max_pfn(end)
        if self.memmap is None or self.memmap.damaged or not self.memmap.end_pfn or self.end_uncertain:
            return top
        return min(top, self.memmap.end_pfn)
