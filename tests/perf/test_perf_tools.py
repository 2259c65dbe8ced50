"""The measuring tools run and count right; the measured figures are not tested."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from perf import caches, ceiling, corruption, foreign, keys, measure, options, scale, side_by_side, startup, tiled

from tests.dumps import ROOT, dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import Scan, scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = [sys.executable, "-I", "-S", "-c"]
GIB = 1 << 30


@pytest.fixture(autouse=True)
def no_makedumpfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure only vmsieve, whatever other tools are installed."""
    monkeypatch.setattr(options, "find_makedumpfile", lambda path: path)


@pytest.fixture(autouse=True)
def children_find_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tools restart themselves."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


def test_usage_of_a_process(tmp_path: Path) -> None:
    """CPU time, memory and size of a process, without the memory of the measuring process."""
    out = tmp_path / "out"
    hog = bytearray(64 << 20)
    hog[::4096] = b"x" * (len(hog) // 4096)
    code = f"open({str(out)!r}, 'wb').write(bytes(1000)); sum(range(3 << 20))"
    used = measure.run([*PYTHON, code], out)
    assert used.size == 1000
    assert 0 < used.cpu < used.wall + 1
    assert 2 < used.rss < 40
    assert used.user > 0


def test_a_command_that_fails_is_an_error() -> None:
    """A failed command has no time; the error has its last words."""
    with pytest.raises(measure.CommandError, match=r"exit status 3: why$"):
        measure.run([*PYTHON, "print('first'); print('why'); raise SystemExit(3)"])


def test_runs_are_interleaved_in_turning_order() -> None:
    order: list[str] = []
    cases = {name: (lambda name=name: order.append(name)) for name in "abc"}
    found = measure.interleave(cases, 3)
    assert "".join(order) == "abccbaabc"
    assert {name: len(runs) for name, runs in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_rounds_end_in_time_but_not_before_the_third() -> None:
    """No round begins after the limit, once there are three."""
    assert len(measure.interleave({"a": lambda: 1}, 9, seconds=-1)["a"]) == 3
    assert len(measure.interleave({"a": lambda: 1}, 2, seconds=-1)["a"]) == 2
    assert len(measure.interleave({"a": lambda: 1}, 9, seconds=1e9)["a"]) == 9


def test_medians() -> None:
    """Each figure's median; wall time from the runs with the least other load."""
    usages = [
        measure.Usage(user, 1.0, wall, rss, 7, wall, others)
        for user, wall, rss, others in ((3.0, 9.0, 5.0, 2.0), (1.0, 2.0, 6.0, 0.1), (2.0, 4.0, 7.0, 0.2))
    ]
    middle = measure.median(usages)
    assert (middle.user, middle.cpu, middle.wall, middle.rss, middle.size, middle.read) == (2.0, 3.0, 3.0, 6.0, 7, 4.0)


def test_a_table_lines_up() -> None:
    assert measure.table([["a", "n"], ["long", 1], ["b", 22.5]]) == "a          n\nlong       1\nb     22.500"


def read(path: Path, suite: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["suites"][suite]
    return found


VMSIEVE = f"{sys.executable} -m vmsieve"


@pytest.fixture
def makedumpfile(tmp_path: Path) -> Path:
    """Stand-in for makedumpfile: writes a byte for each option, and notes how it was called."""
    path = tmp_path / "tools" / "makedumpfile"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\necho "$*" >> {path}.calls\n'
        'for out in "$@"; do :; done\n'
        '[ "$1" = -v ] && echo "makedumpfile: version 0" || printf "%s" "$1$2$3" > "$out"\n'
    )
    path.chmod(0o755)
    return path


def test_side_by_side(tmp_path: Path, scratch: Path, makedumpfile: Path) -> None:
    """A row for each codec, level, tool and number of threads; makedumpfile runs once for all codecs of a format."""
    words = [str(dump("demo.elf", scratch)), "--rounds", "1", "--levels", "31,0", "--threads", "1,2"]
    for codec in ("lzo", "zlib", "zlib:0"):
        words += ["--only", codec]
    words += ["--scratch", str(tmp_path), "--json", str(tmp_path / "json"), "--vmsieve", VMSIEVE]
    assert side_by_side.main([*words, "--makedumpfile", str(makedumpfile)]) == 0
    found = read(tmp_path / "json", "side by side 128 MiB")
    ours = [(r["codec"], r["level"], r["threads"]) for r in found["rows"] if r["tool"] == "vmsieve"]
    assert ours == [(c, d, t) for d in (31, 0) for c in ("lzo", "zlib", "zlib:0") for t in (1, 2)]
    theirs = [(r["codec"], r["level"], r["size"]) for r in found["rows"] if r["tool"] == "makedumpfile"]
    assert theirs == [(c, d, len(f"-d{d}-c")) for d in (31, 0) for c in ("lzo", "zlib", "zlib:0")]
    calls = makedumpfile.with_suffix(".calls").read_text().splitlines()
    assert [call.split("/")[0].strip() for call in calls] == ["-v", "-v", "-d 31 -l", "-d 31 -c", "-d 0 -l", "-d 0 -c"]
    assert found["rows"][0]["size"] == found["rows"][1]["size"] < found["rows"][9]["size"]
    assert found["tools"] == {"vmsieve": found["tools"]["vmsieve"], "makedumpfile": "makedumpfile: version 0"}
    assert found["tools"]["vmsieve"].startswith("vmsieve ")
    assert found["cache"]["state"] == "warm"
    assert found["cache"]["resident"] > 0.9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["json", "tools"]


def test_a_format_that_makedumpfile_lacks_is_not_compared(
    tmp_path: Path, scratch: Path, makedumpfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for zstd, a makedumpfile built without it writes plain pages, in no time."""
    makedumpfile.write_text(makedumpfile.read_text().replace("version 0", "version 0\nlzo\tenabled\nzstd\tdisabled"))
    words = [str(dump("demo.elf", scratch)), "--rounds", "1", "--levels", "31", "--threads", "1", "--only", "zstd:0"]
    words += ["--only", "lzo", "--scratch", str(tmp_path), "--json", str(tmp_path / "json"), "--vmsieve", VMSIEVE]
    assert side_by_side.main([*words, "--makedumpfile", str(makedumpfile)]) == 0
    rows = read(tmp_path / "json", "side by side 128 MiB")["rows"]
    assert [(r["codec"], r["tool"]) for r in rows] == [
        ("lzo", "vmsieve"),
        ("lzo", "makedumpfile"),
        ("zstd:0", "vmsieve"),
    ]
    assert "built without zstd:" in capsys.readouterr().err


def test_refiltered(tmp_path: Path, scratch: Path, makedumpfile: Path) -> None:
    """The input of both tools is a kdump file, which is removed."""
    words = [str(dump("demo.elf", scratch)), "--rounds", "1", "--levels", "31", "--threads", "1", "--refilter"]
    words += ["--scratch", str(tmp_path), "--json", str(tmp_path / "json"), "--vmsieve", VMSIEVE]
    assert side_by_side.main([*words, "--makedumpfile", str(makedumpfile)]) == 0
    rows = read(tmp_path / "json", "refilter 128 MiB")["rows"]
    assert [(r["codec"], r["tool"]) for r in rows] == [("zstd", "vmsieve"), ("zstd", "makedumpfile")]
    assert "/kdump " in makedumpfile.with_suffix(".calls").read_text().splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["json", "tools"]


def test_cold_runs_drop_the_input_before_each(
    tmp_path: Path, scratch: Path, makedumpfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each run of either tool."""
    dropped: list[Path] = []
    monkeypatch.setattr(caches, "drop", dropped.append)
    path = dump("demo.elf", scratch)
    words = [str(path), "--rounds", "2", "--levels", "31", "--threads", "1,2", "--cold"]
    words += ["--scratch", str(tmp_path), "--json", str(tmp_path / "json"), "--vmsieve", VMSIEVE]
    assert side_by_side.main([*words, "--makedumpfile", str(makedumpfile)]) == 0
    assert dropped == [path] * (1 + 2 * 3)
    assert read(tmp_path / "json", "cold 128 MiB")["cache"]["state"] == "cold"


def test_guests_are_named_by_their_memory(tmp_path: Path) -> None:
    """A dump is smaller than the machine's memory: the crash kernel's part is missing."""
    path = tmp_path / "vmcore"
    for size, name in ((380682240, "512 MiB"), (846249984, "1 GiB"), (4067475456, "4 GiB"), (1 << 30, "1 GiB")):
        with path.open("wb") as file:
            file.truncate(size)
        assert side_by_side.guest_size(path) == name


def test_start_up(tmp_path: Path) -> None:
    """Each command's multiple of a bare Python."""
    words = ["--rounds", "1", "--scratch", str(tmp_path), "--json", str(tmp_path / "json"), "--vmsieve", VMSIEVE]
    assert startup.main(words) == 0
    rows = read(tmp_path / "json", "startup")["rows"]
    assert [row["command"] for row in rows] == ["python", "--version", "info", "dump"]
    assert rows[0]["cpu_multiple"] == rows[0]["wall_multiple"] == 1
    assert rows[3]["cpu_multiple"] == pytest.approx(rows[3]["cpu"] / rows[0]["cpu"], rel=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["json"]


def test_ratios_are_against_makedumpfile_without_threads() -> None:
    """Wall time is compared with makedumpfile's better one."""
    row = {"codec": "lzo", "level": 1, "user": 1.0, "system": 1.0, "rss": 1.0, "read": 0.0, "others": 0.0}
    rows = [
        {**row, "tool": "vmsieve", "threads": 2, "cpu": 2.0, "wall": 1.0, "size": 50},
        {**row, "tool": "makedumpfile", "threads": 1, "cpu": 4.0, "wall": 4.0, "size": 100},
        {**row, "tool": "makedumpfile", "threads": 2, "cpu": 9.0, "wall": 2.0, "size": 100},
    ]
    assert side_by_side.compared(rows)[1][-3:] == [0.5, 0.5, 0.5]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_ceiling(tmp_path: Path, scratch: Path) -> None:
    """C and the loop pack the same pages with the same library, to the same size."""
    words = [str(dump("demo.elf", scratch)), "--rounds", "1", "--passes", "1", "--sample", "1"]
    assert ceiling.main([*words, "--codecs", "zlib:6,zstd:3,lzo", "--json", str(tmp_path / "json")]) == 0
    found = read(tmp_path / "json", "ceiling")
    assert found["pages"] == 256
    rows = {(r["codec"], r["action"]): r for r in found["rows"]}
    assert len(rows) + len(found["missing"]) >= 3
    for (codec, action), row in rows.items():
        assert row["mb_s"] > 0
        assert row["ratio"] == pytest.approx(row["c_mb_s"] / row["mb_s"], rel=0.01)
        if codec != "lzo" and action == "pack":
            assert row["size_ratio"] == 1


def test_a_tiled_dump_has_the_classes_of_its_tiles(tmp_path: Path, scratch: Path) -> None:
    """Appended memory follows the original, has struct pages throughout, and has the small machine's classes."""
    small = dump("demo.elf", scratch)
    pages = tiled.make(small, tmp_path / "big", 1)
    before = scale.scan_here(str(small))
    source = open_source(str(tmp_path / "big"))
    knowledge = gather_knowledge(source)
    assert knowledge.problem is None
    assert knowledge.memmap is not None
    assert knowledge.memmap.damaged == 0
    found = scan(source, knowledge, 31, Silent())
    assert not found.weaker
    assert source.end() > GIB
    source.close()
    assert found.exists.count() == scale.scan_here(str(tmp_path / "big"))["pages"]
    assert 0.8 * GIB < pages * 4096 < 1.1 * GIB
    for name, count in before["counts"].items():
        assert found.counts[name] > 2 * count, name
    assert (tmp_path / "big").stat().st_blocks * 512 < 200 << 20


def test_scale(tmp_path: Path, scratch: Path) -> None:
    """A row for each size; the generated dump is removed."""
    words = [str(dump("demo.elf", scratch)), "--sizes", "1", "--rounds", "1", "--scratch", str(tmp_path)]
    assert scale.main([*words, "--threads", "1", "--json", str(tmp_path / "json"), "--vmsieve", VMSIEVE]) == 0
    (row,) = read(tmp_path / "json", "scale")["rows"]
    assert (row["gib"], row["tool"], row["threads"], row["same_counts"]) == (1, "vmsieve", 1, True)
    assert row["pages"] > 200_000
    assert row["cpu"] > 0
    assert row["size"] > 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["json"]


def test_effect_of_each_key(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each relevant key: its substitute, or the pages kept and the reason; no page is lost."""
    assert keys.main([str(dump("demo.elf", scratch))]) == 0
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in capsys.readouterr().out.splitlines() if "|" in line}
    *found, said = rows["| `NUMBER(PG_lru)`"]
    assert found[:2] == ["same", "same"]
    assert found[2].endswith(", exit 3")
    assert "NUMBER(PG_lru) is missing" in said
    assert rows["| all keys"][:2] == ["same", "same"]
    assert "| `SYMBOL(prb)`" not in rows


def test_a_lost_page_is_an_error(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page dropped only without a key is reported; the exit status is 1."""

    def broken(source: Any, knowledge: Any, *more: Any) -> Scan:
        found = scan(source, knowledge, *more)
        if knowledge.info is not None and knowledge.info.number("PG_private") is None:
            blocks = [bytearray(block) for block in found.kept]
            first = next(block for block in blocks if any(block))
            at = next(i for i, byte in enumerate(first) if byte)
            first[at] &= first[at] - 1
            found.kept = type(found.kept)()
            for number, block in enumerate(blocks):
                found.kept.put(number, block)
        return found

    monkeypatch.setattr(keys, "scan", broken)
    monkeypatch.setattr(keys, "_ORIGINS", {"nothing": ()})
    assert keys.main(["--together", str(dump("demo.elf", scratch))]) == 1
    said = capsys.readouterr()
    assert "| `NUMBER(PG_private)` | 1 | **LOST 1**, same pages, exit 3 |" in said.out
    assert said.err == "demo.elf: pages are lost\n"


def test_the_other_byte_order(tmp_path: Path) -> None:
    """A real kernel's struct pages, byte-swapped, have the same classes."""
    words = ["--rounds", "1", "--passes", "1", "--json", str(tmp_path / "json")]
    assert foreign.main(words) == 0
    found = read(tmp_path / "json", "foreign")
    assert found["same"]
    assert {row["order"] for row in found["rows"]} == {"little", "big"}
    assert all(row["mpages_s"] > 0 for row in found["rows"])


@pytest.mark.parametrize("names", [(), ("x86_64-6.12-tiny.zst",)], ids=["no dump", "a skeleton"])
def test_corruption_without_vmcoreinfo_needs_whole_dumps(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Skeletons have neither symbols nor types: nothing would be tested, which is an error."""
    with pytest.raises(SystemExit) as ended:
        corruption.main(
            ["--without-vmcoreinfo", "--trials", "1", *(str(ROOT / "tests" / "zoo" / name) for name in names)]
        )
    assert ended.value.code == 2
    assert re.search("needs whole dumps|no dump is fully understood", capsys.readouterr().err)
