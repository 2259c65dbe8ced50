"""Struct page constants that no known kernel has are rejected unless the rest of the dump confirms them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from perf.corruption import Subject

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.dumps import ROOT, dump, unpacked
from tests.filters.classify_kit import bits, opened, run
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.constants import check_constants
from vmsieve.filters.linux.resolver import MEMORY, SYMBOLS, TYPES
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.layouts import Layout

#: Keys of the layout 6.12, and a wrong number: another flag's, type's or field's, or an unused one.
WRONG = (
    ("NUMBER(PG_lru)", 2), ("NUMBER(PG_lru)", 9), ("NUMBER(PG_hwpoison)", 0), ("NUMBER(PG_head_mask)", 1 << 40),
    ("NUMBER(PG_private)", 13), ("NUMBER(PG_swapbacked)", 3), ("OFFSET(page.compound_head)", 40),
    ("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", (0xF5 << 24) - (1 << 32)), ("OFFSET(page.mapping)", 32),
    ("SIZE(page)", 128),
)  # fmt: skip


def told(layout: Layout, **other: str) -> VmcoreInfo:
    return VmcoreInfo("".join(f"{key}={value}\n" for key, value in {**layout.keys(), **other}.items()).encode())


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_kernels_pass(name: str) -> None:
    """Known kernels pass without a remark, also with an option off or in versions that lack a key."""
    info = told(LAYOUTS[name])

    def never(key: str, *, doubted: bool) -> None:
        pytest.fail(f"{key} {doubted}")

    info.resolver = never
    assert check_constants(info) == []
    for key in told(LAYOUTS[name]).keys:
        less = VmcoreInfo(re.sub(rf"(?m)^{re.escape(key)}=.*\n".encode(), b"", info.text))
        less.resolver = never
        assert check_constants(less) == []
    for size in (56, 64, 80):
        larger = told(LAYOUTS[name], **{"SIZE(page)": str(size)})
        larger.resolver = never
        assert check_constants(larger) == []


@pytest.mark.parametrize(("name", "key", "number"), [("6.12", key, number) for key, number in WRONG] + [
    ("6.1", "NUMBER(HUGETLB_PAGE_DTOR)", 1), ("6.1", "OFFSET(page.compound_dtor)", 18),
])  # fmt: skip
def test_an_impossible_number(name: str, key: str, number: int, tmp_path: Path) -> None:
    """A damaged constant that nothing confirms gives one remark and drops no page that should stay."""
    built = Machine(LAYOUTS[name], EVERYTHING)
    source, knowledge = opened(built, tmp_path)
    whole = bits(run(source, knowledge, 31).kept)
    source.close()
    built.keys[key] = str(number)
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert bits(found.kept) >= whole
    assert found.weaker or bits(found.kept) == whole
    assert any(note.startswith(f"{key}: ignored") for note in knowledge.notes)
    source.close()


@pytest.mark.parametrize("origins", [(MEMORY,), (SYMBOLS, TYPES)], ids=["memory", "types"])
def test_the_rest_of_the_dump_knows_better(origins: tuple[str, ...], scratch: Path) -> None:
    """Wrong constants are replaced, with a remark; right ones stay."""
    source = open_source(str(dump("demo.elf", scratch)))
    assert source.vmcoreinfo is not None
    right = VmcoreInfo(source.vmcoreinfo)
    for key in ("NUMBER(PG_lru)", "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", "OFFSET(page.mapping)", "SIZE(page)"):
        source.vmcoreinfo = re.sub(rf"{re.escape(key)}=.*".encode(), f"{key}=72".encode(), right.text)
        info = gather_knowledge(source, origins=origins).info
        assert info is not None
        assert (info.peek(key), list(info.origins)) == (right.peek(key), [key])
        assert f"or is wrong: {key} from" in (info.missing() or "")
    source.close()


def test_a_newer_kernel() -> None:
    """A newer kernel's flags are used if something else in the dump confirms them, otherwise rejected."""
    newer = told(LAYOUTS["7.2"], **{"NUMBER(PG_lru)": "7", "NUMBER(PG_private)": "12"})
    newer.resolver = lambda key, doubted: (newer.peek(key) or "", TYPES) if doubted else None
    assert check_constants(newer) == []
    assert (newer.number("PG_lru"), newer.origins, newer.rejected) == (7, {}, set())
    newer.resolver = lambda key, doubted: ("6", TYPES) if doubted and key == "NUMBER(PG_lru)" else None
    (said,) = check_constants(newer)
    assert "NUMBER(PG_lru)" in said
    assert (newer.number("PG_lru"), newer.number("PG_private"), newer.number("PG_swapbacked")) == (None, None, None)


def test_two_contradicting_numbers_are_both_rejected() -> None:
    """Two constants that match different kernels are both rejected."""
    info = VmcoreInfo(b"NUMBER(PG_lru)=4\nNUMBER(PG_head_mask)=64\n")
    assert len(check_constants(info)) == 1
    assert info.rejected == {"NUMBER(PG_lru)", "NUMBER(PG_head_mask)"}


@pytest.mark.parametrize("seed", ["4242/aarch64-6.12-16k-47/2", "k3/aarch64-6.12-64k-48/31"])
def test_a_wrong_flag_loses_no_page(seed: str, scratch: Path) -> None:
    """One digit of a flag in VMCOREINFO is changed, in a skeleton that has nothing to compare it with."""
    subject = Subject(unpacked(ROOT / "tests" / "zoo" / f"{seed.split('/')[1]}.zst", scratch))
    found = subject.trial(seed)
    assert (found.lost, found.failed, found.said) == ([], "", True), found.what
    subject.close()
