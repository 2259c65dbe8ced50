"""Dumps written and read again: each codec, format and number of threads; dumps of dumps; unreadable pages."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.kit import MAX_PFN, Damaged, compared, contents, expected, make, pages
from vmsieve.formats.codecs import codecs
from vmsieve.formats.errors import OutputError, ReadError, UsageError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.outputs import output_formats
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.machine import Machine

KINDS = [
    (form.name, codec)
    for form in output_formats()
    if form.name != "s390"  # holds s390x machines only: see test_s390_formats
    for codec in ([c.name for c in codecs()] if form.packed else ["none"])
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("flattened", [False, True], ids=["file", "flattened"])
@pytest.mark.parametrize(("form", "codec"), KINDS, ids=[f"{form}-{codec}" for form, codec in KINDS])
def test_dumps_are_read_back(
    form: str, codec: str, flattened: bool, threads: int, core: Path, built: Machine, truth: dict[int, bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The right pages with the right content, no additional ones, and the right header fields."""
    out = tmp_path / "out"
    report = make(core, out, 31, format=form, codec=codec, flattened=flattened, threads=threads)
    kept = expected(built, 31)
    assert (report.exit_status(), report.notes) == (EXIT_OK, [])
    assert report.kept + report.dropped["zero"] == len(kept) + report.bridged
    found, source = contents(out), open_source(str(out))
    assert {pfn: truth[pfn] for pfn in kept} == {pfn: found.pop(pfn) for pfn in kept}
    if form == "elf":
        assert found == {pfn: truth[pfn] for pfn in found}, "pages that fill a gap are what they were"
        assert len(found) == report.bridged > 0
    else:
        assert not found
        assert (source.dump_level, source.utsname[2], source.crash_time) == (31, "6.12.0-test", 1700000000)
    assert pages(source)[0] == set(built.frames())
    assert (source.machine, source.incomplete, source.remarks) == ("x86_64", False, [])
    assert source.vmcoreinfo == built.vmcoreinfo()
    assert len(source.cpus) == 1
    source.close()
    comparison = compared(core, out)
    assert (comparison.right, comparison.extra, comparison.equal) == (True, 0, len(kept) + report.bridged)


@pytest.mark.parametrize("level", [0, 1, 2, 8, 16, 30])
@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_other_levels(
    form: str, level: int, core: Path, built: Machine, truth: dict[int, bytes], tmp_path: Path
) -> None:
    """Zero pages are stored or share a block, and read as zeros in both cases."""
    report = make(core, tmp_path / "out", level, format=form)
    kept = expected(built, level)
    found = contents(tmp_path / "out")
    assert {pfn: found[pfn] for pfn in kept} == {pfn: truth[pfn] for pfn in kept}
    zeros = sum(page == bytes(4096) for page in found.values())
    assert report.dropped["zero"] == (zeros if level & 1 or form == "elf" else 0)
    assert report.kept == len(kept) + report.bridged - report.dropped["zero"]


@pytest.mark.parametrize("form", ["kdump", "elf"])
@pytest.mark.parametrize("flattened", [False, True], ids=["file", "flattened"])
@pytest.mark.parametrize("first", [0, 1, 17, 31])
def test_filtering_twice_is_filtering_once(
    first: int, flattened: bool, form: str, core: Path, built: Machine, tmp_path: Path
) -> None:
    """A dump of a dump equals a dump of the machine, byte for byte if both store the level."""
    middle, out, direct = (tmp_path / name for name in ("middle", "out", "direct"))
    make(core, middle, first, format=form, flattened=flattened, codec="none" if form == "elf" else "lzo")
    report = make(middle, out, 31)
    once = make(core, direct, 31)
    assert (report.exit_status(), report.level) == (EXIT_OK, 31)
    assert contents(out) == contents(direct)
    if form == "kdump":
        assert out.read_bytes() == direct.read_bytes()
        assert report.absent == len(built.frames()) - len(expected(built, first))
    assert report.kept == once.kept


def test_a_lower_level_brings_nothing_back(core: Path, built: Machine, tmp_path: Path) -> None:
    """The output's level includes what earlier runs left out; zero pages keep sharing a block."""
    make(core, tmp_path / "middle", 31)
    report = make(tmp_path / "middle", tmp_path / "out", 0)
    source = open_source(str(tmp_path / "out"))
    assert (report.level, source.dump_level) == (31, 31)
    assert pages(source) == (set(built.frames()), expected(built, 31))
    source.close()
    assert contents(tmp_path / "out") == contents(tmp_path / "middle")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_unreadable_pages_are_listed(
    form: str, threads: int, core: Path, built: Machine, truth: dict[int, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All others are in the dump, which is marked incomplete; the unreadable ones are listed up to a number."""
    bad = {0x100, 0x105, 0x10000 + 0x110, *range(0x900, 0x910)}
    monkeypatch.setattr("vmsieve.pipeline.dump.make.open_system", lambda path, _: Damaged(open_source(path), bad))
    report = make(core, tmp_path / "out", 0, format=form, threads=threads)
    monkeypatch.undo()
    assert report.exit_status() == EXIT_INCOMPLETE
    assert report.unreadable == len(bad)
    wanted = expected(built, 0)
    assert report.kept + report.dropped["zero"] == len(wanted) - len(bad)
    named = [note for note in report.notes if "can't be read" in note]
    assert [int(note.split()[3], 16) >> 12 for note in named] == sorted(bad)[:8]
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    out = bytearray(4096)
    for pfn, content in truth.items():
        if pfn in bad:
            if form == "kdump":
                with pytest.raises(ReadError):
                    source.read_into(pfn << 12, memoryview(out))
        elif pfn in wanted:
            source.read_into(pfn << 12, memoryview(out))
            assert out == content, hex(pfn)
    source.close()


def test_unreadable_struct_pages_keep_their_pages(
    core: Path, built: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable page of struct pages disables filtering for 64 page frames only."""
    bad = {(built.map_at(0) >> 12) + 0x100 // 64 + 4}  # struct pages of 0x200 to 0x23f: page cache
    monkeypatch.setattr("vmsieve.pipeline.dump.make.open_system", lambda path, _: Damaged(open_source(path), bad))
    report = make(core, tmp_path / "out", 31)
    monkeypatch.undo()
    assert report.weaker
    assert any("struct pages can't be read" in note for note in report.notes)
    source = open_source(str(tmp_path / "out"))
    assert pages(source)[1] - expected(built, 31) == set(range(0x200, 0x240))
    source.close()


def test_weaker_and_incomplete_differ(built: Machine, tmp_path: Path) -> None:
    """Whole but less filtered is 3; not whole is 4, even if also less filtered."""
    core = built.write(tmp_path / "core", b"OSRELEASE=6.12\nPAGESIZE=4096\n")
    report = make(core, tmp_path / "out", 31)
    assert report.exit_status() == EXIT_WEAKER
    assert report.kept + report.dropped["zero"] == len(built.frames())
    report.incomplete = True
    assert report.exit_status() == EXIT_INCOMPLETE


def test_the_report_for_machines(core: Path, built: Machine, truth: dict[int, bytes], tmp_path: Path) -> None:
    """The JSON report's keys, and sums that add up: each existing page is counted exactly once."""
    report = make(core, tmp_path / "out", 31)
    found = json.loads(json.dumps(report.json()))
    assert list(found) == [
        "input", "output", "status", "dump_level", "page_size", "release", "crash_time", "pages", "bridged", "full",
        "bytes", "seconds", "notes", "details", "uncovered", "partial", "order", "classes", "account",
    ]  # fmt: skip
    counts = found["pages"]
    assert list(counts) == [
        "total", "holes", "absent", "free", "unaccepted", "cache", "cache_private", "user", "hwpoison", "offline",
        "zero", "unreadable", "kept",
    ]  # fmt: skip
    assert (counts["total"], counts["holes"]) == (MAX_PFN, MAX_PFN - len(truth))
    assert sum(counts.values()) - counts["total"] == counts["total"]
    assert (found["status"], found["dump_level"], found["page_size"]) == (0, 31, 4096)
    assert found["bytes"]["in"] == (counts["kept"] + counts["zero"]) * 4096
    assert 0 < found["bytes"]["out"] <= (tmp_path / "out").stat().st_size
    assert set(found["seconds"]) == {"open", "classify", "copy", "finish"}
    text = "\n".join(report.lines())
    assert f"{counts['user']:,}" in text
    assert "Memory holes" in text


def test_levels_and_codecs_that_are_not_there(core: Path, tmp_path: Path) -> None:
    """Refused before the output is touched."""
    for more in ({"codec": "brotli"}, {"codec": "zlib", "codec_level": 99}, {"format": "tar"}):
        with pytest.raises(UsageError):
            make(core, tmp_path / "out", 31, **more)
        assert not (tmp_path / "out").exists()


def test_the_output_is_not_taken_by_surprise(core: Path, tmp_path: Path) -> None:
    """An existing file stays without force, the input even with it, and a new one is owner-only."""
    there = tmp_path / "there"
    there.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        make(core, there)
    assert there.read_bytes() == b"precious"
    make(core, there, force=True)
    assert there.read_bytes().startswith(b"KDUMP")
    before = there.read_bytes()
    for name in ("there", "link", "hard"):
        if name == "link":
            (tmp_path / name).symlink_to(there)
        elif name == "hard":
            os.link(there, tmp_path / name)
        with pytest.raises(OutputError, match="the output is the input"):
            make(there, tmp_path / name, force=True)
    assert there.read_bytes() == before
    make(core, tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
