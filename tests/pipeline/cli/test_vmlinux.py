"""A vmlinux file made of a real kernel's symbols and types, at its link addresses (without KASLR)."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.build.dwarf_sections import DwarfSections, Node, array, enumeration, member, structure
from tests.build.vmlinux_file import elf_file
from tests.dumps import dump
from tests.pipeline.cli_kit import failed, vmsieve
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.debuginfo.vmlinux import describe
from vmsieve.filters.linux.derived_keys import PAGE_TYPES, SYMBOL_NAMES, TYPE_NAMES
from vmsieve.filters.linux.kallsyms import open_kallsyms
from vmsieve.filters.linux.resolver import SYMBOLS
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import FormatError, UsageError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.makedumpfile.main import main as makedumpfile
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("elftools")
from elftools.elf.elffile import ELFFile


@pytest.fixture(scope="module")
def vmlinux(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = open_source(str(dump("demo.elf", scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    slide = knowledge.info.kernel_offset
    assert slide
    memory = knowledge.memory
    found = open_kallsyms(memory.read, "little", knowledge.info).addresses((*SYMBOL_NAMES, "linux_banner"))
    start, stop = found["__start_BTF"], found["__stop_BTF"]
    texts, table = b"\0not_", bytes(24)
    for name, address in found.items():
        table += struct.pack("<IBBHQQ", len(texts), 0, 0, 1, address - slide, 8)
        texts += name.encode() + b"\0"
    banner = memory.read(found["linux_banner"], 200)
    path = tmp_path_factory.mktemp("vmlinux") / "vmlinux"
    sections = {
        ".rodata": (found["linux_banner"] - slide, banner),
        ".BTF": (0, memory.read(start, stop - start)),
        ".symtab": (0, table),
        ".strtab": (0, texts),
    }
    path.write_bytes(elf_file(sections))
    source.close()
    return path


def test_it_equals_the_kernels_own(vmlinux: Path, scratch: Path) -> None:
    """All numbers except variables equal VMCOREINFO's; addresses differ by the KASLR offset."""
    source = open_source(str(dump("demo.elf", scratch)))
    told, made = VmcoreInfo(source.vmcoreinfo or b""), VmcoreInfo(describe(str(vmlinux)))
    source.close()
    assert made.looks_valid()
    assert (made.release, made.page_size) == (told.release, told.page_size)
    assert len(made.keys) > 60
    same = [key for key in made.keys if key in told.keys and not key.startswith("SYMBOL(")]
    assert len(same) > 40
    assert {key: made.value(key) for key in same} == {key: told.value(key) for key in same}
    assert (told.symbol("init_uts_ns") or 0) - (made.symbol("init_uts_ns") or 0) == told.kernel_offset


def test_the_kernel_is_found_where_kaslr_moved_it(vmlinux: Path, scratch: Path) -> None:
    """The same pages are kept with the file alone, with text made from it, and with one key from it."""
    source = open_source(str(dump("demo.elf", scratch)))
    whole = gather_knowledge(source)
    expected = b"".join(scan(source, whole, 31, Silent()).kept)
    made, text = describe(str(vmlinux)), source.vmcoreinfo or b""
    lacking = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"NUMBER(PG_lru)"))
    for knowledge in (
        gather_knowledge(source, b"", vmlinux=made, origins=()), gather_knowledge(source, made, origins=()),
        gather_knowledge(source, lacking, vmlinux=made, origins=()),
    ):  # fmt: skip
        found = scan(source, knowledge, 31, Silent())
        assert (knowledge.problem, found.weaker) == (None, False)
        assert b"".join(found.kept) == expected
        assert knowledge.phys_base == whole.phys_base
        assert any("vmlinux" in note for note in [*knowledge.notes, *found.notes])
    source.close()


def test_another_kernels_file(vmlinux: Path, scratch: Path) -> None:
    """The vmlinux of another release is not used: every page is kept."""
    source = open_source(str(dump("demo.elf", scratch)))
    other = describe(str(vmlinux)).replace(b"OSRELEASE=6.12.95", b"OSRELEASE=6.12.94")
    knowledge = gather_knowledge(source, b"", vmlinux=other, origins=())
    assert knowledge.problem is not None
    assert knowledge.memmap is None
    source.close()


@pytest.mark.parametrize("without", [b"SYMBOL(vmcoreinfo_data)", b"OSRELEASE"])
def test_another_kernels_file_beside_vmcoreinfo(without: bytes, vmlinux: Path, scratch: Path) -> None:
    """Missing keys are not taken from the vmlinux of another release."""
    source = open_source(str(dump("demo.elf", scratch)))
    lacking = (without, b"OFFSET(page.mapping)")
    text = b"\n".join(line for line in (source.vmcoreinfo or b"").split(b"\n") if not line.startswith(lacking))
    for release, used in ((b"6.12.95", True), (b"6.12.94", False)):
        made = describe(str(vmlinux)).replace(b"OSRELEASE=6.12.95", b"OSRELEASE=" + release)
        knowledge = gather_knowledge(source, text, vmlinux=made, origins=(SYMBOLS,))
        assert knowledge.info is not None
        assert (knowledge.info.value("OFFSET(page.mapping)") == "24") == used
        told = [note for note in knowledge.notes if "6.12.94-vmsieve-demo" in note]
        assert bool(told) == (not used and without != b"OSRELEASE")
    source.close()


def test_the_command(vmlinux: Path, scratch: Path, tmp_path: Path) -> None:
    """The command prints text for --vmcoreinfo; of a dump, its VMCOREINFO."""
    run = vmsieve("vmcoreinfo", "--vmlinux", vmlinux)
    assert (run.status, run.out.encode()) == (0, describe(str(vmlinux)))
    core = dump("demo.elf", scratch)
    (tmp_path / "info").write_text(run.out)
    for words in (("--vmcoreinfo", tmp_path / "info"), ("--vmlinux", vmlinux)):
        assert vmsieve("dump", "-f", "-d", 31, *words, core, tmp_path / "out").status == 0
    assert "SYMBOL(init_top_pgt)" in vmsieve("vmcoreinfo", core).out
    assert vmsieve("vmcoreinfo").status == 2
    assert vmsieve("vmcoreinfo", core, "--vmlinux", vmlinux).status == 2


def test_makedumpfiles_options(vmlinux: Path, scratch: Path, tmp_path: Path) -> None:
    """-g writes text that -i takes, and -x takes the file: each keeps the same pages as the dump alone."""
    core, text = str(dump("demo.elf", scratch)), str(tmp_path / "info")
    assert makedumpfile(["-g", text, "-x", str(vmlinux)]) == 0
    assert (tmp_path / "info").read_bytes() == describe(str(vmlinux))
    pages = []
    for words in ([], ["-i", text], ["-x", str(vmlinux)]):
        assert makedumpfile(["-d", "31", "-f", *words, core, str(tmp_path / "out")]) == 0
        source = open_source(str(tmp_path / "out"))
        pages.append([source.memory_bits(first, 1 << 14, 4096)[1] for first in (0, 1 << 14)])
        source.close()
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize("size", [0, 10, 64, 5000, -64, -8])
def test_files_that_are_not_vmlinux(size: int, vmlinux: Path, tmp_path: Path) -> None:
    """Truncated anywhere, or another file: one line, no traceback."""
    data = vmlinux.read_bytes()
    (tmp_path / "cut").write_bytes(data[:size])
    failed(vmsieve("vmcoreinfo", "--vmlinux", tmp_path / "cut"), "vmlinux")


def test_fifo(tmp_path: Path) -> None:
    """A FIFO is an error; the command does not wait for it."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="has to be a regular file"):
        describe(str(tmp_path / "fifo"))


def test_types_from_dwarf(vmlinux: Path, tmp_path: Path) -> None:
    """Without BTF, DWARF gives the same text."""
    expected = VmcoreInfo(describe(str(vmlinux)))
    found = VmcoreInfo(describe(str(with_dwarf(expected, vmlinux, tmp_path / "dwarf"))))
    assert {key: found.value(key) for key in expected.keys} == {key: expected.value(key) for key in expected.keys}


def part(path: Path, name: str) -> tuple[int, bytes]:
    """A section's address and bytes."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(name)
        assert section is not None
        return section["sh_addr"], section.data()


def with_dwarf(told: VmcoreInfo, like: Path, path: Path) -> Path:
    """A vmlinux file with the types of a VMCOREINFO text in DWARF."""
    made = DwarfSections()
    word = Node(0x24, {0x03: "long", 0x0B: 8})
    nodes: list[Node] = [word]
    for name in TYPE_NAMES:
        inside = []
        for one, at in members(told, name).items():
            length = told.length(f"{name}.{one}")
            nodes += [array(word, length)] if length else []
            inside.append(member(one, nodes[-1] if length else word, at))
        if inside:
            nodes.append(structure(name, told.size(name) or 8, *inside))
    flags = {key[7:-1]: told.number(key[7:-1]) or 0 for key in told.keys if key.startswith("NUMBER(PG_")}
    flags["PG_head"] = flags.pop("PG_head_mask").bit_length() - 1
    kinds = {
        f"PGTY_{name}": (told.number(key) or 0) + (1 << 32) >> 24
        for key, (name, _, _) in PAGE_TYPES.items()
        if f"NUMBER({key})" in told.keys
    }
    made.unit("mm/page_alloc.c", *nodes, enumeration("pageflags", flags), enumeration("pagetype", kinds))
    parts = {name: part(like, name) for name in (".rodata", ".symtab", ".strtab")}
    path.write_bytes(elf_file({**parts, **{name: (0, text) for name, text in made.sections().items()}}))
    return path


def members(told: VmcoreInfo, structure: str) -> dict[str, int]:
    prefix = f"OFFSET({structure}."
    return {key[len(prefix) : -1]: told.offset(key[7:-1]) or 0 for key in told.keys if key.startswith(prefix)}


@pytest.mark.parametrize(("kind", "flags", "data", "size"), [
    (8, 0, b"", 1 << 44), (3, 0, b"", 1 << 44),
    (3, 1 << 11, struct.pack("<IIQQ", 1, 0, 300 << 20, 1) + zlib.compress(bytes(1 << 20)), None),
], ids=["no bits", "beyond the file", "packed"])  # fmt: skip
def test_implausible_sizes(kind: int, flags: int, data: bytes, size: int | None, tmp_path: Path) -> None:
    """A symbol name table of terabytes takes no memory."""
    image = bytearray(elf_file({".BTF": (0, b""), ".symtab": (0, bytes(48)), ".strtab": (0, data)}))
    (table,) = struct.unpack_from("<Q", image, 0x28)
    struct.pack_into("<IQ", image, table + 3 * 64 + 4, kind, flags)
    struct.pack_into("<Q", image, table + 3 * 64 + 32, len(data) if size is None else size)
    (tmp_path / "file").write_bytes(image)
    tracemalloc.start()
    with pytest.raises(FormatError):
        describe(str(tmp_path / "file"))
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(("start", "said"), [
    (b"\xfd7zXZ\0", "xz -d"), (b"\x28\xb5\x2f\xfd", "zstd -d"), (b"\x1f\x8b", "gzip -d"), (b"MZ", "vmlinuz"),
    (bytes(0x202) + b"HdrS", "vmlinuz"),
])  # fmt: skip
def test_files_that_are_often_taken_for_it(start: bytes, said: str, tmp_path: Path) -> None:
    """Compressed files and boot images are refused with a hint."""
    (tmp_path / "file").write_bytes(start + bytes(1000))
    with pytest.raises(FormatError) as error:
        describe(str(tmp_path / "file"))
    assert said in f"{error.value} {error.value.hint}"


def test_types_in_another_file(vmlinux: Path, tmp_path: Path) -> None:
    """A stripped file's error names the file with the types."""
    parts = {name: part(vmlinux, name) for name in (".rodata", ".symtab", ".strtab")}
    (tmp_path / "stripped").write_bytes(elf_file({**parts, ".gnu_debuglink": (0, b"vmlinux.debug\0\0\0abcd")}))
    with pytest.raises(FormatError) as error:
        describe(str(tmp_path / "stripped"))
    assert "vmlinux.debug" in str(error.value.hint)


@pytest.mark.parametrize("name", [b".BTF\0", b".symtab\0", b"linux_banner\0", b"Linux version"])
def test_parts_that_are_missing(name: bytes, vmlinux: Path, tmp_path: Path) -> None:
    """A missing section or banner is an error."""
    data = vmlinux.read_bytes()
    (tmp_path / "other").write_bytes(data.replace(name, b"x" * (len(name) - 1) + name[-1:]))
    with pytest.raises(FormatError):
        describe(str(tmp_path / "other"))


def test_no_such_file() -> None:
    """A missing file is a usage error."""
    assert vmsieve("vmcoreinfo", "--vmlinux", "/nonexistent").status == 2
