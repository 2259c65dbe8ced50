"""``skeleton``: a dump that is classified like its original, without user data."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, IMAGE, KERNEL, PAGE, Machine
from tests.build.notes import note, prstatus
from tests.build.s390x_machine import S390Machine
from tests.dumps import answers
from tests.dumps import dump as real_dump
from tests.filters.test_classify_oracle import makedumpfile
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import Damaged, contents, expected, machine
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import Source, open_source
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.dump.watch import Watched
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.inspect.skeleton import Skeleton, make_skeleton
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

_FILLER = b"(page left out of this skeleton)"
_SECRET = b"correct horse battery staple"


def make(source: Path, out: Path, **more: Any) -> Skeleton:
    """``out``: a skeleton of ``source``, lightly compressed."""
    log, text = more.pop("with_log", False), more.pop("vmcoreinfo", None)
    plan = Plan(str(source), str(out), frame=more.pop("frame", "zstd"), frame_level=None, **more)
    return make_skeleton(plan, Silent(), text, with_log=log)


def described(path: Path) -> list[Any]:
    """The complete result of classification, at all levels, zero pages included."""
    source = open_source(str(path))
    try:
        knowledge = gather_knowledge(source)
        class_counts = count_classes(source, knowledge, Silent())
        found: list[Any] = [
            class_counts.nonzero,
            class_counts.zero,
            class_counts.existing,
            class_counts.stored,
            knowledge.phys_base,
        ]
        for level in range(32):
            one = scan(source, knowledge, level, Silent())
            found.append((list(one.exists), list(one.stored), list(one.kept), one.counts, one.notes, one.weaker))
        return found
    finally:
        source.close()


@pytest.mark.parametrize("name", ["4.4", "6.6", "6.12", "7.2"])
@pytest.mark.parametrize("frame", ["zstd", None])
def test_it_is_classified_like_the_original(name: str, frame: str | None, tmp_path: Path) -> None:
    """Both bitmaps, the counts and the zero pages at all 32 levels."""
    original = Machine(LAYOUTS[name], EVERYTHING).write(tmp_path / "machine.elf")
    made = make(original, tmp_path / "skeleton", frame=frame)
    assert described(tmp_path / "skeleton") == described(original)
    assert (made.notes, made.weaker, made.withheld, made.incomplete) == ([], False, 0, False)
    if frame:
        assert made.bytes_out == (tmp_path / "skeleton").stat().st_size < 100_000


def test_no_step_goes_beyond_its_end(tmp_path: Path) -> None:
    """The progress adds up; writing the pages is a separate step."""
    done: dict[str, list[int]] = {}

    class Told(Silent):
        def step(self, name: str, total: int, unit: int = 1) -> None:  # noqa: ARG002 - the protocol's
            done[name] = [0, total]

        def advance(self, parts: int) -> None:
            list(done.values())[-1][0] += parts

    original = Machine(LAYOUTS["6.12"], EVERYTHING).write(tmp_path / "machine.elf")
    made = make_skeleton(Plan(str(original), str(tmp_path / "skeleton")), Told())
    assert done["Copying pages"] == [made.own, made.own]
    assert all(parts <= total for parts, total in done.values())


def test_of_a_big_endian_machine_too(tmp_path: Path) -> None:
    original = S390Machine(LAYOUTS["6.6"], EVERYTHING).write(tmp_path / "machine.elf")
    made = make(original, tmp_path / "skeleton")
    assert described(tmp_path / "skeleton") == described(original)
    assert made.notes == []


def test_the_demo_is_classified_alike(scratch: Path, tmp_path: Path) -> None:
    """A real kernel's dump, which was thinned by pages of repeated words: they are filler in the skeleton."""
    original = real_dump("demo.elf", scratch)
    made = make(original, tmp_path / "skeleton")
    assert (made.notes, made.weaker, made.withheld) == ([], False, 0)
    assert described(tmp_path / "skeleton") == described(original)
    assert made.bytes_out < 400_000
    thinned = [pfn for pfn, page in contents(original).items() if page[:8] * 512 == page and any(page)]
    assert len(thinned) > 5_000
    found = contents(tmp_path / "skeleton")
    assert {found[pfn][:32] for pfn in thinned} == {_FILLER}


def test_missing_keys_are_added_to_vmcoreinfo(scratch: Path, tmp_path: Path) -> None:
    """Keys found in the kernel's symbols and types, of which the skeleton has nothing: it has no more pages."""
    original = real_dump("demo.elf", scratch)
    source = open_source(str(original))
    assert source.vmcoreinfo is not None
    lines = source.vmcoreinfo.splitlines(keepends=True)
    source.close()
    lacking = [line for line in lines if not line.startswith((b"OFFSET(page.mapping)", b"NUMBER(PG_lru)"))]
    assert len(lacking) == len(lines) - 2
    whole = make(original, tmp_path / "whole")
    made = make(original, tmp_path / "skeleton", vmcoreinfo=b"".join(lacking))
    assert made.own == whole.own
    assert not made.weaker
    assert described(tmp_path / "skeleton") == described(original)
    found = open_source(str(tmp_path / "skeleton"))
    assert found.vmcoreinfo is not None
    assert set(found.vmcoreinfo.splitlines()) == {line.strip() for line in lines}
    found.close()


def test_each_page_is_the_original_or_filler_or_zeros(tmp_path: Path) -> None:
    """Pages are the kernel's own and whole, or filler; zero pages are marked."""
    built = machine()
    original = built.write(tmp_path / "machine.elf")
    make(original, tmp_path / "skeleton")
    truth, found, kernels = built.contents(), contents(tmp_path / "skeleton"), expected(built, 31)
    names = KERNEL // PAGE + 11
    assert set(found) == set(truth)
    own = {pfn for pfn in found if found[pfn] not in (bytes(PAGE), _FILLER * (PAGE // 32))}
    assert own <= kernels
    assert all(found[pfn] == truth[pfn] for pfn in own - {names})
    assert {pfn for pfn in found if found[pfn] == bytes(PAGE)} == {pfn for pfn in truth if truth[pfn] == bytes(PAGE)}
    maps = {built.map_at(0) // PAGE + i for i in range(512)} | {built.map_at(2) // PAGE + i for i in range(32)}
    assert {pfn for pfn in maps if any(truth[pfn])} <= own
    assert len(own) < len(maps) + 16


def test_nothing_of_users_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte of the unpacked file is from user, file or free pages, registers or the host name."""
    built = machine()
    for pfn in built.memory:
        built.memory[pfn] = (_SECRET + b"%d" % pfn).ljust(PAGE, b"x")
    path = tmp_path / "machine.elf"
    notes = prstatus(1, _SECRET.ljust(216)) + note(b"VMCOREINFO\0", 0, built.vmcoreinfo())
    monkeypatch.setattr(built, "notes", lambda _: notes)
    built.write(path)
    assert path.read_bytes().count(_SECRET) > len(built.memory)
    assert b"testbox" in path.read_bytes()
    make(path, tmp_path / "skeleton", frame=None)
    written = (tmp_path / "skeleton").read_bytes()
    assert _SECRET not in written
    assert b"testbox" not in written
    assert LAYOUTS["6.12"].release.encode() in written


def test_the_hosts_name_is_removed_without_its_exported_offset(tmp_path: Path) -> None:
    """Kernels before v5.11; the rest of the name remains for readers who know its place."""
    built = Machine(LAYOUTS["4.4"], EVERYTHING)
    del built.keys["OFFSET(uts_namespace.name)"]
    built.edits[KERNEL // PAGE + 11] = b"\1\0\0\0" + built._tables()[11]
    made = make(built.write(tmp_path / "machine.elf"), tmp_path / "skeleton", frame=None)
    assert not made.weaker
    page = contents(tmp_path / "skeleton")[KERNEL // PAGE + 11]
    assert page[4:10] == b"Linux\0"
    assert LAYOUTS["4.4"].release.encode() in page
    assert b"testbox" not in (tmp_path / "skeleton").read_bytes()


def test_pages_that_look_like_a_users_are_withheld(tmp_path: Path) -> None:
    """A needed page that is a user's by its struct page is left out, with a remark."""
    built = machine()
    sections = KERNEL // PAGE + 6
    built.set(sections, **built._values("user", 0))
    made = make(built.write(tmp_path / "machine.elf"), tmp_path / "skeleton")
    assert (made.withheld, made.weaker) == (1, True)
    assert any("not known to be the kernel's" in text for text in made.notes)
    assert any("not classified like" in text for text in made.notes)
    assert contents(tmp_path / "skeleton")[sections] == _FILLER * (PAGE // 32)


def test_a_skeleton_of_an_unknown_kernel_has_no_pages(tmp_path: Path) -> None:
    """Only the existing page frames, and VMCOREINFO."""
    built = machine()
    built.keys["SYMBOL(init_top_pgt)"] = f"{IMAGE + 9 * PAGE:x}"
    made = make(built.write(tmp_path / "machine.elf"), tmp_path / "skeleton")
    assert (made.own, made.weaker) == (0, True)
    source = open_source(str(tmp_path / "skeleton"))
    assert source.vmcoreinfo == built.vmcoreinfo()
    assert set(contents(tmp_path / "skeleton")) == set(built.frames())
    source.close()


def test_unreadable_pages_stay_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = machine()
    original = built.write(tmp_path / "machine.elf")
    monkeypatch.setattr(
        "vmsieve.pipeline.inspect.skeleton.open_system", lambda path, _: Damaged(open_source(path), {0x100, 0x300})
    )
    made = make(original, tmp_path / "skeleton")
    assert made.unreadable == 2
    source = open_source(str(tmp_path / "skeleton"))
    class_counts = count_classes(source, gather_knowledge(source), Silent())
    assert class_counts.unreadable == 2
    source.close()


def test_pages_that_were_left_out_before_are_left_out(tmp_path: Path) -> None:
    """A skeleton of a filtered dump has the dump's pages, and its level."""
    original = machine().write(tmp_path / "machine.elf")
    assert vmsieve("dump", "-d", 17, "-q", original, tmp_path / "small").status == 0
    make(tmp_path / "small", tmp_path / "skeleton")
    one, two = described(tmp_path / "small"), described(tmp_path / "skeleton")
    assert one == two
    source = open_source(str(tmp_path / "skeleton"))
    assert source.dump_level == 17
    source.close()


def test_a_torn_dump_gives_an_incomplete_skeleton(tmp_path: Path) -> None:
    original = machine().write(tmp_path / "machine.elf")
    with original.open("r+b") as file:
        file.truncate(original.stat().st_size - 3 * PAGE)
    run = vmsieve("skeleton", original, tmp_path / "skeleton")
    assert run.status == 4
    source = open_source(str(tmp_path / "skeleton"))
    assert source.incomplete
    source.close()


def test_the_log_is_in_it_if_asked_for(scratch: Path, tmp_path: Path) -> None:
    original = real_dump("demo.elf", scratch)

    def log(path: Path) -> list[bytes]:
        source = open_source(str(path))
        knowledge = gather_knowledge(source)
        assert knowledge.memory is not None
        assert knowledge.info is not None
        try:
            return list(kernel_log(knowledge.memory, knowledge.info))
        finally:
            source.close()

    make(original, tmp_path / "with", with_log=True)
    make(original, tmp_path / "without", frame=None)
    assert log(tmp_path / "with") == log(original)
    line = log(original)[0].split(b"] ", 1)[1].strip()
    assert len(line) > 20
    assert line not in (tmp_path / "without").read_bytes()


def test_the_command_line(tmp_path: Path) -> None:
    """It never overwrites inputs, prints counts, and writes a dump that other commands read."""
    original = machine().write(tmp_path / "machine.elf")
    run = vmsieve("skeleton", original, tmp_path / "out")
    assert run.status == 0
    assert "Pages left out" in run.err
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    failed(vmsieve("skeleton", original, tmp_path / "out"), "exists already")
    quiet = vmsieve("skeleton", "-q", "-f", "--frame", "none", original, tmp_path / "out")
    assert (quiet.status, quiet.err) == (0, "")
    assert (tmp_path / "out").read_bytes()[:8] == b"KDUMP   "
    assert vmsieve("dump", "-d", 31, "-q", tmp_path / "out", tmp_path / "small").status == 0
    assert vmsieve("skeleton", "-q", "--frame", "gzip:9", original, tmp_path / "gz").status == 0
    assert (tmp_path / "gz").read_bytes()[:2] == b"\x1f\x8b"
    assert vmsieve("skeleton", "--frame", "zstd:x", original, tmp_path / "x").status == 2
    assert vmsieve("skeleton", "--frame", "zip", original, tmp_path / "x").status == 2
    one, two = vmsieve("info", "--json", original).out, vmsieve("info", "--json", tmp_path / "out").out
    assert LAYOUTS["6.12"].release in one
    assert LAYOUTS["6.12"].release in two
    assert "testbox" not in two


def test_reads_are_recorded_by_page(tmp_path: Path) -> None:
    """Reads of any size and offset, and mappings, are recorded; joined and in order."""
    source: Source = open_source(str(machine().write(tmp_path / "machine.elf")))
    watched = Watched(source)
    for paddr, size in ((5 * PAGE + 4000, 200), (PAGE, 8), (0x100 * PAGE, 32 * PAGE), (0x110 * PAGE, 40 * PAGE)):
        watched.read_into(paddr, memoryview(bytearray(size)))
    assert watched.read_spans(PAGE) == [(1, 2), (5, 7), (0x100, 0x138)]
    assert watched.read_spans(16 * PAGE) == [(0, 1), (0x10, 0x14)]
    with pytest.raises(ReadError):
        watched.read_into(1 << 40, memoryview(bytearray(8)))
    assert watched.read_spans(PAGE)[-1] == (0x100, 0x138)
    source.close()


def test_unpacked_it_is_a_plain_kdump_file(tmp_path: Path) -> None:
    """The layout that other tools expect: header, bitmaps, one descriptor per page, shared ones equal."""
    built = machine()
    make(built.write(tmp_path / "machine.elf"), tmp_path / "skeleton", frame=None)
    data = (tmp_path / "skeleton").read_bytes()
    block, sub, bitmaps = struct.unpack_from("<iiI", data, 428)
    assert block == PAGE
    start = (1 + sub + bitmaps) * PAGE
    table = list(struct.iter_unpack("<qIIQ", data[start : start + 24 * len(built.frames())]))
    assert {size for _, size, _, _ in table} == {PAGE}
    assert all(at + size <= len(data) for at, size, _, _ in table)
    assert len({at for at, _, _, _ in table}) < len(table) // 4


@pytest.mark.oracle
def test_makedumpfile_selects_the_same_pages_of_it(scratch: Path, tmp_path: Path) -> None:
    """Both bitmaps of the filtered skeleton equal the filtered original's."""
    program = makedumpfile("6.12")
    make(real_dump("demo.elf", scratch), tmp_path / "skeleton", frame=None)
    for level in (0, 8, 31):
        out = tmp_path / f"out{level}"
        done = subprocess.run(
            [program, "-c", "-d", str(level), tmp_path / "skeleton", out], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stdout
        source = open_source(str(out))
        exists, kept = source.memory_bits(0, BLOCK, PAGE)
        source.close()
        answer = answers("demo")["levels"][str(level)]
        for bits, key in ((exists, "bitmap1_sha256"), (kept, "bitmap2_sha256")):
            assert hashlib.sha256(bytes(bits).rstrip(b"\0")).hexdigest() == answer[key], (level, key)
