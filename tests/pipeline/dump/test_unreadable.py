"""Unreadable pages of the input: counted as unreadable, and distinguished from zeros in every output."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.machine import PAGE
from tests.pipeline.kit import Damaged, expected, make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.formats.outputs._unread import MARK, SPARE
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.dump import make as dumping
from vmsieve.pipeline.inspect.verify import verify
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.machine import Machine
    from vmsieve.pipeline.dump.report import Report
    from vmsieve.pipeline.inspect.verify import Comparison

BAD = {0x101, 0x102, 0x104, 0x185, 0x10100}


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Page frames that no input opened by ``dump`` can read."""
    bad = set(BAD)
    monkeypatch.setattr(dumping, "open_system", lambda path, select: Damaged(open_system(path, select), bad))
    return bad


def loads(data: bytes) -> list[tuple[int, int, int, int]]:
    """Physical address, bytes stored, bytes in memory and file offset of each PT_LOAD, by the header's numbers."""
    (at,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    rows = [struct.unpack_from("<IIQQQQQQ", data, at + i * size) for i in range(count)]
    return [(row[4], row[5], row[6], row[2]) for row in rows if row[0] == 1]


def page_of(data: bytes, pfn: int) -> bytes | None:
    """A page of an ELF core; None if it is not stored at all."""
    for paddr, stored, _, offset in loads(data):
        at = pfn * PAGE - paddr
        if 0 <= at < stored:
            return data[offset + at : offset + at + PAGE]
    return None


def described(data: bytes, pfn: int) -> bool:
    return any(paddr <= pfn * PAGE < paddr + size for paddr, _, size, _ in loads(data))


def verified(core: Path, out: Path, bad: set[int]) -> Comparison:
    source, made = open_source(str(core)), open_source(str(out))
    try:
        return verify(Damaged(source, bad), gather_knowledge(source), made, Silent())
    finally:
        source.close()
        made.close()


@pytest.mark.parametrize("form", ["kdump", "elf"])
@pytest.mark.parametrize("level", [0, 1])
def test_unreadable_pages_are_no_zero_pages(
    form: str, level: int, core: Path, built: Machine, damaged: set[int], tmp_path: Path
) -> None:
    """Each figure of the report is exact, and the account adds up."""
    truth = built.contents()
    zero = {pfn for pfn in expected(built, level) if not any(truth[pfn])}
    damaged |= set(sorted(zero)[:3])
    report = make(core, tmp_path / "out", level, format=form)
    wanted = expected(built, level)
    assert report.unreadable == len(damaged & wanted) >= len(BAD)
    shared = len(zero - damaged) if level & 1 or form == "elf" else 0
    assert report.dropped["zero"] == shared
    assert report.kept == len(wanted - damaged) - shared
    assert report.account()["unreadable"] == report.unreadable * PAGE
    assert report.account()["unaccounted"] == 0
    assert report.exit_status() == 4


def test_a_segment_ends_before_an_unreadable_page(
    core: Path, built: Machine, damaged: set[int], tmp_path: Path
) -> None:
    """In a file p_filesz ends there and p_memsz continues; all other pages are unchanged, and verify agrees."""
    make(core, tmp_path / "out", 0, format="elf")
    data, truth = (tmp_path / "out").read_bytes(), built.contents()
    for pfn in damaged:
        assert page_of(data, pfn) is None
        assert described(data, pfn)
    assert all(page_of(data, pfn) == truth[pfn] for pfn in expected(built, 0) - damaged)
    comparison = verified(core, tmp_path / "out", damaged)
    assert (comparison.unreadable, comparison.swallowed, comparison.lost, comparison.different) == (
        len(damaged),
        0,
        0,
        0,
    )
    assert comparison.account(PAGE)["unaccounted"] == 0


@pytest.mark.parametrize("where", ["flattened", "many"])
def test_without_room_for_headers_a_page_is_full_of_words(
    where: str, core: Path, built: Machine, damaged: set[int], tmp_path: Path
) -> None:
    """A stream's program headers follow its pages, and a file may have more holes than reserved headers."""
    if where == "many":
        damaged |= set(range(0x1000, 0x1000 + 4 * SPARE, 2))
    report: Report = make(core, tmp_path / "out", 0, format="elf", flattened=where == "flattened")
    assert report.exit_status() == 4
    made = open_source(str(tmp_path / "out"))
    assert made.incomplete
    exists, stored = made.memory_bits(0, 1 << 17, PAGE)
    found = set()
    for pfn in damaged:
        assert exists[pfn >> 3] >> (pfn & 7) & 1
        if stored[pfn >> 3] >> (pfn & 7) & 1:
            page = bytearray(PAGE)
            made.read_into(pfn * PAGE, memoryview(page))
            assert bytes(page) == MARK * (PAGE // len(MARK))
            found.add(pfn)
    made.close()
    assert found == damaged if where == "flattened" else 0 < len(found) < len(damaged)
    comparison = verified(core, tmp_path / "out", damaged)
    assert (comparison.unreadable, comparison.swallowed, comparison.lost, comparison.different) == (
        len(damaged),
        0,
        0,
        0,
    )
    later = verified(core, tmp_path / "out", set())
    assert (later.different, later.unwritten) == (0, len(found)), "what can be read by now was not written then"


def test_zeros_in_place_of_unreadable_pages_are_reported(core: Path, damaged: set[int], tmp_path: Path) -> None:
    """Another tool's ELF core, with zeros in place of unreadable pages."""
    data = bytearray(core.read_bytes())
    for paddr, stored, _, offset in loads(bytes(data)):
        for pfn in damaged:
            if paddr <= pfn * PAGE < paddr + stored:
                at = offset + pfn * PAGE - paddr
                data[at : at + PAGE] = bytes(PAGE)
    (tmp_path / "zeros").write_bytes(data)
    comparison = verified(core, tmp_path / "zeros", damaged)
    assert (comparison.swallowed, comparison.right) == (len(damaged), False)
