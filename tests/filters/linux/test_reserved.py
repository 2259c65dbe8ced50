"""PG_reserved pages, of the kernel image and firmware, are kept whatever else their struct pages say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.dumps import dump
from tests.filters.classify_kit import bits, opened, run
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.constants import bit_of_reserved
from vmsieve.filters.linux.resolver import TYPES
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

#: Pages of each class that a dump level drops, one range a class, heads of compound pages and tails among them.
DROPPED = (
    range(0x200, 0x210), range(0x240, 0x250), range(0x260, 0x270), range(0x280, 0x290), range(0x300, 0x301),
    range(0x400, 0x440), range(0x600, 0x640), range(0x850, 0x854),
)  # fmt: skip


def marked(name: str, pfns: range) -> Machine:
    """A machine where the struct pages of ``pfns`` have PG_reserved and are otherwise unchanged."""
    built = Machine(LAYOUTS[name], EVERYTHING)
    for pfn in pfns:
        built.set(pfn, flags=built.get(pfn, "flags") | built.layout.reserved)
    return built


@pytest.mark.parametrize("name", ["4.4", "4.16", "6.1", "6.6", "6.10", "7.2"])
def test_a_page_with_pg_reserved_is_kept(name: str, tmp_path: Path) -> None:
    """As page cache, user memory, swap cache, hugetlb or huge page, head or tail; makedumpfile drops each of them."""
    plain, _ = opened(Machine(LAYOUTS[name], EVERYTHING), tmp_path)
    before = bits(run(plain, gather_knowledge(plain), 31).kept)
    plain.close()
    for pfns in DROPPED:
        source, knowledge = opened(marked(name, pfns), tmp_path)
        found = run(source, knowledge, 31)
        assert set(pfns) <= bits(found.kept)
        assert not set(pfns) & before
        assert not found.weaker
        source.close()


@pytest.mark.parametrize("name", ["6.1", "6.12"])
def test_broken_and_offline_pages_stay_out(name: str, tmp_path: Path) -> None:
    """Broken and offline pages are not read even with PG_reserved; hotplugged blocks had it with PG_offline."""
    pfns = [*range(0x820, 0x834), 0x872]
    built = Machine(LAYOUTS[name], EVERYTHING)
    for pfn in pfns:
        built.set(pfn, flags=built.get(pfn, "flags") | built.layout.reserved)
    source, knowledge = opened(built, tmp_path)
    assert not set(pfns) & bits(run(source, knowledge, 31).kept)
    source.close()


def test_a_reserved_head_keeps_its_tails(tmp_path: Path) -> None:
    """A compound page of the kernel is kept as a whole."""
    source, knowledge = opened(marked("6.12", range(0x400, 0x401)), tmp_path)
    assert set(range(0x400, 0x600)) <= bits(run(source, knowledge, 31).kept)
    source.close()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_flag_follows_from_those_that_are_exported(name: str) -> None:
    """The bit of PG_reserved is right for all known kernels, also with a key missing."""
    layout = LAYOUTS[name]
    lines = [f"{key}={value}\n" for key, value in layout.keys().items()]
    for lacking in ("", "NUMBER(PG_private)", "NUMBER(PG_lru)"):
        text = "".join(line for line in lines if not lacking or not line.startswith(lacking))
        bit = bit_of_reserved(VmcoreInfo(text.encode()))
        assert bit is not None
        assert 1 << bit == layout.reserved


def test_an_unknown_kernels_types_give_the_flag(scratch: Path) -> None:
    """An unknown kernel's types give the same bit; without types the bit is unknown."""
    source = open_source(str(dump("demo.elf", scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.info is not None
    known = bit_of_reserved(knowledge.info)
    odd = VmcoreInfo(b"NUMBER(PG_lru)=50\n")
    assert bit_of_reserved(odd) is None
    odd = VmcoreInfo(b"NUMBER(PG_lru)=50\n")
    odd.resolver = gather_knowledge(source, b"OSRELEASE=1\n").info.resolver  # type: ignore[union-attr]
    assert bit_of_reserved(odd) == known
    assert odd.origins == {"NUMBER(PG_reserved)": TYPES}
    source.close()
