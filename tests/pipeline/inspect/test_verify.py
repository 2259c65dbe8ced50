"""``verify``: a right dump is reported right, and each kind of fault is found."""

from __future__ import annotations

import gzip
import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.flattened_file import flattened
from tests.build.frame_files import zstd_rows
from tests.build.kdump_file import Kdump as KdumpFile
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, MIB, PAGE, Machine
from tests.build.notes import vmcoreinfo
from tests.build.pages import Page
from tests.build.s390_file import Dump
from tests.build.s390_file import machine as s390_machine
from tests.formats.output_kit import Kdump
from tests.pipeline.kit import Damaged, compared, expected, machine, make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.inspect.verify import verify
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Callable


@pytest.mark.parametrize("level", [0, 1, 2, 4, 8, 16, 31])
def test_right_dumps_of_every_level(level: int, core: Path, built: Machine, tmp_path: Path) -> None:
    """No page is lost, and missing pages are counted by class as in the dump's report."""
    report = make(core, tmp_path / "out", level)
    comparison = compared(core, tmp_path / "out")
    assert comparison.right
    assert comparison.equal == len(expected(built, level))
    assert (comparison.level, comparison.different, comparison.extra, comparison.lost, comparison.notes) == (
        level,
        0,
        0,
        0,
        [],
    )
    assert sum(comparison.missing.values()) == len(built.frames()) - comparison.equal
    counted = {name: count for name, count in report.dropped.items() if count and name != "zero"}
    if level == 31:
        assert comparison.missing == counted


def test_a_dump_is_right_for_itself_and_the_core_for_the_core(core: Path, tmp_path: Path) -> None:
    make(core, tmp_path / "out", 31)
    assert compared(tmp_path / "out", tmp_path / "out").right
    comparison = compared(core, core)
    assert (comparison.right, comparison.missing) == (True, {})


@pytest.mark.parametrize("pfn", [0x101, 0x180, 0x1400, 0x10100])
def test_a_page_that_differs(pfn: int, built: Machine, core: Path, tmp_path: Path) -> None:
    """One changed bit of a page with data, with zeros, or of a page table."""
    make(core, tmp_path / "out", 31)
    before = built.contents()[pfn]
    flipped = bytes([before[0], before[1], before[2] ^ 1]) + before[3:]
    other = machine()
    other.edits[pfn] = flipped
    comparison = compared(other.write(tmp_path / "other"), tmp_path / "out")
    assert (comparison.right, comparison.different) == (False, 1)
    assert comparison.equal == len(expected(built, 31)) - 1
    assert any(f"{pfn * PAGE:#x}" in note for note in comparison.notes)


def test_pages_that_a_level_does_not_leave_out(core: Path, tmp_path: Path) -> None:
    """A dump whose header has level 1 but which lacks user pages has lost them."""
    out = tmp_path / "out"
    report = make(core, out, 31)
    data = bytearray(out.read_bytes())
    struct.pack_into("<i", data, PAGE + 8, 1)
    out.write_bytes(data)
    comparison = compared(core, out)
    assert comparison.level == 1
    names = ("free", "cache", "cache_private", "user")
    # One of the user pages is poisoned: no level keeps it.
    assert comparison.lost == sum(report.dropped[name] for name in names) - 1
    assert not comparison.right


def test_kernel_pages_missing_from_a_dump_are_lost(core: Path, built: Machine, tmp_path: Path) -> None:
    """A dump made by wrong struct pages: slab and other kernel pages taken for user pages."""
    wrong = machine()
    for pfn in (*range(0x800, 0x820), *range(0x100, 0x110)):
        wrong.set(pfn, **wrong._values("user", 0))
    make(wrong.write(tmp_path / "wrong"), tmp_path / "out", 31)
    comparison = compared(core, tmp_path / "out")
    assert (comparison.lost, comparison.right) == (0x20 + 0x10, False)
    assert comparison.missing["kept"] == comparison.lost


def test_pages_that_the_source_does_not_have(core: Path, tmp_path: Path) -> None:
    """A dump of another, larger machine."""
    larger = Machine(LAYOUTS["6.12"], EVERYTHING, ram=((0, 24 * MIB), (256 * MIB, 272 * MIB)))
    make(larger.write(tmp_path / "larger"), tmp_path / "out", 31)
    comparison = compared(core, tmp_path / "out")
    assert (comparison.extra, comparison.right) == (8 * MIB // PAGE, False)


def test_zeros_in_place_of_pages_that_may_be_left_out(core: Path, built: Machine, tmp_path: Path) -> None:
    """In an ELF core, zero pages and left-out ones are equal; zeros in place of kernel data differ."""
    truth = built.contents()
    dropped = next(pfn for pfn in sorted(set(truth) - expected(built, 31)) if any(truth[pfn]))
    other = machine()
    other.memory[dropped] = bytes(PAGE)
    comparison = compared(core, other.write(tmp_path / "filled"))
    assert (comparison.right, comparison.filler, comparison.different) == (True, 1, 0)
    make(core, tmp_path / "out", 31, format="elf")
    other = machine()
    other.memory[0x190] = b"not zero"
    comparison = compared(other.write(tmp_path / "other"), tmp_path / "out")
    assert (comparison.right, comparison.different) == (False, 1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_torn_dump_is_not_right(share: float, core: Path, tmp_path: Path) -> None:
    """Cut anywhere in its data: stored pages are equal, the rest is reported missing, no content differs."""
    out = tmp_path / "out"
    make(core, out, 31, codec="none")
    whole = out.read_bytes()
    start = Kdump(whole).descriptors
    out.write_bytes(whole[: start + int((len(whole) - start) * share)])
    dump = open_source(str(out))
    assert dump.incomplete
    dump.close()
    comparison = compared(core, out)
    assert not comparison.right
    assert all("differs" not in note for note in comparison.notes)


def _elf() -> tuple[bytes, int]:
    """An ELF core of 32 pages of noise, and the offset of its memory."""
    whole = Core([Load(0x100000, random.Random(1).randbytes(32 * PAGE))]).build()
    return whole, len(whole) - 32 * PAGE


def _s390() -> tuple[bytes, int]:
    """A stand-alone dump, with noise around the cut, and the offset of its memory."""
    memory = s390_machine(1)
    noise = random.Random(1).randbytes(2 * PAGE)
    return Dump(memory[: 20 * PAGE] + noise + memory[22 * PAGE :]).flat(), PAGE


#: Memory of a truncated dump.
WRAPS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "flattened": lambda data: flattened([(0, data)], b""),
    "gzip": lambda data: gzip.compress(data)[:-8],
    "zstd": zstd_rows,
}


@pytest.mark.parametrize("part", [1, PAGE - 1])
@pytest.mark.parametrize("wrap", sorted(WRAPS))
@pytest.mark.parametrize("build", [_elf, _s390])
def test_a_page_in_which_the_dump_ends(
    build: Callable[[], tuple[bytes, int]], wrap: str, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the page reads as zeros: it is not whole, and differs only if its stored part does."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    whole, start = build()
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(whole)
    end = start + 20 * PAGE + part
    out.write_bytes(WRAPS[wrap](whole[:end]))
    comparison = compared(source, out)
    assert (comparison.equal, comparison.unwritten, comparison.different) == (20, 1, 0)
    assert main(["verify", str(source), str(out)]) == 4
    out.write_bytes(WRAPS[wrap](whole[: end - 1] + bytes([whole[end - 1] ^ 1])))
    comparison = compared(source, out)
    assert (comparison.equal, comparison.unwritten, comparison.different) == (20, 0, 1)
    assert main(["verify", str(source), str(out)]) == 1


def test_a_page_of_a_whole_dump_that_is_stored_in_part_differs(tmp_path: Path) -> None:
    """The dump is not marked as torn, so the rest was never to come."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(Core([Load(0x100000, b"a" * 2 * PAGE)]).build())
    out.write_bytes(Core([Load(0x100000, b"a" * (2 * PAGE - 1))]).build())
    comparison = compared(source, out)
    assert (comparison.equal, comparison.unwritten, comparison.different) == (1, 0, 1)


@pytest.mark.parametrize("side", ["source", "dump"])
def test_unreadable_pages(side: str, core: Path, tmp_path: Path) -> None:
    """In the source they can't be judged, in the dump they are wrong; their neighbours are equal in both cases."""
    make(core, tmp_path / "out", 31)
    source, dump = open_source(str(core)), open_source(str(tmp_path / "out"))
    knowledge = gather_knowledge(source)
    bad = {0x102, 0x104, 0x185}
    if side == "source":
        comparison = verify(Damaged(source, bad), knowledge, dump, Silent())
        assert (comparison.different, comparison.right) == (0, True)
    else:
        comparison = verify(source, knowledge, Damaged(dump, bad), Silent())
        assert (comparison.different, comparison.right) == (3, False)
    assert comparison.equal == len(expected(machine(), 31)) - 3
    assert len(comparison.notes) == 3
    source.close()
    dump.close()


@pytest.mark.parametrize("stray", [b"", b"x"], ids=["whole", "stray"])
@pytest.mark.parametrize(("size", "told"), [(65536, 4096), (4096, 65536), (16384, 16384)])
def test_a_dump_in_blocks_of_another_size(size: int, told: int, stray: bytes, tmp_path: Path) -> None:
    """It is compared in the kernel's pages; zeros that pad its last block are accepted, other bytes are not."""
    content = random.Random(1).randbytes(0x2F000)
    notes = vmcoreinfo(b"OSRELEASE=6.1.0\nPAGESIZE=%d\n" % told)
    (tmp_path / "in").write_bytes(Core([Load(0x10000, content)], (notes,), machine=183).build())
    filled = content.ljust(0x30000 - len(stray), b"\0") + stray
    first = 0x10000 // size
    blocks = [filled[at : at + size] for at in range(0, len(filled), size)]
    if not stray and size < told:
        blocks.pop()

    def write(path: Path) -> Path:
        pages = [Page(first + k, "stored", one) for k, one in enumerate(blocks)]
        path.write_bytes(KdumpFile(pages, page_size=size, machine=b"aarch64").build())
        return path

    comparison = compared(tmp_path / "in", write(tmp_path / "out"))
    assert comparison.right == (not stray)
    assert comparison.equal == -(-len(content) // told) - (told > 4096 and bool(stray))
    blocks[1] = bytes(size)
    assert compared(tmp_path / "in", write(tmp_path / "bad")).different >= max(1, size // told)


def test_a_dump_that_ends_long_before_its_source(tmp_path: Path) -> None:
    """Memory beyond the dump is lost, and named with its range and size, in bounded time."""
    whole = Core([Load(0x1000, b"a" * PAGE), Load(3 << 30, b"b" * 3 * PAGE), Load(5 << 30, b"c" * PAGE)]).build()
    (tmp_path / "whole").write_bytes(whole)
    (tmp_path / "part").write_bytes(Core([Load(0x1000, b"a" * PAGE), Load((3 << 30) + PAGE, b"b" * PAGE)]).build())
    comparison = compared(tmp_path / "whole", tmp_path / "part")
    assert (comparison.equal, comparison.lost, comparison.right) == (2, 3, False)
    assert [(one.start, one.end, one.size) for one in comparison.places] == [
        (3 << 30, (3 << 30) + PAGE, PAGE), ((3 << 30) + 2 * PAGE, (3 << 30) + 3 * PAGE, PAGE),
        (5 << 30, (5 << 30) + PAGE, PAGE),
    ]  # fmt: skip
    assert any(f"{PAGE} bytes in {5 << 30:#x} - " in note for note in comparison.notes)
    assert comparison.account(PAGE)["unaccounted"] == 0
    comparison = compared(tmp_path / "part", tmp_path / "whole")
    assert (comparison.extra, comparison.different, comparison.lost, comparison.right) == (3, 0, 0, False)


def test_zero_pages_that_an_elf_core_does_not_store_are_right(tmp_path: Path) -> None:
    """As makedumpfile -E -d 1 omits them; a page with content there is lost, and so are zeros outside all segments."""
    content = b"".join(bytes(PAGE) if 5 <= i < 10 else bytes([i + 1]) * PAGE for i in range(20))
    (tmp_path / "source").write_bytes(Core([Load(0x100000, content), Load(0x200000, bytes(PAGE))]).build())
    for stored, lost in ((5, 1), (4, 2)):
        first = Load(0x100000, content[: stored * PAGE], 10 * PAGE)
        (tmp_path / "dump").write_bytes(Core([first, Load(0x10A000, content[10 * PAGE :])]).build())
        comparison = compared(tmp_path / "source", tmp_path / "dump")
        assert (comparison.missing["zero"], comparison.lost, comparison.right) == (5, lost, False)
    (tmp_path / "source").write_bytes(Core([Load(0x100000, content)]).build())
    (tmp_path / "dump").write_bytes(
        Core([Load(0x100000, content[: 5 * PAGE], 10 * PAGE), Load(0x10A000, content[10 * PAGE :])]).build()
    )
    comparison = compared(tmp_path / "source", tmp_path / "dump")
    assert (comparison.right, comparison.missing) == (True, {"zero": 5})
