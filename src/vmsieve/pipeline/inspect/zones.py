"""Pages of each NUMA node and zone, counted by class."""

from __future__ import annotations

from vmsieve.filters.histogram import Histogram, tally
from vmsieve.filters.linux.zones import find_zones
from vmsieve.formats.bitmap import BLOCK, count_ones, cut_bits
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.dump.scan import blocks_with_memory, open_classifier

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.filters.linux.zones import Zone
    from vmsieve.formats.inputs import Source


def known_zones(knowledge: Knowledge, notes: list[str]) -> list[Zone]:
    """Find the zones; empty if they are unknown: ``notes`` says why."""
    if knowledge.memory is None or knowledge.info is None:
        notes.append(f"zones are not known: {knowledge.problem}")
        return []
    try:
        return find_zones(knowledge.memory, knowledge.info, notes)
    except VmsieveError as error:
        notes.append(f"zones are not known: {error}")
        return []


def count_zones(source: Source, knowledge: Knowledge, notes: list[str]) -> list[dict[str, Any]]:
    """Classify the pages of each zone by their struct pages; return its place and stored page frames, as in JSON.

    A page counts for the first rule that level 31 drops it for; ``"kept"``: pages of no class, zero pages included, as
    page data are not read. Empty if the zones are unknown; ``notes`` says why.
    """
    return [
        {
            "node": zone.node, "zone": zone.name, "first_pfn": zone.first_pfn, "end_pfn": zone.end_pfn,
            "pages": _count(source, knowledge, zone),
        }
        for zone in known_zones(knowledge, notes)
    ]  # fmt: skip


def _count(source: Source, knowledge: Knowledge, zone: Zone) -> dict[str, int]:
    end = min(zone.end_pfn, knowledge.max_pfn(source.end()))
    classifier = open_classifier(knowledge, 31, [])
    histogram, stored_pages = Histogram(), 0
    for first in blocks_with_memory(end, knowledge.page_size, source):
        if first + BLOCK <= zone.first_pfn:
            continue
        _, stored = source.memory_bits(first, BLOCK, knowledge.page_size)
        cut_bits(stored, end - first, zone.first_pfn - first)
        stored_pages += count_ones(stored)
        if classifier is not None:
            classifier.sieve(first, stored, histogram)
    if classifier is None:
        return {"kept": stored_pages}
    counts = tally(histogram, classifier.rules, 31)
    counts["kept"] = 0
    counts["kept"] = stored_pages - sum(counts.values())
    return counts
