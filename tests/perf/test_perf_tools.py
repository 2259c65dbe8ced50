"""The measuring tools run and count right; the measured figures are not tested."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from perf import ceiling, corruption, foreign, keys, measure, plot, scale, side_by_side, tiled

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
    monkeypatch.setattr(side_by_side, "find_makedumpfile", lambda path: path)
    monkeypatch.setattr(scale, "find_makedumpfile", lambda path: path)


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


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    """A failed command has no time. Its output is kept if requested."""
    log = tmp_path / "log"
    with pytest.raises(measure.CommandError, match="exit status 3"):
        measure.run([*PYTHON, "print('why'); raise SystemExit(3)"], log=log)
    assert log.read_text() == "why\n"


def test_runs_are_interleaved_in_turning_order() -> None:
    order: list[str] = []
    cases = {name: (lambda name=name: order.append(name)) for name in "abc"}
    found = measure.interleave(cases, 3)
    assert "".join(order) == "abccbaabc"
    assert {name: len(runs) for name, runs in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_medians() -> None:
    """Each figure's median; wall time from the runs with the least other load."""
    usages = [
        measure.Usage(user, 1.0, wall, rss, 7, others)
        for user, wall, rss, others in ((3.0, 9.0, 5.0, 2.0), (1.0, 2.0, 6.0, 0.1), (2.0, 4.0, 7.0, 0.2))
    ]
    middle = measure.median(usages)
    assert (middle.user, middle.cpu, middle.wall, middle.rss, middle.size) == (2.0, 3.0, 3.0, 6.0, 7)


def test_a_table_lines_up() -> None:
    assert measure.table([["a", "n"], ["long", 1], ["b", 22.5]]) == "a          n\nlong       1\nb     22.500"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_side_by_side(tmp_path: Path, scratch: Path) -> None:
    """A row for each codec, level and number of threads."""
    words = [str(dump("demo.elf", scratch)), "--runs", "1", "--only", "lzo", "--levels", "31,0", "--threads", "1,2"]
    vmsieve = f"{sys.executable} -m vmsieve"
    words += ["--scratch", str(tmp_path), "--json", str(tmp_path / "json"), "--vmsieve", vmsieve]
    assert side_by_side.main(words) == 0
    found = read(tmp_path / "json")
    assert [(r["codec"], r["level"], r["threads"]) for r in found["rows"]] == [
        ("lzo", 31, 1), ("lzo", 31, 2), ("lzo", 0, 1), ("lzo", 0, 2),
    ]  # fmt: skip
    assert found["rows"][0]["size"] == found["rows"][1]["size"] < found["rows"][2]["size"]
    assert found["machine"]["versions"]["vmsieve"].startswith("vmsieve ")
    assert [path.name for path in tmp_path.iterdir()] == ["json"]


def test_ratios_are_against_makedumpfile_without_threads() -> None:
    """Wall time is compared with makedumpfile's better one."""
    row = {"codec": "lzo", "level": 1, "user": 1.0, "system": 1.0, "rss": 1.0, "others": 0.0}
    rows = [
        {**row, "tool": "vmsieve", "threads": 2, "cpu": 2.0, "wall": 1.0, "size": 50},
        {**row, "tool": "makedumpfile", "threads": 1, "cpu": 4.0, "wall": 4.0, "size": 100},
        {**row, "tool": "makedumpfile", "threads": 2, "cpu": 9.0, "wall": 2.0, "size": 100},
    ]
    assert side_by_side.compared(rows)[1][-3:] == [0.5, 0.5, 0.5]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_ceiling(tmp_path: Path, scratch: Path) -> None:
    """C and the loop pack the same pages with the same library, to the same size."""
    words = [str(dump("demo.elf", scratch)), "--runs", "1", "--rounds", "1", "--sample", "1"]
    assert ceiling.main([*words, "--codecs", "zlib:6,zstd:1,lzo", "--json", str(tmp_path / "json")]) == 0
    found = read(tmp_path / "json")
    assert found["pages"] == 256
    rows = {(r["codec"], r["action"]): r for r in found["rows"]}
    assert len(rows) + len(found["missing"]) >= 3
    for (codec, action), row in rows.items():
        assert row["kernel_mb_s"] > 0
        if codec != "lzo" and action == "pack":
            assert row["kernel_size"] == row["c_size"]


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
    words = [str(dump("demo.elf", scratch)), "--sizes", "1", "--runs", "1", "--scratch", str(tmp_path)]
    assert scale.main([*words, "--json", str(tmp_path / "json"), "--vmsieve", f"{sys.executable} -m vmsieve"]) == 0
    (row,) = read(tmp_path / "json")["rows"]
    assert row["pages"] > 200_000
    assert row["vmsieve_filter"] > 0
    assert row["vmsieve_size"] > 100_000
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


def test_the_other_byte_order(tmp_path: Path, scratch: Path) -> None:
    """A real kernel's struct pages, byte-swapped, have the same classes."""
    words = [str(dump("demo.elf", scratch)), "--runs", "1", "--rounds", "1", "--json", str(tmp_path / "json")]
    assert foreign.main(words) == 0
    found = read(tmp_path / "json")
    assert found["same"]
    assert {row["order"] for row in found["rows"]} == {"little", "big"}
    assert all(row["mpages_s"] > 0 for row in found["rows"])


RESULTS: list[dict[str, Any]] = [
    {
        "what": "side by side",
        "rows": [
            {"codec": "lzo", "level": 1, "threads": 1, "tool": "vmsieve", "cpu": 1.0, "wall": 1.0, "size": 90},
            {"codec": "lzo", "level": 1, "threads": 1, "tool": "makedumpfile", "cpu": 2.0, "wall": 2.0, "size": 100},
            {"codec": "lzo", "level": 1, "threads": 2, "tool": "vmsieve", "cpu": 9.0, "wall": 0.5, "size": 90},
            {"codec": "lzo", "level": 31, "threads": 1, "tool": "vmsieve", "cpu": 9.0, "size": 90},
            {"codec": "zstd", "level": 1, "threads": 1, "tool": "vmsieve", "cpu": 9.0, "size": 90},
        ],
    },
    {"what": "scale", "rows": [{"gib": 1, "vmsieve_filter": 0.1, "makedumpfile_filter": 0.3}, {"gib": 4}]},
    {"what": "ceiling", "rows": [{"codec": "lzo"}]},
]


def test_plotted_figures() -> None:
    """Bars only where both tools were measured alike; lines only from the scale series."""
    assert plot.codec_bars(RESULTS) == [("lzo", 0.5, 0.25, 0.9)]
    assert plot.scale_lines(RESULTS) == {"vmsieve": [(1, 0.1)], "makedumpfile": [(1, 0.3)]}


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw(RESULTS, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


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
