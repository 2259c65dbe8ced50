"""Several threads find what one finds, wherever the cuts between their blocks are and whatever is damaged."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERY_CLASS, PAGE, SECTION, Machine
from tests.filters.classify_kit import opened
from tests.pipeline.cli_kit import vmsieve
from vmsieve.filters.classify import Classifier
from vmsieve.filters.doubts import Doubts
from vmsieve.filters.histogram import Histogram
from vmsieve.filters.loops import parameters as at
from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import open_classifier, scan
from vmsieve.pipeline.dump.sieves import sieve_blocks
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

_STATE = (at.BLOCK_END, at.BLOCK_CLASS, at.COMPOUND_END, at.COMPOUND_CLASS, at.COMPOUND_HEAD, at.SLABS, at.BASE)


def found(source: Source, knowledge: Knowledge, size: int, threads: int, doubts: Doubts) -> tuple[Any, ...]:
    """All results of a scan in blocks of ``size`` page frames, by one thread (0: not as blocks) or several."""
    classifier = open_classifier(knowledge, 31, [], doubts=doubts)
    assert classifier is not None
    histogram, blocks, warnings = Histogram(), [], list[str]()
    firsts = iter(range(0, knowledge.max_pfn(source.end()), size))

    def bits(first: int) -> tuple[bytearray, bytearray]:
        return source.memory_bits(first, size, PAGE)

    if threads:
        blocks = [*sieve_blocks(classifier, firsts, bits, histogram, threads, warnings.append)]
    else:
        for first in firsts:
            exists, stored = bits(first)
            kept = bytearray(stored)
            classifier.sieve(first, kept, histogram)
            blocks.append((first, exists, stored, kept))
    words = [bool(word) if 8 * i in _STATE else word for i, word in enumerate(classifier.parameters.words)]
    for place in _STATE:
        words[place // 8] = place == at.SLABS and words[place // 8]
    memory = classifier.struct_page_memory
    return (
        [tuple(map(bytes, block[1:])) for block in blocks], [block[0] for block in blocks], [*histogram], words,
        [*memory.pieces()], memory.aliased, memory.foreign, classifier.unread, classifier.notes, classifier.weaker,
        classifier.seen, warnings,
    )  # fmt: skip


def damaged(kind: str) -> Machine:
    """A machine with every class of pages, and a free block and a compound page of 1024 and 512 pages."""
    built = Machine(LAYOUTS["6.12"], f"{EVERY_CLASS}0x10400-0x107ff free order=10\n0x10200-0x103ff user order=9\n")
    if kind == "noise":
        for pfn in range(0x600, 0x1000):
            built.poke(pfn, 0, bytes([pfn & 0xFF, pfn >> 8 & 0xFF, 0x55]) * 21 + b"\xff")
    elif kind == "twice":
        place = built.map_at(built.sections[0])
        built.map_at = lambda section: place  # type: ignore[method-assign]  # noqa: ARG005
    elif kind == "foreign tails":
        for pfn in range(0x10280, 0x10300):
            built.set(pfn, head=0xFFFFEA0000000001)
    return built


@pytest.mark.parametrize("size", [64, 512, 4096, SECTION])
@pytest.mark.parametrize("kind", ["sound", "noise", "twice", "foreign tails", "contested", "short"])
def test_threads_find_what_one_finds(kind: str, size: int, tmp_path: Path) -> None:
    """Bitmaps, counts, counters, notes and doubts are equal."""
    built = damaged(kind)
    source, knowledge = opened(built, tmp_path)
    if kind == "short":
        path = tmp_path / "machine.elf"
        path.write_bytes(path.read_bytes()[: -(7 << 20)])
        source.close()
        source = open_source(str(path))
        knowledge = _knowledge(source)
    place = built.map_at(built.sections[1])
    doubts = Doubts(contested=[(place + 0x1000, place + 0x2000)] if kind == "contested" else [])
    one = found(source, knowledge, size, 0, doubts)
    for threads in (1, 2, 3):
        assert found(source, knowledge, size, threads, doubts) == one
    source.close()


def _knowledge(source: Source) -> Knowledge:
    from vmsieve.filters.gather import gather_knowledge

    return gather_knowledge(source)


@pytest.mark.parametrize(("size", "ahead"), [(SECTION, True), (512, False)])
def test_a_sound_machine_is_sieved_ahead(
    size: int, ahead: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block is sieved twice, unless it cuts a free block or a compound page."""
    source, knowledge = opened(damaged("sound"), tmp_path)
    calls, sieve = list[int](), Classifier.sieve

    def counted(self: Classifier, first_pfn: int, *rest: Any) -> None:
        calls.append(first_pfn)
        sieve(self, first_pfn, *rest)

    monkeypatch.setattr(Classifier, "sieve", counted)
    found(source, knowledge, size, 2, Doubts())
    assert (not calls) == ahead
    source.close()


def test_the_scan_uses_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result of :func:`scan` is that of one thread, and one thread starts none."""
    source, knowledge = opened(damaged("sound"), tmp_path)
    started, start = list[threading.Thread](), threading.Thread.start

    def counted(self: threading.Thread) -> None:
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", counted)
    one = scan(source, knowledge, 31, Silent())
    assert not started
    several = scan(source, knowledge, 31, Silent(), threads=3)
    assert len(started) == 2
    for name in ("exists", "stored", "kept"):
        assert getattr(one, name).packed() == getattr(several, name).packed()
    assert (one.counts, one.uncovered, one.notes, one.weaker) == (
        several.counts, several.uncovered, several.notes, several.weaker,
    )  # fmt: skip
    assert one.exists.block == BLOCK
    source.close()
    core = str(tmp_path / "machine.elf")
    for threads in (1, 3):
        assert vmsieve("dump", "-d", 31, "--threads", threads, core, tmp_path / f"{threads}").status == 0
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()
