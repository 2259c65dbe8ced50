"""Classes of importance of kernels whose symbols name their text only: no data symbols, perhaps no types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.build.memory_file import bits
from tests.dumps import ROOT, dump, unpacked
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.importance import _marks, importance
from vmsieve.filters.importance._finder import find_importance
from vmsieve.filters.importance._kernel import Kernel
from vmsieve.filters.importance._search import search
from vmsieve.filters.linux.kallsyms import Kallsyms
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vmsieve.filters.knowledge import Knowledge

ZOO = ROOT / "tests" / "zoo"
#: Kernels with areas outside of the linear map, and skeletons that have their page tables.
MAPPED = ("aarch64-6.1", "aarch64-6.12-48", "aarch64-6.12-52", "ppc64le-6.1-kdump", "ppc64le-6.12-64k-kdump")
TEXT = ("_stext", "_etext")
TYPES = {name for one in importance() for name in one.types} | {
    "kmem_cache",
    "page",
    "slab",
    "_slab_flag_bits",
    "nsproxy",
}
SYMBOLS = {name for one in importance() for name in one.symbols} | {*_marks.SYMBOLS}


@pytest.fixture
def text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The symbol table has names of text only."""
    addresses = Kallsyms.addresses
    monkeypatch.setattr(
        Kallsyms,
        "addresses",
        lambda table, names: {name: at for name, at in addresses(table, names).items() if name in TEXT},
    )


@pytest.fixture
def known(scratch: Path) -> Iterator[Knowledge]:
    source = open_source(str(dump("demo.elf", scratch)))
    yield gather_knowledge(source)
    source.close()


def kernel(known: Knowledge) -> Kernel:
    assert known.memory is not None
    assert known.info is not None
    assert known.memmap is not None
    found = Kernel(known.memory, known.info, known.memmap, known.page_size, SYMBOLS, TYPES)
    search(found, TYPES)
    return found


def pages(known: Knowledge) -> dict[str, set[int]]:
    return {name: set(bits(found(0))) for name, _, found in find_importance(known)}


def test_variables_and_types_are_found_by_a_search(known: Knowledge, request: pytest.FixtureRequest) -> None:
    with_names = kernel(known)
    request.getfixturevalue("text_only")
    without = kernel(known)
    found = ("init_task", "init_pid_ns", "slab_caches", "__start_BTF", "__stop_BTF")
    assert [without.symbols[name] for name in found] == [with_names.symbols[name] for name in found]
    assert "modules" not in without.symbols
    assert without.size("task_struct") == with_names.size("task_struct")


def test_classes_are_nearly_the_same_without_names(known: Knowledge, request: pytest.FixtureRequest) -> None:
    named = pages(known)
    request.getfixturevalue("text_only")
    hidden = pages(known)
    for name in ("tables", "log", "registers", "task_slabs", "slab", "reclaimable", "memmap", "text"):
        assert hidden[name] == named[name], name
    # Without per-CPU areas, all but the idle tasks of other processors.
    assert hidden["tasks"] < named["tasks"]
    assert len(hidden["tasks"]) > len(named["tasks"]) * 0.8
    # Variables have no names: those around the ones that VMCOREINFO names are taken.
    assert len(hidden["variables"] & named["data"]) > len(named["data"]) // 4
    assert named["names"] & hidden["names"]
    assert named["data"] & hidden["unnamed"]
    assert hidden["unnamed_boot"] == hidden["boot"]
    assert not named["unnamed"] | named["unnamed_boot"]
    assert not hidden["data"] & hidden["text"]


def test_tasks_are_found_without_types(
    known: Knowledge, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks, their stacks, and the tree of process numbers, by the shape of the lists alone."""
    request.getfixturevalue("text_only")
    typed = pages(known)
    monkeypatch.setattr("vmsieve.filters.importance._search.find_btf", lambda *_: None)
    untyped = pages(known)
    # Nothing tells how long a task is.
    assert len(typed["tasks"] - untyped["tasks"] - untyped["variables"]) < len(typed["tasks"]) // 20
    assert len(untyped["tasks"]) < 4 * len(typed["tasks"])


def test_the_search_reads_the_kernel_image_only(known: Knowledge, text_only: None, monkeypatch: Any) -> None:
    del text_only
    assert known.memory is not None
    start = kernel(known).memory.translate(kernel(known).symbol("__start_rodata"))[0]
    searched: list[tuple[int, int]] = []

    def scan(_: object, low: int, high: int, *, keep: int) -> Iterator[tuple[int, bytearray]]:
        del keep
        searched.append((low, high))
        return iter(())

    monkeypatch.setattr("vmsieve.filters.importance._search.scan_memory", scan)
    found = kernel(known)
    assert "init_task" not in found.symbols
    assert found.types is None
    assert all(start <= low < high <= start + (128 << 20) for low, high in searched)
    assert searched


def test_damaged_lists_end_the_search(known: Knowledge, text_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks on no list are not the first one, and cost no other class."""
    del text_only
    monkeypatch.setattr("vmsieve.filters.importance._search.IDLE", (b"swapper/7\0", b"\0" * 8))
    found = pages(known)
    assert not found["tasks"]
    assert found["data"]


@pytest.mark.parametrize("name", MAPPED)
def test_areas_outside_of_the_linear_map(name: str, scratch: Path) -> None:
    """Where stacks and modules are, by page tables alone."""
    source = open_source(str(unpacked(ZOO / f"{name}.zst", scratch)))
    known = gather_knowledge(source)
    assert known.memory is not None
    found = {one: count(bits_of, known) for one, _, bits_of in find_importance(known)}
    assert 0 < found["vmalloc"] < 20_000
    translator = known.memory.translator
    _, end = translator.linear()[-1]
    above = list(translator.leaves(end, 1 << 64))
    assert [leaf.vaddr for leaf in above] == sorted(leaf.vaddr for leaf in above)
    for leaf in above[:: len(above) // 50 or 1]:
        assert translator.translate(leaf.vaddr)[0] == leaf.paddr
        assert translator.translate(leaf.vaddr)[1] >= leaf.size
    source.close()


def count(bits_of: Any, known: Knowledge) -> int:
    assert known.memmap is not None
    return sum(len(list(bits(bits_of(number)))) for number in range(-(-known.memmap.end_pfn // (1 << 15))))
