"""Choice of the kernel: wrong notes, other builds, several kernels in one dump."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, MIB, RAM, Machine
from tests.build.notes import note
from tests.build.two_kernels import FOREIGN, SECOND, remember_note, write_together
from tests.dumps import dump
from tests.filters.classify_kit import bits, run
from tests.pipeline.kit import expected
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux import consistency
from vmsieve.filters.linux.kernel_search import subtract
from vmsieve.filters.linux.memmap import MemMap
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import UsageError
from vmsieve.formats.inputs import Source, open_source

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = LAYOUTS["6.12"]
OTHER = LAYOUTS["6.6"]


def machine(base: int = 0, release: str | None = None) -> Machine:
    built = Machine(LAYOUT if release is None else OTHER, EVERYTHING, base=base)
    remember_note(built)
    return built


def kept(source: Source) -> tuple[set[int], bool, str]:
    """Page frames that level 31 keeps, whether less was left out than requested, and the remarks."""
    knowledge = gather_knowledge(source)
    found = run(source, knowledge, 31)
    return bits(found.kept), found.weaker, "\n".join(knowledge.notes + found.notes)


WRONG = {
    "addresses are zero": (rb"^(SYMBOL\(\w+\))=\w+$", rb"\1=0"),
    "page tables are elsewhere": (rb"^(SYMBOL\((?:init_top_pgt|swapper_pg_dir)\))=\w+$", rb"\1=ffffffff8d000000"),
    "phys_base of another boot": (rb"^NUMBER\(phys_base\)=\d+$", rb"NUMBER(phys_base)=20971520"),
    "KASLR of another boot": (rb"^(SYMBOL\(\w+\)=ffffffff8)1", rb"\g<1>4"),
    "sections are elsewhere": (rb"^SYMBOL\(mem_section\)=\w+$", rb"SYMBOL(mem_section)=ffff888000000000"),
    "another release": (rb"^OSRELEASE=.*$", rb"OSRELEASE=5.14.0-1"),
}


@pytest.mark.parametrize(("pattern", "other"), WRONG.values(), ids=WRONG)
def test_a_wrong_note_is_replaced_by_a_search(pattern: bytes, other: bytes, tmp_path: Path) -> None:
    """With a wrong note memory is searched: the same pages are kept as without one; the source gets the right text."""
    built = machine()
    text = re.sub(pattern, other, built.vmcoreinfo(), flags=re.MULTILINE)
    assert text != built.vmcoreinfo()
    source = open_source(str(write_together(tmp_path / "core", [built], text)))
    pages, weaker, said = kept(source)
    assert pages == expected(built, 31)
    assert not weaker
    assert "the file's VMCOREINFO is wrong: " in said
    assert "search of memory found is used" in said
    assert source.vmcoreinfo == built.vmcoreinfo()
    assert built.vmcoreinfo() in source.notes
    assert text not in source.notes
    source.close()


def test_a_note_of_another_build_is_not_filtered_by(tmp_path: Path) -> None:
    """If the release in memory differs and no better VMCOREINFO is found, every page is kept."""
    built = Machine(LAYOUT, EVERYTHING)
    text = built.vmcoreinfo().replace(b"OSRELEASE=6.12.0-test", b"OSRELEASE=6.12.1-test")
    source = open_source(str(write_together(tmp_path / "core", [built], text)))
    pages, weaker, said = kept(source)
    assert pages == set(built.frames())
    assert weaker
    assert "it is of Linux 6.12.1-test, the kernel in memory is 6.12.0-test" in said
    source.close()


def test_pages_that_either_kernel_may_own_are_kept(tmp_path: Path) -> None:
    """Without a note both kernels are named, and each page that either may own is kept."""
    one, two = machine(), machine(SECOND, "6.6")
    source = open_source(str(write_together(tmp_path / "core", [one, two])))
    pages, weaker, said = kept(source)
    assert weaker
    assert "memory holds 2 kernels: " in said
    for release in ("6.12.0-test", "6.6.0-test"):
        assert release in said
    assert pages <= set(one.frames()) | set(two.frames())
    assert expected(one, 31) <= pages
    assert expected(two, 31) <= pages
    source.close()


@pytest.mark.parametrize("told", [0, 1])
def test_a_note_does_not_hide_the_other_kernel(told: int, tmp_path: Path) -> None:
    """A note's struct pages cover only part of memory: the rest is searched, and the other kernel is found."""
    both = [machine(), machine(SECOND, "6.6")]
    source = open_source(str(write_together(tmp_path / "core", both, both[told].vmcoreinfo())))
    pages, weaker, said = kept(source)
    assert weaker
    assert "memory holds 2 kernels: " in said
    assert all(expected(one, 31) <= pages for one in both)
    source.close()


@pytest.mark.parametrize(("select", "which"), [("prod", 0), ("kdump", 1)])
def test_a_kernel_can_be_selected(select: str, which: int, tmp_path: Path) -> None:
    """The crash kernel is identified by its log, otherwise by its smaller memory."""
    recipe = EVERYTHING.partition("0x10200")[0]  # the third section's struct pages exist
    both = [Machine(LAYOUT, recipe, ram=(*RAM, (512 * MIB, 513 * MIB))), machine(SECOND, "6.6")]
    remember_note(both[0])
    source = open_source(str(write_together(tmp_path / "core", both)))
    source.selected = select
    knowledge = gather_knowledge(source)
    found = run(source, knowledge, 31)
    own = set(both[which].frames())
    assert bits(found.kept) & own == expected(both[which], 31) & own
    assert not found.weaker, (knowledge.notes, found.notes)
    assert source.vmcoreinfo == both[which].vmcoreinfo()
    source.close()


def test_an_earlier_boots_vmcoreinfo_is_skipped(tmp_path: Path) -> None:
    """A search finds an earlier boot's VMCOREINFO first; its page tables are gone."""
    built = machine()
    stale = re.sub(rb"(SYMBOL\(\w+\)=ffffffff8)1", rb"\g<1>4", built.vmcoreinfo())
    built.memory[0x980] = note(b"VMCOREINFO\0", 0, stale)
    source = open_source(str(write_together(tmp_path / "core", [built])))
    pages, weaker, said = kept(source)
    assert pages == expected(built, 31)
    assert not weaker
    assert "found by a search of memory" in said
    assert source.vmcoreinfo == built.vmcoreinfo()
    source.close()


def test_all_is_not_filtered(tmp_path: Path) -> None:
    """``--select all`` filters by neither kernel."""
    both = [machine(), machine(SECOND, "6.6")]
    source = open_source(str(write_together(tmp_path / "core", both)))
    source.selected = "all"
    found = run(source, gather_knowledge(source), 31)
    assert bits(found.kept) == {pfn for one in both for pfn in one.frames()}
    assert found.weaker
    source.close()


def test_nothing_to_select(tmp_path: Path) -> None:
    """One kernel that covers all memory."""
    built = machine()
    source = open_source(str(write_together(tmp_path / "core", [built])))
    source.selected = "prod"
    with pytest.raises(UsageError, match="one system"):
        gather_knowledge(source)
    source.close()


@pytest.mark.parametrize("told", [True, False])
def test_memory_of_a_kernel_that_is_not_found(told: bool, tmp_path: Path) -> None:
    """An unknown kernel's memory is reported with size and address; then only the crash kernel can be selected."""
    built = machine()
    path = write_together(tmp_path / "core", [built], built.vmcoreinfo() if told else None, foreign=True)
    source = open_source(str(path))
    knowledge = gather_knowledge(source)
    assert any(
        f"{FOREIGN[1] - FOREIGN[0]} bytes of memory, from {FOREIGN[0]:#x} on" in note for note in knowledge.notes
    )
    found = run(source, knowledge, 31)
    assert found.weaker
    own = set(built.frames())
    assert bits(found.kept) & own == expected(built, 31)
    source.close()
    for select, weaker in (("prod", True), ("kdump", False)):
        source = open_source(str(path))
        source.selected = select
        found = run(source, gather_knowledge(source), 31)
        assert found.weaker == weaker
        assert (bits(found.kept) & own == own) == weaker
        source.close()


def test_logs_identify_their_kernel() -> None:
    """A crash kernel's command line has elfcorehdr; another build's banner contradicts, a truncated one does not."""
    assert consistency.is_crash_kernel(b"Kernel command line: elfcorehdr=0x1234 quiet")
    assert not consistency.is_crash_kernel(b"Kernel command line: crashkernel=256M")
    assert consistency._limits_memory(b"\0\0Command line: root=/dev/vda mem=384M\0")
    assert not consistency._limits_memory(b"Command line: root=/dev/vda\nmem=384M")
    line = b"Linux version 6.12.0-test (me@host) (gcc (x) 1, GNU ld 2) #1 SMP Tue\0"
    assert list(consistency._banners(b"\7" + line * 2)) == [("6.12.0-test", "#1 SMP Tue")] * 2
    assert consistency._agrees(("6.12.0-test", "#1 SMP Tue"), "6.12.0-test", "#1 SMP")
    assert consistency._agrees(("6.12.0-test", "#1 SM"), "6.12.0-test", "#1 SMP")
    assert not consistency._agrees(("6.12.0-test", "#2 SMP"), "6.12.0-test", "#1 SMP")
    assert not consistency._agrees(("6.12.1-test", "#1 SMP"), "6.12.0-test", "#1 SMP")


def test_a_build_id_is_compared_with_the_kernels_notes(scratch: Path) -> None:
    """Build IDs in the image count, not the vDSO's; the VMCOREINFO in memory has the right one and is used."""
    source = open_source(str(dump("demo.elf", scratch)))
    right = source.vmcoreinfo
    assert right is not None
    whole = gather_knowledge(source)
    assert whole.memory is not None
    assert whole.info is not None
    assert whole.notes == []
    names, log = whole.identity.utsname, consistency.log_text(whole.memory, whole.info)
    assert consistency.find_contradiction(whole.memory, whole.info, names, log) is None
    wrong = re.sub(rb"BUILD-ID=\w{4}", b"BUILD-ID=0123", right)
    told = VmcoreInfo(wrong)
    assert "VMCOREINFO is of build 0123" in str(consistency.find_contradiction(whole.memory, told, names, log))
    source.vmcoreinfo = wrong
    assert "VMCOREINFO is of build 0123" in gather_knowledge(source).notes[0]
    assert (source.vmcoreinfo or b"").rstrip(b"\0") == right.rstrip(b"\0")
    source.close()


ONE_KEY = {
    "a symbol is no address": (rb"SYMBOL\(contig_page_data\)=\w+", rb"SYMBOL(contig_page_data)=0", "is no address"),
    "phys_base alone": (rb"NUMBER\(phys_base\)=-?\d+", rb"NUMBER(phys_base)=0", "the kernel is at -0x8400000"),
}


@pytest.mark.parametrize(("pattern", "other", "doubt"), ONE_KEY.values(), ids=ONE_KEY)
def test_a_note_with_one_wrong_key_is_replaced(pattern: bytes, other: bytes, doubt: str, scratch: Path) -> None:
    """Page tables and sections are found despite a wrong key; the source then has the right text from memory."""
    source = open_source(str(dump("demo.elf", scratch)))
    right = source.vmcoreinfo or b""
    source.vmcoreinfo = re.sub(pattern, other, right)
    assert source.vmcoreinfo != right
    assert doubt in gather_knowledge(source).notes[0]
    assert source.vmcoreinfo.rstrip(b"\0") == right.rstrip(b"\0")
    source.close()


def test_a_banner_is_compared_with_the_kernels_name(scratch: Path) -> None:
    """The banner of another build or kernel causes doubt; a log without a banner does not."""
    source = open_source(str(dump("demo.elf", scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    names, info = knowledge.identity.utsname, knowledge.info
    log = consistency.log_text(knowledge.memory, info)
    assert f"Linux version {names[2]}".encode() in log
    for other in (log.replace(names[2].encode(), b"5.4.0"), log.replace(names[3].encode()[:8], b"#9 SMP 1")):
        assert "the log is of Linux" in str(consistency.find_contradiction(knowledge.memory, info, names, other))
    assert consistency.find_contradiction(knowledge.memory, info, names, b"") is None
    source.close()


@pytest.mark.parametrize("size", [40, 400, 1400, 2600])
def test_a_note_that_was_cut_off(size: int, scratch: Path) -> None:
    """A truncated note is replaced by the text in memory, and the same pages are kept."""
    source = open_source(str(dump("demo.elf", scratch)))
    right = source.vmcoreinfo or b""
    whole = bits(run(source, gather_knowledge(source), 31).kept)
    source.vmcoreinfo = right[:size]
    knowledge = gather_knowledge(source)
    assert bits(run(source, knowledge, 31).kept) == whole
    assert (source.vmcoreinfo or b"").rstrip(b"\0") == right.rstrip(b"\0")
    source.close()


def test_memory_described_by_two_kernels_is_neithers() -> None:
    """Runs without the page frames that the other kernel covers, with their struct pages."""
    one, other = MemMap("sparsemem", 64), MemMap("sparsemem", 64)
    one.add(100, 100, 0x10000)
    one.add(300, 10, 0x90000)
    for first, count in ((90, 20), (150, 10), (305, 100)):
        other.add(first, count, 0x50000 + first * 64)
    left = [(run.first_pfn, run.count, run.vaddr) for run in subtract(one, other).runs()]
    assert left == [(110, 40, 0x10000 + 640), (160, 40, 0x10000 + 3840), (300, 5, 0x90000)]
