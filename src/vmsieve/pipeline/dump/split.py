"""A dump shared out among several files: where it is cut, and the files."""

from __future__ import annotations

from collections import deque
from itertools import combinations
from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import Bitmap, address_of, cut_bits
from vmsieve.formats.errors import UsageError
from vmsieve.formats.loops.bits import count_bits
from vmsieve.formats.outputs._split import SplitWriter
from vmsieve.formats.slim.contexts import ExitStack
from vmsieve.formats.slim.records import replace
from vmsieve.pipeline.dump.batches import Gatherer
from vmsieve.pipeline.dump.target import Target
from vmsieve.pipeline.process.writing import same_place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Description, OutputFormat, PageBits, Writer
    from vmsieve.pipeline.dump.batches import PageBatch
    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.dump.scan import Scan

__all__ = ["InTurns", "SplitTarget", "cut_evenly"]


def cut_evenly(kept: PageBits, parts: int, max_pfn: int) -> list[int]:
    """Where to cut a dump so that its parts hold equally many pages: ``parts + 1`` page frames, 0 and ``max_pfn`` too.

    The page frames of part *i* begin at the *i*-th, and end before the next one.
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
    """How many of the first ``end`` bits are set."""
    part = bytearray(bits)
    cut_bits(part, end)
    return count_bits(address_of(part), len(part))


def _find(bits: bytes, count: int) -> int:
    """The least number of bits among which ``count`` are set."""
    low, high = 0, 8 * len(bits)
    while low < high:
        middle = (low + high) // 2
        if _count(bits, middle) < count:
            low = middle + 1
        else:
            high = middle
    return low


class InTurns:
    """Hands out kept pages of each part in turn, so that all files grow side by side, maybe on a disk each."""

    def __init__(self, scan: Scan, source: Source, cuts: Sequence[int]) -> None:
        """Get ready to choose; ``cuts``: see :func:`cut_evenly`."""
        parts = [_between(scan.kept, start, end) for start, end in zip(cuts, cuts[1:])]
        self._left = deque(Gatherer(part, scan.stored, source) for part in parts)

    def claim(self, pages: PageBatch) -> bool:
        """Choose the next pages for a buffer, all of one part; False when there are no more."""
        while self._left:
            gatherer = self._left.popleft()
            if gatherer.claim(pages):
                self._left.append(gatherer)
                return True
        return False


def _between(bitmap: Bitmap, start: int, end: int) -> Bitmap:
    """The bits of ``bitmap`` from ``start`` up to ``end``."""
    found = Bitmap()
    for block in bitmap.filled():
        first = block * bitmap.block
        if start < first + bitmap.block and first < end:
            bits = bytearray(bitmap[block])
            cut_bits(bits, end - first, start - first)
            found.skip(block - len(found))
            found.append(bits)
    return found


class SplitTarget:
    """The opened files of a plan; a context that closes them. It stands for a :class:`Target`, and for its place.

    Attributes:
        cuts: Where the dump is cut, once it has a writer.
    """

    cuts: Sequence[int] = ()

    def __init__(self, plan: Plan, form: OutputFormat) -> None:
        """Open them.

        Raises:
            OutputError: One exists and overwriting was not asked for, or is the input, or can't be opened.
            UsageError: One is named twice, or can't be written at chosen positions.
        """
        if any(same_place(one, other) for one, other in combinations(plan.split, 2)):
            raise UsageError("a file is named twice among those that the dump is to be shared out to")
        with ExitStack() as stack:
            self._targets = [
                stack.enter_context(Target(replace(plan, output=path, split=()), form)) for path in plan.split
            ]
            for path, target in zip(plan.split, self._targets):
                if target.flattened:
                    raise UsageError("a file of a split dump must be a regular file or a disk", file=path)
            self._stack = stack.pop_all()
        self.removable = all(target.removable for target in self._targets)
        #: What is brought to its end, as a place is.
        self.place = _Places(self._targets)

    def writer(self, form: OutputFormat, description: Description) -> Writer:
        """What writes to the files."""
        self.cuts = cut_evenly(description.kept, len(self._targets), description.max_pfn)
        return SplitWriter(form, description, [target.place for target in self._targets], self.cuts)

    def finish(self) -> None:
        """See :class:`Target`: all files are, whatever becomes of one."""
        with ExitStack() as stack:
            for target in self._targets:
                stack.callback(target.finish)

    def size(self) -> int:
        """Bytes written, of all files."""
        return sum(target.size() for target in self._targets)

    def __enter__(self) -> SplitTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


class _Places:
    """The places of several targets."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    def finish(self) -> None:
        """See :class:`vmsieve.formats.outputs.Place`."""
        with ExitStack() as stack:
            for target in self._targets:
                stack.callback(target.place.finish)
