"""Blocks of page frames that are sieved ahead of their turn, each in a thread of its own.

A result counts only if nothing reaches into the block from the one before, and nothing about it was unusual: then it
equals that of :meth:`vmsieve.filters.classify.Classifier.sieve`. :meth:`BlockAhead.begin` and :meth:`BlockAhead.join`
take their turns; :meth:`BlockAhead.work` does not.
"""

from __future__ import annotations

from vmsieve.filters.histogram import Histogram
from vmsieve.filters.loops import parameters as at
from vmsieve.filters.parameters import Parameters
from vmsieve.filters.stored import StoredStructPages
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.mapping import anonymous
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vmsieve.filters.classify import Classifier

    #: First page frame, count, file descriptor and offset of the first struct page, and ``Spans.base``.
    Planned = tuple[int, int, tuple[int, int], int]

_BYTES: Final = 1 << 20  # of a buffer for a part's struct pages, of which half is used
#: What the loop counts; conflicts need marks, and tails with a foreign head end it.
_COUNTERS: Final = (at.SLABS, at.SLABS_ON_LRU, at.CONTRADICTIONS, *range(at.ORDERS_AT, 8 * at.WORDS, 8))
_STATE: Final = (at.BLOCK_END, at.BLOCK_CLASS, at.COMPOUND_END, at.COMPOUND_CLASS, at.COMPOUND_HEAD)


class BlockAhead:
    """One block at a time: its first page frame, and the bitmap of pages that are kept."""

    def __init__(self, classifier: Classifier) -> None:
        self.first, self.kept = 0, bytearray()
        self._classifier = classifier
        self._before: tuple[Any, ...] = ()
        self._plan: list[Planned] | None = None
        self._classes = bytearray(classifier.at_once)
        self._buffer = anonymous(_BYTES)
        self._stored = StoredStructPages(address_of(memoryview(self._buffer)), classifier.at_once)
        self._fresh = Parameters(bytes(classifier.parameters.words))
        self._fresh.clear((*_COUNTERS, *_STATE))
        self._parameters = Parameters()
        self._histogram = Histogram()
        self._done = False

    def begin(self, first: int, kept: bytearray) -> None:
        """Find out where the struct pages of a block are stored; ``kept``: see ``Classifier.sieve``."""
        self.first, self.kept = first, kept
        one = self._classifier
        memory = one.struct_page_memory.copy()
        self._before = memory, one.spans.believed_end, one.unread, one.weaker, len(one.notes)
        self._plan = self._planned(first + 8 * len(kept))
        if self._plan is None:
            self.undo()

    def undo(self) -> None:
        """Let the classifier forget this block, and those begun after it."""
        one = self._classifier
        one.struct_page_memory, one.spans.believed_end, one.unread, one.weaker, notes = self._before
        del one.notes[notes:]

    def _planned(self, end: int) -> list[Planned] | None:
        """Find the struct pages of the block, and note their memory; None if any are unusual."""
        one, found = self._classifier, []
        unread = one.unread
        for span in one.spans.believed(self.first, end, one.disbelieve):
            where = one.find_stored(span, 0)
            if where is None:
                return None
            one.struct_page_memory.note(0, [(span.paddr, span.count * one.spans.size)])
            found.append((span.first_pfn, span.count, where, one.spans.base(span)))
        return found if one.unread == unread else None

    def work(self) -> None:
        """Sieve the block, up to the first surprise."""
        self._done = False
        self._parameters, self._histogram = Parameters(bytes(self._fresh.words)), Histogram()
        for pfn, count, where, base in self._plan or ():
            self._parameters[at.BASE] = base
            done = self._stored.sieve(
                where, self._parameters, (pfn, count), address_of(self._classes), 0,
                (address_of(self.kept), pfn - self.first), self._classifier.drop, self._histogram,
            )  # fmt: skip
            if done < count:
                return
        self._done = self._plan is not None

    def join(self, histogram: Histogram) -> bool:
        """Add the result to the classifier's and to ``histogram``; False if it does not count."""
        parameters = self._classifier.parameters
        if not self._done or max(parameters[at.BLOCK_END], parameters[at.COMPOUND_END]) > self.first:
            return False
        for place in _STATE:
            parameters[place] = self._parameters[place]
        for place in _COUNTERS:
            parameters[place] += self._parameters[place]
        self._classifier.seen += sum(count for _, count, _, _ in self._plan or ())
        histogram.add(self._histogram)
        return True
