"""Types from DWARF: made by hand in every form, made by a compiler, and damaged."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import subprocess
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from tests.build.dwarf_sections import DwarfSections, Node, array, enumeration, member, structure, typedef
from tests.build.vmlinux_file import elf_file
from tests.outcome import result_or_error
from vmsieve.filters.linux.debuginfo import dwarf_units
from vmsieve.filters.linux.debuginfo.dwarf import Dwarf
from vmsieve.filters.linux.debuginfo.elf_sections import Section, open_section
from vmsieve.filters.linux.debuginfo.vmlinux import describe
from vmsieve.formats.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("page", "zone", "pageflags", "counter_t", "uts_namespace", "list_head", "absent", "free_area")
#: DW_TAG_imported_unit with DW_AT_import; DW_TAG_partial_unit; DW_TAG_subprogram; DW_TAG_const_type.
IMPORT, IMPORTED, PARTIAL, FUNCTION, CONST = 0x18, 0x3D, 0x3C, 0x2E, 0x26


def opened(sections: dict[str, bytes], order: str = "<", names: tuple[str, ...] = NAMES) -> Dwarf:
    def section(name: str) -> Section:
        data = sections.get(name, b"")
        return Section(io.BytesIO(data), 0, len(data), "vmlinux")

    return Dwarf(section, "little" if order == "<" else "big", "vmlinux", names)


def types(*, far: bool = False) -> list[Node]:
    """A kernel's types: unnamed members, names for types, arrays, and other entries between them."""
    word, half = (Node(0x24, {0x03: name, 0x0B: size}, far=far) for name, size in (("long", 8), ("int", 4)))
    counter = structure("", 4, member("counter", half, 0))
    named = typedef("counter_t", counter)
    inner = structure("", 16, member("lru", word, 0), member("private", word, b"\x23\x08"))
    both = structure("", 16, member("", inner, 0), member("compound_head", word, 0), union=True)
    bits = Node(0x0D, {0x03: "bits", 0x49: word, 0x0D: 3, 0x6B: 5})
    page = structure("page", 64, member("flags", word, 0), bits, member("", both, 8), member("_mapcount", named, 48))
    area = structure("free_area", 88)
    areas = array(area, 11)
    kept = Node(CONST, {0x49: areas})
    zone = structure("zone", 2048, member("free_area", kept, 1024))
    function = Node(FUNCTION, {0x03: "alloc"}, [Node(0x05, {0x03: "zone"}, [Node(0x0B, {}, [])]), structure("page", 1)])
    return [
        structure("page", 0, declared=True), word, half, function, counter, named, inner, both, page, area, areas, kept,
        zone, enumeration("pageflags", {"PG_lru": 5, "PG_hwpoison": 200, "none": -1}),
    ]  # fmt: skip


def checked(found: Dwarf) -> None:
    assert [found.size(name) for name in ("page", "zone", "counter_t", "absent")] == [64, 2048, 4, None]
    members = ("flags", "lru", "private", "compound_head", "_mapcount", "bits", "absent")
    assert [found.offset("page", name) for name in members] == [0, 8, 16, 8, 48, None, None]
    assert found.offset("counter_t", "counter") == 0
    assert (found.length("zone", "free_area"), found.length("page", "flags")) == (11, None)
    assert found.enumerators("pageflags") == {"PG_lru": 5, "PG_hwpoison": 200, "none": -1}
    assert found.enumerators("page") == {}
    assert (found.knows("page"), found.knows("absent")) == (True, False)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 4, 5])
@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
@pytest.mark.parametrize("strings", ["strp", "string", "strx"])
@pytest.mark.parametrize("siblings", [False, True], ids=["alone", "siblings"])
def test_every_shape(order: str, version: int, wide: bool, strings: str, siblings: bool) -> None:
    """Versions, 32- and 64-bit formats, byte orders, every form of name, with and without siblings."""
    if strings == "strx" and version < 5:
        return
    made = DwarfSections(order, version, wide=wide, strings=strings, siblings=siblings)
    made.unit("arch/x86/kernel/head64.c", structure("other", 8))
    made.unit("/build/linux/mm/page_alloc.c", *types())
    made.unit("kernel/printk/printk.c", structure("list_head", 16))
    checked(opened(made.sections(), order))


def test_types_of_other_units() -> None:
    """References between units (link-time optimisation), and partial units (dwz)."""
    made = DwarfSections()
    common = types(far=True)
    base = made.unit("", *common[:3], tag=PARTIAL)
    base.far = True
    made.unit("mm/page_alloc.c", Node(IMPORTED, {IMPORT: base}), *common[3:])
    checked(opened(made.sections()))


@pytest.mark.parametrize("strings", ["strp", "strx"])
def test_files_that_have_other_names(strings: str) -> None:
    """Types are found by name if no unit has a known file name and names are offsets."""
    made = DwarfSections(strings=strings)
    for i in range(5):
        made.unit(f"lib/file_{i}.c", structure("page", 0, declared=True), structure(f"s{i}", 8))
    made.unit("ld-temp.o", *types())
    found = opened(made.sections())
    assert found.size("page") == (64 if strings == "strp" else None)


def test_rare_types_are_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type that a kernel may lack does not cause all units to be read."""
    made = DwarfSections()
    made.unit("mm/page_alloc.c", *types(), structure("uts_namespace", 8), structure("list_head", 16))
    for i in range(50):
        made.unit(f"lib/file_{i}.c", structure("s", 8), member("absent", Node(0x24), 0))
    monkeypatch.setattr(dwarf_units, "_READS_MOST", 5000)
    assert not opened(made.sections()).knows("absent")


def test_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many entries are an error."""
    made = DwarfSections()
    made.unit("mm/page_alloc.c", *types(), *[structure(f"structure_{i}", 8) for i in range(300)])
    monkeypatch.setattr(dwarf_units, "_READS_MOST", 500)
    with pytest.raises(FormatError, match="too many"):
        opened(made.sections())


def used(found: Dwarf) -> None:
    for name in NAMES:
        found.size(name)
        found.offset(name, "private")
        found.length(name, "free_area")
        found.enumerators(name)


def loops() -> dict[str, Node]:
    """Types that refer back to themselves."""
    alias = Node(0x16, {0x03: "counter_t"})
    alias.values[0x49] = alias
    inside = structure("page", 8)
    inside.children.append(member("", inside, 0))
    many = structure("page", 8)
    many.children += [member("", many, 0) for _ in range(40)]
    return {"alias": alias, "inside": inside, "many": many}


@pytest.mark.parametrize("kind", ["alias", "inside", "many"])
def test_types_without_end(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recursive types give an error or an answer, never a hang."""
    monkeypatch.setattr(dwarf_units, "_READS_MOST", 100_000)
    made = DwarfSections()
    made.unit("mm/page_alloc.c", loops()[kind])
    found = opened(made.sections())
    if kind == "inside":
        used(found)
    else:
        with pytest.raises(FormatError, match="refers to itself" if kind == "alias" else "too many"):
            used(found)


def described(sections: dict[str, bytes], path: Path) -> bytes:
    """VMCOREINFO text made from a vmlinux file with these DWARF sections."""
    text = b"\0linux_banner\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0, 0, 1, 0x1000, 8)
    parts = {".rodata": (0x1000, b"Linux version 6.1.0 (test)"), ".symtab": (0, symbols), ".strtab": (0, text)}
    path.write_bytes(elf_file({**parts, **{name: (0, data) for name, data in sections.items()}}))
    return describe(str(path))


@pytest.mark.parametrize("siblings", [False, True])
@pytest.mark.parametrize("section", [".debug_info", ".debug_abbrev", ".debug_str"])
def test_cut_off_anywhere(section: str, siblings: bool, tmp_path: Path) -> None:
    """Truncated sections give a typed error, or text without the missing types."""
    made = DwarfSections(siblings=siblings)
    made.unit("mm/page_alloc.c", *types())
    whole = made.sections()
    outcomes = [
        outcome({**whole, section: whole[section][:size]}, tmp_path / "vmlinux")
        for size in range(0, len(whole[section]), 3)
    ]
    assert outcomes[0] == "FormatError"
    assert len(set(outcomes)) > 1 or section != ".debug_str"
    assert b"SIZE(page)=64\n" in described(whole, tmp_path / "vmlinux")


def outcome(sections: dict[str, bytes], path: Path) -> str:
    found = result_or_error(described, sections, path)
    return f"{len(found)} bytes" if isinstance(found, bytes) else type(found).__name__


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(4))
def test_random_damage(seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Random damage gives a typed error or an answer in a bounded number of reads."""
    monkeypatch.setattr(dwarf_units, "_READS_MOST", 100_000)
    dice = random.Random(seed)
    made = DwarfSections("<", (2, 4, 5)[seed % 3], siblings=bool(seed & 2))
    made.unit("arch/x86/kernel/head64.c", structure("other", 8))
    made.unit("mm/page_alloc.c", *types())
    whole = made.sections()
    outcomes = set()
    for _ in range(100):
        damaged = {}
        for name, data in whole.items():
            out = bytearray(data)
            for _ in range(dice.randrange(4)):
                if out:
                    out[dice.randrange(len(out))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            damaged[name] = bytes(out)
        outcomes.add(outcome(damaged, tmp_path / "vmlinux"))
    assert "FormatError" in outcomes
    assert len(outcomes) > 1


SOURCE = """
#include <stdio.h>
#include <stddef.h>
typedef struct { int counter; } atomic_t;
enum pageflags { PG_locked, PG_lru = 5, PG_hwpoison = 20, PG_none = -1 };
struct list_head { struct list_head *next, *prev; };
struct page {
    unsigned long flags;
    union {
        struct { union { struct list_head lru; void *pcp; }; void *mapping; unsigned long private; };
        unsigned long compound_head;
    };
    unsigned bits : 3;
    atomic_t _mapcount, _refcount;
};
struct free_area { struct list_head free_list[6]; unsigned long nr_free; };
struct zone { char pad[100]; const struct free_area free_area[11]; };
struct page page; struct zone zone; enum pageflags some = PG_hwpoison;
int main(void) {
    printf("{\\"page.flags\\": %zu, \\"page.lru\\": %zu, \\"page.private\\": %zu, \\"page._refcount\\": %zu, ",
        offsetof(struct page, flags), offsetof(struct page, lru), offsetof(struct page, private),
        offsetof(struct page, _refcount));
    printf("\\"zone.free_area\\": %zu, \\"page\\": %zu, \\"zone\\": %zu, \\"free_area\\": %zu}\\n",
        offsetof(struct zone, free_area), sizeof(struct page), sizeof(struct zone), sizeof(struct free_area));
}
"""


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
@pytest.mark.parametrize("options", [
    "-gdwarf-2 -gstrict-dwarf", "-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -gdwarf64", "-gdwarf-5 -gz=zlib",
    "-gdwarf-4 -gz=zlib-gnu", "-gdwarf-5 -gz=zstd",
])  # fmt: skip
def test_a_compiler_means_the_same(options: str, tmp_path: Path) -> None:
    """A compiled program and its DWARF agree on its types, for each version, compressed too."""
    from elftools.elf.elffile import ELFFile

    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "page_alloc.c").write_text(SOURCE)
    command = ["gcc", "-w", *options.split(), "-o", "program", "mm/page_alloc.c"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if run.returncode:
        pytest.skip(f"gcc has no {options}")
    said: dict[str, Any] = json.loads(subprocess.run([tmp_path / "program"], capture_output=True, check=True).stdout)
    path = tmp_path / "program"
    with path.open("rb") as file, ExitStack() as stack:
        elf = ELFFile(file)
        found = Dwarf(lambda name: open_section(stack, file, elf, str(path), name), "little", str(path), NAMES)
        assert {key: found.offset(*key.split(".")) if "." in key else found.size(key) for key in said} == said
        assert (found.length("zone", "free_area"), found.length("free_area", "free_list")) == (11, 6)
        assert found.enumerators("pageflags") == {"PG_locked": 0, "PG_lru": 5, "PG_hwpoison": 20, "PG_none": -1}


class Elf:
    """An ELF file with one section, as pyelftools shows it."""

    little_endian = True

    def __init__(self, name: str, flags: int, data: bytes) -> None:
        self.sections = {name: {"sh_type": "SHT_PROGBITS", "sh_flags": flags, "sh_offset": 3, "sh_size": len(data)}}
        self.file = io.BytesIO(b"xxx" + data + b"xxx")

    def get_section_by_name(self, name: str) -> Any:
        return self.sections.get(name)


def test_a_section_ends_where_the_file_does() -> None:
    """A section ends at the end of the file, whatever its header says."""
    made = Elf(".debug_info", 0, b"abc")
    for start, size, expected in ((3, 1 << 60, b"abcxxx"), (1 << 60, 1 << 60, b"")):
        made.sections[".debug_info"].update(sh_offset=start, sh_size=size)
        with ExitStack() as stack:
            found = open_section(stack, made.file, made, "vmlinux", ".debug_info")
            assert (found.size, found.at(0, 1 << 20)) == (len(expected), expected)


CONTENT = bytes(range(256)) * 20000


def packed(kind: str, data: bytes = CONTENT, size: int = len(CONTENT)) -> Elf:
    if kind == "old":
        return Elf(".zdebug_info", 0, struct.pack(">4sQ", b"ZLIB", size) + zlib.compress(data))
    method, body = (1, zlib.compress(data)) if kind == "zlib" else (2, zstandard.compress(data))
    return Elf(".debug_info", 1 << 11, struct.pack("<IIQQ", method, 0, size, 1) + body)


@pytest.mark.parametrize("kind", ["zlib", "zstd", "old"])
def test_compressed_sections(kind: str) -> None:
    """Compressed sections are unpacked; wrong sizes, damage and truncation are typed errors."""
    made = packed(kind)
    with ExitStack() as stack:
        found = open_section(stack, made.file, made, "vmlinux", ".debug_info")
        assert (found.size, found.at(5, 7), found.at(found.size - 2, 9)) == (len(CONTENT), CONTENT[5:12], CONTENT[-2:])
    whole = made.file.getvalue()[3:-3]
    (name,) = made.sections
    flags = 0 if kind == "old" else 1 << 11
    damaged = [
        packed(kind, size=len(CONTENT) - 1), packed(kind, size=len(CONTENT) + 1), packed(kind, size=1 << 60),
        Elf(name, flags, whole[:-20]), Elf(name, flags, whole[:24] + b"\xff" * 8 + whole[32:]),
        Elf(name, flags, b"\x07" + whole[1:]), Elf(name, flags, whole[:30]),
    ]  # fmt: skip
    for one in damaged:
        with ExitStack() as stack, pytest.raises(FormatError, match="debug_info"):
            open_section(stack, one.file, one, "vmlinux", ".debug_info")
