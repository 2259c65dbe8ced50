"""Keys missing from VMCOREINFO are found elsewhere in the dump, one by one and all together."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import vmsieve
from tests.dumps import dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.kallsyms import open_kallsyms
from vmsieve.filters.linux.kallsyms_search import DIGITS, open_by_tokens
from vmsieve.filters.linux.memory import PhysicalMemory
from vmsieve.filters.linux.memory_scan import scan_memory
from vmsieve.filters.linux.resolver import MEMORY, SYMBOLS, TYPES, Resolver
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import Scan, scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

DUMPS = ["demo.elf", "x86_64-6.1-kdump.elf", "x86_64-7.2-live.elf"]
#: Keys of pages that a kernel may lack.
MAY_BE_NONE = ("NUMBER(PG_hwpoison)", "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)")
NAMES = ("_stext", "init_uts_ns", "mem_section", "__start_BTF", "prb", "absent")


def kept(found: Scan) -> int:
    """The page frames that are kept, as one number."""
    return int.from_bytes(b"".join(found.kept), "little")


def without(text: bytes, key: str) -> bytes:
    return b"".join(line for line in text.splitlines(keepends=True) if line.partition(b"=")[0] != key.encode())


def test_searched_memory_is_not_noted(scratch: Path) -> None:
    """Memory where a search found types may be a user's: the self-check does not count it as the kernel's."""
    source = open_source(str(dump("demo.elf", scratch)))
    assert source.vmcoreinfo is not None
    knowledge = gather_knowledge(source, without(source.vmcoreinfo, "NUMBER(PG_lru)"), origins=(SYMBOLS, TYPES))
    assert knowledge.info is not None
    assert knowledge.memory is not None
    before = set(knowledge.memory.physical.blocks)
    assert knowledge.info.number("PG_lru") == 5
    assert knowledge.memory.physical.blocks == before
    source.close()


def test_a_search_for_one_key_does_not_resolve_others(scratch: Path) -> None:
    """Optional keys of this version stay missing after other keys were resolved."""
    source = open_source(str(dump("demo.elf", scratch)))
    assert source.vmcoreinfo is not None
    source.vmcoreinfo = without(without(source.vmcoreinfo, "NUMBER(PG_hwpoison)"), "SIZE(latched_seq)")
    info = gather_knowledge(source).info
    assert info is not None
    assert info.number("PG_hwpoison") is not None
    assert info.size("latched_seq") is None
    assert list(info.origins) == ["NUMBER(PG_hwpoison)"]
    source.close()


@pytest.mark.parametrize("name", DUMPS)
@pytest.mark.parametrize("origins", [(SYMBOLS, TYPES), ()], ids=["elsewhere", "nowhere"])
def test_each_key_that_is_missing(name: str, origins: tuple[str, ...], scratch: Path) -> None:
    """With one key missing, level 31 keeps the same pages, or more with a remark; with symbols and types the same."""
    source = open_source(str(dump(name, scratch)))
    text = source.vmcoreinfo
    assert text is not None
    whole = gather_knowledge(source)
    expected = kept(scan(source, whole, 31, Silent()))
    assert whole.info is not None
    for key in sorted(whole.info.used):
        knowledge = gather_knowledge(source, without(text, key), origins=origins)
        found = scan(source, knowledge, 31, Silent())
        assert expected & ~kept(found) == 0, key
        if origins:
            assert kept(found) == expected, key
            assert not found.weaker, key
        elif key not in MAY_BE_NONE:
            assert found.weaker or kept(found) == expected, key
    source.close()


@pytest.mark.parametrize("name", DUMPS)
def test_no_vmcoreinfo_at_all(name: str, scratch: Path) -> None:
    """A search of memory, or symbols and types alone, keep the same pages, each with a remark."""
    source = open_source(str(dump(name, scratch)))
    expected = kept(scan(source, gather_knowledge(source), 31, Silent()))
    identity = gather_knowledge(source).identity.utsname
    for origins, words in (((MEMORY,), "search of memory"), ((SYMBOLS, TYPES), "symbols.*BTF|BTF.*symbols")):
        source.vmcoreinfo = None
        knowledge = gather_knowledge(source, origins=origins)
        found = scan(source, knowledge, 31, Silent())
        assert (knowledge.problem, found.weaker, knowledge.identity.utsname) == (None, False, identity)
        assert kept(found) == expected
        assert any(re.search(words, note) for note in [*knowledge.notes, *found.notes])
    source.vmcoreinfo = None
    assert gather_knowledge(source, origins=()).problem == "the dump has no usable VMCOREINFO"
    source.close()


@pytest.mark.parametrize("name", [*DUMPS, "s390x-6.1.s390"])
def test_symbols_are_found_without_hints(name: str, scratch: Path) -> None:
    """A search of memory finds the symbol table that VMCOREINFO names, whatever the order of its parts."""
    source = open_source(str(dump(name, scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    told = open_kallsyms(knowledge.memory.read, source.byte_order, knowledge.info).addresses(NAMES)
    memory = PhysicalMemory(source)
    for at, data in scan_memory(source, 0, source.end(), keep=len(DIGITS)):
        for match in re.finditer(re.escape(DIGITS), data):
            try:
                symbols = open_by_tokens(memory.read, source.byte_order, at + match.start())
            except (KernelError, ReadError):
                continue
            found = symbols.addresses(NAMES)
            shift = told["_stext"] - found["_stext"]
            assert {name: address + shift for name, address in found.items()} == told
            assert shift == 0 or symbols.relative
            source.close()
            return
    pytest.fail("the table was not found")


def test_an_unusable_value(scratch: Path) -> None:
    """An unusable value counts as missing."""
    source = open_source(str(dump("demo.elf", scratch)))
    text = source.vmcoreinfo
    assert text is not None
    bad = re.sub(rb"NUMBER\(PG_lru\)=\d+", b"NUMBER(PG_lru)=zz", text)
    knowledge = gather_knowledge(source, bad, origins=(SYMBOLS, TYPES))
    assert knowledge.info is not None
    assert knowledge.info.number("PG_lru") == VmcoreInfo(text).number("PG_lru")
    assert knowledge.info.origins == {"NUMBER(PG_lru)": TYPES}
    source.close()


def test_optional_keys_are_not_searched_for(scratch: Path) -> None:
    """An optional key is searched for only if that is cheap and the key matters."""
    source = open_source(str(dump("demo.elf", scratch)))
    whole = source.vmcoreinfo
    assert whole is not None
    expected = kept(scan(source, gather_knowledge(source), 31, Silent()))
    source.vmcoreinfo = without(whole, "NUMBER(PG_hwpoison)")
    for told in (True, False):
        if not told:
            source.vmcoreinfo = re.sub(rb"SYMBOL\(kallsyms_.*\n", b"", source.vmcoreinfo)
        knowledge = gather_knowledge(source)
        found = kept(scan(source, knowledge, 31, Silent()))
        assert knowledge.info is not None
        assert list(knowledge.info.origins) == (["NUMBER(PG_hwpoison)"] if told else [])
        assert (found == expected, found & expected) == (told, expected)
    source.vmcoreinfo = without(whole, "SYMBOL(clear_idx)")
    knowledge = gather_knowledge(source)
    assert knowledge.info is not None
    assert knowledge.info.symbol("clear_idx") is None
    assert knowledge.info.origins == {}
    source.close()


def test_a_crash_kernel_takes_the_kernels_word(scratch: Path) -> None:
    """In /proc/vmcore a key missing between its neighbours was never written; a damaged one is resolved."""
    source = open_source(str(dump("demo.elf", scratch)))
    whole = source.vmcoreinfo
    assert whole is not None
    assert isinstance(source.file, PlainFile)
    source.file.vmcore = True
    key = rb"NUMBER\(PG_hwpoison\)"
    for text, looked in (
        (re.sub(key + rb".*\n", b"", whole), False),
        (re.sub(key, b"NUMBER(PG_hwpojson)", whole), True),
        (re.sub(key, b"\xff", whole), True),
        (re.sub(key + rb".*\n|NUMBER\(PG_head_mask\).*\n", b"", whole), True),
    ):
        source.vmcoreinfo = text
        knowledge = gather_knowledge(source)
        scan(source, knowledge, 31, Silent())
        assert knowledge.info is not None
        assert ("NUMBER(PG_hwpoison)" in knowledge.info.origins) == looked
    source.close()


def test_types_without_symbols(scratch: Path, tmp_path: Path) -> None:
    """With the symbol table damaged, the kernel's types are found by a search, with a remark."""
    path = tmp_path / "core"
    path.write_bytes(dump("demo.elf", scratch).read_bytes().replace(DIGITS, bytes(len(DIGITS))))
    source = open_source(str(path))
    text = re.sub(rb"SYMBOL\(kallsyms_.*\n", b"", source.vmcoreinfo or b"")
    expected = kept(scan(source, gather_knowledge(source), 31, Silent()))
    for key in ("NUMBER(PG_lru)", "SIZE(page)", "LENGTH(zone.free_area)"):
        knowledge = gather_knowledge(source, without(text, key), origins=(SYMBOLS, TYPES))
        found = scan(source, knowledge, 31, Silent())
        assert (kept(found), found.weaker) == (expected, False)
        assert knowledge.info is not None
        assert "search of memory" in knowledge.info.origins[key]
    source.close()


def test_an_unreferenced_copy_of_vmcoreinfo(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VMCOREINFO found in memory is used if its symbols match."""
    monkeypatch.setattr(Resolver, "_open_copy", lambda *_: None)
    source = open_source(str(dump("demo.elf", scratch)))
    text = source.vmcoreinfo or b""
    other = re.sub(rb"SYMBOL\(prb\)=\w+", b"SYMBOL(prb)=ffffffff81000000", text)
    memory = PhysicalMemory(source)
    for told, expected in ((text, (str(5), MEMORY)), (other, None), (b"OSRELEASE=6.12.95-vmsieve-demo\n", None)):
        info = VmcoreInfo(without(told, "NUMBER(PG_lru)"))
        resolver = Resolver(memory, find("x86_64"), info, thorough=True, origins=(MEMORY,))
        assert resolver("NUMBER(PG_lru)") == expected
    source.close()


LOADED = """
import sys
from vmsieve.pipeline.cli.main import main
main(sys.argv[1:])
names = ("kallsyms", "kallsyms_search", "btf", "image", "lookup", "candidates")
print([m for m in sys.modules if m.rpartition(".")[2] in names])
"""


def test_nothing_is_loaded_where_nothing_is_missing(scratch: Path, tmp_path: Path) -> None:
    """A dump with complete VMCOREINFO loads no resolver code."""
    command = [
        sys.executable,
        "-c",
        LOADED,
        "dump",
        "-q",
        "-d",
        "31",
        str(dump("demo.elf", scratch)),
        str(tmp_path / "o"),
    ]
    root = str(next(iter(vmsieve.__path__))) + "/.."
    run = subprocess.run(command, env={"PYTHONPATH": root}, check=True, capture_output=True, text=True)
    assert run.stdout == "[]\n"
