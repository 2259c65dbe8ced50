"""Dumps that are split across several files, and joined again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.formats.inputs.test_kdump_parts import parts
from tests.outcome import result_or_error
from tests.pipeline.kit import compared, contents, make
from vmsieve.formats.errors import FormatError, OutputError, ReadError, UsageError, VmsieveError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.layouts import kdump
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.pipeline.dump import batches, packing
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.reassemble import reassemble
from vmsieve.pipeline.makedumpfile.main import main
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.outputs import Batch


def le64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def share(core: Path, folder: Path, count: int, **more: object) -> list[str]:
    paths = [str(folder / f"part{number}") for number in range(count)]
    report = make(core, folder / "unused", 31, split=tuple(paths), **more)
    assert not report.incomplete
    return paths


@pytest.mark.parametrize(("codec", "count", "threads"), [("none", 2, 1), ("zlib", 3, 2), ("lzo", 7, 1)])
def test_shared_out_and_joined_again(codec: str, count: int, threads: int, core: Path, tmp_path: Path) -> None:
    """The files hold all pages in about equal numbers; joined in any order, they equal the dump as one file."""
    parts = share(core, tmp_path, count, codec=codec, threads=threads)
    assert not (tmp_path / "unused").exists()
    make(core, tmp_path / "whole", 31, codec=codec)
    assert reassemble(Plan("", str(tmp_path / "joined")), parts[1:] + parts[:1], Silent())
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()
    source = open_source(",".join(parts))
    assert not source.incomplete
    source.close()
    singles = [len(contents(tmp_path / f"part{number}")) for number in range(count)]
    assert max(singles) - min(singles) <= 1
    assert compared(core, ",".join(parts)).right  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_files_grow_side_by_side(threads: int, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each disk is written to while the others work."""
    turns, pages = [], KdumpWriter.pages

    def watched(writer: KdumpWriter, batch: Batch) -> None:
        turns.append(id(writer))
        pages(writer, batch)

    monkeypatch.setattr(KdumpWriter, "pages", watched)
    monkeypatch.setattr(batches, "_MOST_PAGES", 0)  # the core is sparse
    monkeypatch.setattr(packing, "_CHUNK", 1 << 19)
    share(core, tmp_path, 3, threads=threads)
    assert len(turns) >= 9
    assert all(len(set(turns[at : at + 3])) == 3 for at in range(0, 9, 3))


def test_a_split_dump_is_filtered_again(core: Path, tmp_path: Path) -> None:
    """Like any dump: from several files into one."""
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    make(core, tmp_path / "unused", 1, codec="lzo", split=tuple(paths))
    make(",".join(paths), tmp_path / "again", 31)  # type: ignore[arg-type]
    make(core, tmp_path / "at once", 31)
    assert contents(tmp_path / "again") == contents(tmp_path / "at once")


def test_a_lost_part_is_an_error(core: Path, tmp_path: Path) -> None:
    """Without it nothing is joined; nor are files that are not parts."""
    parts = share(core, tmp_path, 3)
    for lost in range(3):
        with pytest.raises(FormatError, match="no file is given that holds page frames"):
            reassemble(Plan("", str(tmp_path / "out")), parts[:lost] + parts[lost + 1 :], Silent())
    with pytest.raises(FormatError):
        reassemble(Plan("", str(tmp_path / "out")), [*parts, str(core)], Silent())
    make(core, tmp_path / "whole", 31)
    with pytest.raises(UsageError, match="a whole dump"):
        reassemble(Plan("", str(tmp_path / "out")), [*parts, str(tmp_path / "whole")], Silent())
    assert not (tmp_path / "out").exists()


def test_a_part_that_is_damaged_makes_an_incomplete_dump(core: Path, tmp_path: Path) -> None:
    """Its missing pages are described as missing; all others are present."""
    parts = share(core, tmp_path, 3, codec="zlib")
    there = [contents(tmp_path / f"part{number}") for number in range(3)]
    truth = there[0] | there[1] | there[2]
    os.truncate(parts[1], os.path.getsize(parts[1]) - 5000)
    assert not reassemble(Plan("", str(tmp_path / "out")), parts, Silent())
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    good = 0
    for pfn, data in truth.items():
        out = bytearray(4096)
        try:
            source.read_into(pfn * 4096, memoryview(out))
        except ReadError:
            continue
        assert out == data
        good += 1
    source.close()
    assert len(truth) - len(there[1]) <= good < len(truth)


def test_erase_information_of_all_parts_is_joined(core: Path, tmp_path: Path) -> None:
    """The erase info of each file is in the joined one, as makedumpfile puts it there."""
    parts = share(core, tmp_path, 2)
    for path, text in zip(parts, (b"erase one\n", b"erase two\n")):
        with open(path, "r+b") as file:
            place = file.seek(0, os.SEEK_END)
            file.write(text)
            file.seek(4096 + 64)
            file.write(place.to_bytes(8, "little") + len(text).to_bytes(8, "little"))
    assert reassemble(Plan("", str(tmp_path / "out")), parts, Silent())
    data = (tmp_path / "out").read_bytes()
    assert data.endswith(b"erase one\nerase two\n")
    assert int.from_bytes(data[4096 + 72 : 4096 + 80], "little") == 20
    assert int.from_bytes(data[4096 + 64 : 4096 + 72], "little") == len(data) - 20


EDITS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(st.integers(0, 470), st.integers(4096, 4300), st.integers(8192, 17000)),
        st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from([0, 1, 1 << 31, (1 << 64) - 1]).map(le64)),
    ),
    max_size=5,
)


@pytest.mark.fuzz
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, which=st.integers(0, 2), cut=st.one_of(st.none(), st.integers(1, 20000)))
def test_damaged_files_are_joined_or_refused(
    edits: list[tuple[int, int, bytes]], which: int, cut: int | None, tmp_path: Path
) -> None:
    """Random content: a result or a typed error; an incomplete result is marked incomplete."""
    files = [bytearray(one.build()) for one in parts()]
    for number, at, value in edits:
        files[number][at : at + len(value)] = value
    if cut is not None:
        del files[which][cut:]
    paths = [str(tmp_path / f"part{number}") for number in range(4)]
    for path, data in zip(paths, files):
        with open(path, "wb") as file:
            file.write(data)
    whole = result_or_error(reassemble, Plan("", str(tmp_path / "out"), force=True), paths, Silent())
    if isinstance(whole, VmsieveError):
        return
    source = open_source(str(tmp_path / "out"))
    assert whole or source.incomplete
    source.close()


def test_a_full_disk_loses_only_its_part(core: Path, tmp_path: Path) -> None:
    """The other files are whole, the dump is incomplete, and a remark has the reason."""
    share(core, tmp_path, 3, codec="none")
    (tmp_path / "again").mkdir()
    paths = [str(tmp_path / "again" / f"part{number}") for number in range(3)]
    whole = {number: contents(tmp_path / f"part{number}") for number in range(3)}
    limit = max(os.path.getsize(tmp_path / f"part{number}") for number in range(3)) - 4096 * 3
    report = make(core, tmp_path / "unused", 31, codec="none", split=tuple(paths), size_limit=limit)
    assert (report.full, report.incomplete) == (True, True)
    torn = []
    for number in range(3):
        found = open_source(paths[number])
        status = int.from_bytes((tmp_path / "again" / f"part{number}").read_bytes()[424:428], "little")
        found.close()
        if status & kdump.INCOMPLETE:
            torn.append(number)
        else:
            assert contents(tmp_path / "again" / f"part{number}") == whole[number]
    assert 0 < len(torn) < 3


def test_the_command_line(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--split and --reassemble; existing files are not overwritten, and no file is used twice."""
    paths = [str(tmp_path / name) for name in "abc"]
    assert main(["--split", "-l", "--num-threads", "2", "-d", "31", str(core), *paths]) == 0
    assert f"The dumpfiles are saved to {paths[0]}, {paths[1]} and {paths[2]}.\n" in capsys.readouterr().out
    assert main(["--split", "-l", "-d", "31", str(core), *paths]) == 1
    assert main(["--split", "-l", "-d", "31", str(core), *paths[:2], str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="named twice"):
        make(core, tmp_path / "x", split=(paths[0], str(tmp_path / ".." / tmp_path.name / "a")), force=True)
    os.link(paths[0], tmp_path / "other name")
    with pytest.raises(UsageError, match="named twice"):
        make(core, tmp_path / "x", split=(paths[0], str(tmp_path / "other name")), force=True)
    (tmp_path / "other name").unlink()
    with pytest.raises(OutputError, match="is the input"):
        make(core, tmp_path / "x", split=(str(core), paths[0]), force=True)
    assert main(["--reassemble", *paths, str(tmp_path / "out")]) == 0
    assert main(["--reassemble", *paths, str(tmp_path / "out")]) == 1
    assert main(["--reassemble", "-f", *paths[::-1], str(tmp_path / "out")]) == 0
    make(core, tmp_path / "whole", 31, codec="lzo")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    capsys.readouterr()
    assert main(["--reassemble", *paths[:2], str(tmp_path / "none")]) == 1
    assert "no file is given that holds page frames" in capsys.readouterr().err
    assert main(["--split", "-d", "31", str(core), str(tmp_path / "one")]) == 1
    assert main(["--split", "-E", "-d", "31", str(core), *paths]) == 1
    assert main(["--split", "-F", "-d", "31", str(core), *paths]) == 1


def test_the_next_level_is_tried_for_all_files(core: Path, tmp_path: Path) -> None:
    """All files are made anew."""
    paths = [str(tmp_path / name) for name in "ab"]
    assert main(["--split", "-d", "0,31", "-L", "6M", str(core), *paths]) == 0
    source = open_source(",".join(paths))
    assert (source.dump_level, source.incomplete) == (31, False)
    source.close()
