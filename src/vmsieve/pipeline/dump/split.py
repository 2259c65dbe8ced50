"""Split dumps: one dump in several files, each with an equal share of the kept pages."""

from __future__ import annotations

from collections import deque
from itertools import combinations

from vmsieve.formats.bitmap import Bitmap, blocks_between, count_ones, cut_bits
from vmsieve.formats.errors import UsageError
from vmsieve.formats.outputs._split import SplitWriter
from vmsieve.formats.slim.contexts import ExitStack
from vmsieve.formats.slim.records import replace
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.dump.batches import Gatherer
from vmsieve.pipeline.dump.output import DumpOutput
from vmsieve.pipeline.process.writing import same_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.bitmap import PageBits
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Description, OutputFormat, Writer
    from vmsieve.pipeline.dump.batches import Chunk
    from vmsieve.pipeline.dump.plan import Plan


def cut_evenly(kept: PageBits, parts: int, max_pfn: int) -> list[int]:
    """Cut a dump into parts with equal numbers of kept pages.

    Returns ``parts + 1`` page frames, from 0 to ``max_pfn``: part *i* is from the *i*-th up to the next one.
    """
    wanted = [kept.count() * number // parts for number in range(1, parts)]
    cuts, before = [0], 0
    for block in kept.filled():
        bits = kept[block]
        there = _count(bits, kept.block)
        while wanted and wanted[0] <= before + there:
            cuts.append(block * kept.block + _find(bits, wanted.pop(0) - before))
        before += there
    return [*cuts, *[max_pfn] * (parts + 1 - len(cuts))]


def _count(bits: bytes, end: int) -> int:
    """Count the bits set among the first ``end``."""
    part = bytearray(bits)
    cut_bits(part, end)
    return count_ones(part)


def _find(bits: bytes, count: int) -> int:
    """Return the smallest number of leading bits of which ``count`` are set."""
    low, high = 0, 8 * len(bits)
    while low < high:
        middle = (low + high) // 2
        if _count(bits, middle) < count:
            low = middle + 1
        else:
            high = middle
    return low


class InTurns:
    """Chooses batches from each part in turn, so that all files grow in parallel, perhaps on separate disks."""

    def __init__(self, kept: Bitmap, stored: Bitmap, source: Source, cuts: Sequence[int], *, zeros: bool) -> None:
        parts = [_between(kept, start, end) for start, end in zip(cuts, cuts[1:])]
        self._left = deque(Gatherer(part, stored, source, zeros=zeros) for part in parts)

    def claim(self, pages: Chunk) -> bool:
        """Choose the next pages for a batch, all from one part; False if none is left."""
        while self._left:
            gatherer = self._left.popleft()
            if gatherer.claim(pages):
                self._left.append(gatherer)
                return True
        return False


def _between(bitmap: Bitmap, start: int, end: int) -> Bitmap:
    """Copy the bits of ``bitmap`` from ``start`` up to ``end``."""
    found = Bitmap()
    for number, bits in blocks_between(bitmap, start, end):
        found.put(number, bits)
    return found


class SplitOutput:
    """The opened files of a split dump, with the interface of :class:`DumpOutput`."""

    cuts: Sequence[int] = ()  # see cut_evenly; set by writer()
    flattened = False
    any_order = True

    def __init__(self, plan: Plan, form: OutputFormat) -> None:
        """Open the files; raises OutputError, or UsageError if one is named twice or has no random access."""
        if any(same_output(one, other) for one, other in combinations(plan.split, 2)):
            raise UsageError("a file of the split dump is named twice")
        with ExitStack() as stack:
            self._outputs = [
                stack.enter_context(DumpOutput(replace(plan, output=path, split=()), form)) for path in plan.split
            ]
            for path, output in zip(plan.split, self._outputs):
                if output.flattened:
                    raise UsageError("a file of a split dump must be a regular file or a disk", file=path)
            self._stack = stack.pop_all()
        self.removable = all(output.removable for output in self._outputs)
        self.place = _Places(self._outputs)

    def writer(self, form: OutputFormat, description: Description) -> Writer:
        self.cuts = cut_evenly(description.kept, len(self._outputs), description.max_pfn)
        return SplitWriter(form, description, [output.place for output in self._outputs], self.cuts)

    def finish(self) -> None:
        """Finish every file, even if one fails."""
        with ExitStack() as stack:
            for output in self._outputs:
                stack.callback(output.finish)

    def space(self) -> int | None:
        """As of :class:`DumpOutput`, of the fullest file system."""
        found = [space for output in self._outputs if (space := output.space()) is not None]
        return min(found, default=None)

    def size(self) -> int:
        return sum(output.size() for output in self._outputs)

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class _Places:
    """The places of several outputs."""

    def __init__(self, outputs: Sequence[DumpOutput]) -> None:
        self._outputs = outputs

    def finish(self) -> None:
        """See :class:`vmsieve.formats.outputs.Place`."""
        with ExitStack() as stack:
            for output in self._outputs:
                stack.callback(output.place.finish)
