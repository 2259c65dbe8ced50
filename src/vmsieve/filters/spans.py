"""Where the struct pages of page frames are, as far as they are plausible.

Page tables lead to them, and may be damaged. Any kernel's struct pages describe the memory that they are in as the
kernel's own.
"""

from __future__ import annotations

from vmsieve.filters.loops import parameters as at
from vmsieve.filters.loops.classify import classify_pages
from vmsieve.filters.parameters import Parameters
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.page_layout import PageLayout

_WORD: Final = (1 << 64) - 1
_TOGETHER: Final = 32768  # struct pages believed together: 2 MiB of them, usually mapped by one page table entry


@record
class Span:
    """Struct pages one behind the other in virtual memory."""

    first_pfn: int
    count: int
    vaddr: int  # of the first
    paddr: int  # if they are one behind the other in physical memory, too; else -1


class Spans:
    """Finds the struct pages of one kernel. ``parameters``: with all rules in ``applicable`` that can be applied."""

    def __init__(
        self, memory: VirtualMemory, memmap: MemMap, layout: PageLayout, parameters: Parameters, applicable: int,
        page_size: int,
    ) -> None:  # fmt: skip
        self._memory, self._memmap, self._layout = memory, memmap, layout
        self._parameters, self._applicable, self._page_size = parameters, applicable, page_size
        self.size = layout.size
        #: Physical address behind the last struct pages that were believed.
        self.believed_end: int | None = None

    def base(self, span: Span) -> int:
        """The virtual address that page frame 0's struct page would have beside those of ``span``."""
        return span.vaddr - span.first_pfn * self._layout.size & _WORD

    def believed(self, first_pfn: int, end_pfn: int, give_up: Callable[[int], None]) -> Iterator[Span]:
        """Yield the struct pages of ``first_pfn .. end_pfn`` in spans as long as possible.

        ``give_up`` is called with the number of those that are not plausible.
        """
        size = self._layout.size
        for run in self._memmap.runs(first_pfn, end_pfn):
            last: Span | None = None
            for start in range(0, run.count, _TOGETHER):
                span = Span(run.first_pfn + start, min(_TOGETHER, run.count - start), run.vaddr + start * size, -1)
                believed = self._is_plausible(span)
                if believed and last is not None and last.paddr >= 0 and span.paddr == last.paddr + last.count * size:
                    last.count += span.count
                    continue
                if last is not None:
                    yield last
                last = span if believed else None
                if not believed:
                    give_up(span.count)
            if last is not None:
                yield last

    def _is_plausible(self, span: Span) -> bool:
        """True if struct pages describe their own memory as the kernel's; sets ``paddr``.

        If damaged page tables lead elsewhere, the first and the last of them will hardly both say so. Struct pages that
        follow believed ones in physical memory too are believed with them.
        """
        size, vaddr = span.count * self._layout.size, span.vaddr
        try:
            start, together = self._memory.translate(vaddr)
        except VmsieveError:
            start, together = -1, 0
        believed = start == self.believed_end
        believed = believed or all(self._is_kernels(span, vaddr + at) for at in (0, size - self._layout.size))
        self.believed_end = start + size if believed and together >= size else None
        if together >= size:
            span.paddr = start
        return believed

    def _is_kernels(self, span: Span, vaddr: int) -> bool:
        """True if no rule matches the page frame that holds the struct page at ``vaddr``, as far as can be told."""
        layout = self._layout
        try:
            pfn = self._memory.translate(vaddr)[0] // self._page_size
            run = next(self._memmap.runs(pfn, pfn + 1), None)
            if run is None:
                return True
            page = bytearray(layout.size)
            # read_into, as it does not note the block among blocks_read.
            self._memory.read_into(run.vaddr, memoryview(page))
        except VmsieveError:
            return True  # found again when the span is read
        at_tail = layout.offset_tail
        if at_tail is not None and self._memory.physical.number(page[at_tail : at_tail + 8]) & 1:
            return False
        parameters, classes = Parameters(bytes(self._parameters.words)), bytearray(1)
        parameters.reset_state()
        parameters[at.BASE], parameters[at.ACTIVE], parameters[at.MARKS] = self.base(span), self._applicable, 0
        classify_pages(parameters.address, address_of(page), pfn, 1, 0, address_of(classes))
        return classes[0] == 0
