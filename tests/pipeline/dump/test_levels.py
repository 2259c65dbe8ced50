"""The page selection equals makedumpfile's, bit for bit, at every dump level."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.build.memory_file import bits
from tests.dumps import answers, dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.bitmap import Bitmap
    from vmsieve.formats.inputs import Source

DUMPS = [
    "demo.elf", "x86_64-6.1-kdump.elf", "x86_64-7.2-live.elf", "s390x-6.1.s390", "aarch64-6.1-live.elf",
    "ppc64le-6.1-kdump.elf",
]  # fmt: skip

# makedumpfile's names of the classes.
WORDS = {
    "cache": "Non-private cache pages",
    "cache_private": "Private cache pages",
    "user": "User process data pages",
    "free": "Free pages",
    "hwpoison": "Hwpoison pages",
    "offline": "Offline pages",
}


def digest(blocks: list[bytes]) -> str:
    return hashlib.sha256(b"".join(blocks).rstrip(b"\0")).hexdigest()


@pytest.mark.parametrize("name", DUMPS)
def test_bitmaps_and_counts_equal_makedumpfiles(name: str, scratch: Path) -> None:
    """Both bitmaps and the count of each class, at all 32 levels."""
    expected = answers(name.rsplit(".", 1)[0])["levels"]
    source = open_source(str(dump(name, scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.problem is None
    for level in range(32):
        found, answer = scan(source, knowledge, level, Silent(), whole=False), expected[str(level)]
        assert digest(list(found.exists)) == answer["bitmap1_sha256"], level
        assert digest(list(found.kept)) == answer["bitmap2_sha256"], level
        # Classes are not counted if no struct page had to be read.
        counts = Counter(found.counts)
        counts["free"] += counts["unaccepted"]
        assert {word: counts[rule] for rule, word in WORDS.items()} == {w: answer["counts"][w] for w in WORDS.values()}
        assert not found.weaker
        assert found.notes == []
    source.close()


@pytest.mark.parametrize("name", DUMPS)
def test_one_census_serves_every_level(name: str, scratch: Path) -> None:
    """One thorough scan gives the counts of 32 runs of makedumpfile, zero pages included.

    Memory that makedumpfile leaves out at any level is added.
    """
    expected = answers(name.rsplit(".", 1)[0])["levels"]
    source = open_source(str(dump(name, scratch)))
    knowledge = gather_knowledge(source)
    class_counts = count_classes(source, knowledge, Silent())
    more = bits_beyond_makedumpfile(source, knowledge)
    zero = sum(not any(content(source, pfn, knowledge.page_size)) for pfn in more)
    for level in range(32):
        answer = expected[str(level)]
        assert class_counts.level(level)["pages"] == answer["kept"] + len(more), level
        if level == 31:
            assert class_counts.pages()["zero"] == answer["counts"]["Pages filled with zero"] + zero
    source.close()


@pytest.mark.parametrize("name", DUMPS)
def test_memory_that_makedumpfile_leaves_out_is_kept(name: str, scratch: Path) -> None:
    """A dump keeps makedumpfile's selection plus all memory without a struct page or stored in part, nothing else."""
    source = open_source(str(dump(name, scratch)))
    knowledge = gather_knowledge(source)
    more = bits_beyond_makedumpfile(source, knowledge)
    for level in (0, 31):
        whole = scan(source, knowledge, level, Silent())
        theirs = scan(source, knowledge, level, Silent(), whole=False)
        assert pfns(whole.kept) - pfns(theirs.kept) == more
        assert pfns(theirs.kept) <= pfns(whole.kept)
        assert whole.counts == theirs.counts
        assert (whole.left_out, sum(one.size for one in theirs.left_out) > 0) == ([], bool(more))
    source.close()


def pfns(bitmap: Bitmap) -> set[int]:
    return {n * bitmap.block + pfn for n in bitmap.filled() for pfn in bits(bytearray(bitmap[n]))}


def bits_beyond_makedumpfile(source: Source, knowledge: Knowledge) -> set[int]:
    """Stored page frames that makedumpfile ignores, computed slowly: each range, each end of it."""
    size, end = knowledge.page_size, knowledge.covered_end(source.end())
    stored = [(r.start, r.stored_end) for r in source.ranges() if r.start < r.stored_end]
    cut = {at // size for span in stored for at in span if at % size}
    above = {pfn for start, stop in stored for pfn in range(max(start // size, end), -(-stop // size))}
    return cut | above


def content(source: Source, pfn: int, size: int) -> bytes:
    page = bytearray(size)
    source.read_into(pfn * size, memoryview(page))
    return bytes(page)


def test_doubts_without_end_keep_every_page(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is less plausible with each scan is not scanned endlessly."""
    monkeypatch.setattr("vmsieve.pipeline.dump.scan.doubt_scan", lambda *_: True)
    source = open_source(str(dump("demo.elf", scratch)))
    found = scan(source, gather_knowledge(source), 31, Silent())
    assert list(found.kept) == list(found.stored)
    assert found.weaker
    assert found.notes == ["every page is kept: each scan of its struct pages finds more impossible ones"]
    source.close()
