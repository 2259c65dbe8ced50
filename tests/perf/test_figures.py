"""Results are kept per machine, and the tables show the worst of them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from perf import all as whole
from perf import figures, plot, records

from tests.dumps import ROOT
from vmsieve.formats.errors import VmsieveError

if TYPE_CHECKING:
    from pathlib import Path


def row(tool: str, threads: int, cpu: float, wall: float, size: int = 100, **more: Any) -> dict[str, Any]:
    base = {"codec": "lzo", "level": 1, "tool": tool, "threads": threads, "cpu": cpu, "wall": wall, "size": size}
    return {**base, "rss": 15.01, "read": 0.0, **more}


def suite(kind: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    head = {
        "kind": kind,
        "date": "2026-12-01 12:00 UTC",
        "version": "v1",
        "kernel": "6.1",
        "cores": 2,
        "load": [0.5, 1],
    }
    return {**head, "rows": rows, **more}


def machine(cpu: str, ours: float, wall: float, **more: Any) -> dict[str, Any]:
    rows = [row("vmsieve", 1, ours, ours, 90), row("vmsieve", 2, 9.0, wall), row("makedumpfile", 1, 2.0, 2.0)]
    scan = [
        {"gib": 64, "tool": "vmsieve", "threads": 1, "cpu": ours, "wall": ours, "rss": 15.5},
        {"gib": 64, "tool": "makedumpfile", "threads": 1, "cpu": 4.0, "wall": 4.0},
    ]
    suites = {"side by side 4 GiB": suite("side by side", rows, guest="4 GiB", **more), "scale": suite("scale", scan)}
    return {"cpu": cpu, "suites": suites}


def test_tables_are_those_of_the_results() -> None:
    """README.md and perf/README.md say what perf/results does; ``python -m perf.figures`` writes the tables."""
    results = records.load()
    for name in ("README.md", "perf/README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert figures.filled(text, results) == text, f"{name}: python -m perf.figures"
        assert text.count("<!-- figures: ") == text.count("<!-- end -->") > 0


def test_the_worst_machine_counts_cell_by_cell() -> None:
    found = figures.worst([machine("a", 1.0, 1.5), machine("b", 1.4, 0.8)], "side by side")
    assert found["4 GiB", 1, "lzo"] == {
        "CPU": 0.7, "wall": 0.7, "wall, 2 threads": 0.75, "2 threads to 1": 1.5, "size": 0.9, "MiB": 15.01,
        "MiB, 2 threads": 15.01,
    }  # fmt: skip


def test_a_superseded_result_counts_only_alone() -> None:
    old = machine("old", 1.9, 1.5, superseded="before the new encoder")
    assert figures.worst([old], "side by side")["4 GiB", 1, "lzo"]["CPU"] == 0.95
    both = [old, machine("new", 1.0, 0.8)]
    assert figures.worst(both, "side by side")["4 GiB", 1, "lzo"]["CPU"] == 0.5
    assert "| side by side 4 GiB | before the new encoder |" in figures.tables(both)["machines"]


def test_the_summary_is_the_worst_of_all_guests() -> None:
    small = machine("a", 1.8, 1.5)
    small["suites"]["side by side 4 GiB"]["guest"] = "512 MiB"
    found = figures.summary([small, machine("b", 1.0, 0.8)])
    assert found["lzo",]["CPU, `-d 1`"] == 0.9


def test_cells_are_rounded_up_and_rows_sorted() -> None:
    results = [machine("a", 1.001, 0.8)]
    results[0]["suites"]["x"] = {**results[0]["suites"]["side by side 4 GiB"], "guest": "512 MiB"}
    table = figures.tables(results)["side by side"].splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| 512 MiB", "| 4 GiB"]
    assert table[3] == "| 4 GiB | 1 | lzo | 0.51 | 0.51 | 0.40 | 0.80 | 0.90 | 15.1 | 15.1 |"


def test_a_better_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table edited by hand fails the check; without ``--check`` it is written again."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "_PAGES", ("page.md",))
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    (tmp_path / "a.json").write_text(records.to_text(machine("a", 1.4, 1.0)))
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- figures: side by side -->\n<!-- end -->\nb\n")
    assert figures.main([]) == 0
    assert "| 0.70 |" in page.read_text()
    assert figures.main(["--check"]) == 0
    page.write_text(page.read_text().replace("| 0.70 |", "| 0.60 |"))
    assert figures.main(["--check"]) == 1
    assert "| 0.60 |" in page.read_text()


def test_results_are_kept_per_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite replaces that suite alone, in the file of this CPU."""
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(records, "cpu_model", lambda: "Some CPU (family 6)")
    assert records.measured("a", None) is None
    for name, value in (("b", 1), ("a", 2), ("b", 3)):
        assert records.save(name, suite("x", [{"value": value}])) == tmp_path / "some-cpu-family-6.json"
    (found,) = records.load()
    assert found["cpu"] == "Some CPU (family 6)"
    assert {name: one["rows"] for name, one in found["suites"].items()} == {"a": [{"value": 2}], "b": [{"value": 3}]}
    assert records.measured("a", None) == found["suites"]["a"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "model name : Intel(R) Xeon(R)\ncpu family : 6\nmodel : 85\n\ncpu family : 9",
            "Intel Xeon (family 6, model 85)",
        ),
        ("processor : 0\ncpu\t\t: POWER9, altivec\n", "POWER9, altivec"),
    ],
)
def test_the_name_of_a_cpu(text: str, name: str) -> None:
    """Clouds cut the name; family and model tell generations apart."""
    assert records.cpu_model(text) == name
    assert records.cpu_model("")


def test_the_version_is_that_of_the_measured_checkout(tmp_path: Path) -> None:
    """``git describe`` where the command lies; changes outside of ``src`` do not matter."""
    tool, source = tmp_path / "bin" / "tool", tmp_path / "src" / "a.py"
    for path in (tool, source):
        path.parent.mkdir()
        path.write_text("#!/bin/sh\necho tool 1.0\n")
    tool.chmod(0o755)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"], ["tag", "-am", "v", "v7"]):
        subprocess.run([*git, *words], check=True)
    tool.write_text(tool.read_text() + "\n")
    assert records.version(str(tool)) == "v7"
    source.write_text("changed")
    assert records.version(str(tool)) == "v7-dirty"


def test_the_whole_set_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed suite does not end the others; those measured before are skipped."""
    ran: list[str] = []
    broken = ["b"]
    failure = VmsieveError("no")

    def job(name: str) -> whole.Job:
        def main(words: Any) -> int:
            ran.append(name)
            if name in broken:
                raise failure
            records.save(name, {**suite("x", []), "version": "v", "rounds": 5}, words[words.index("--json") + 1])
            return 0

        return whole.Job(name, main, ["--rounds", "5"])

    monkeypatch.setattr(whole, "jobs", lambda *_: [job(name) for name in "abc"])
    monkeypatch.setattr(records, "version", lambda *_: "v")
    words = ["vmcore", "--json", str(tmp_path / "json")]
    assert whole.main(words) == 1
    assert ran == ["a", "b", "c"]
    broken.clear()
    assert whole.main(words) == 0
    assert ran == ["a", "b", "c", "b"]
    assert whole.main([*words, "--again", "--only", "c"]) == 0
    assert ran[4:] == ["c"]
    assert "b failed: no" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "json").read_text())["suites"]) == ["a", "b", "c"]


def test_the_whole_set_has_every_suite(tmp_path: Path) -> None:
    """Each suite's file entry is the one that its program writes; programs accept their arguments."""
    dumps = []
    for name, size in (("small", 400 << 20), ("large", 4000 << 20), ("middle", 1900 << 20)):
        dumps.append(tmp_path / name)
        with dumps[-1].open("wb") as file:
            file.truncate(size)
    found = {
        job.suite: job.words
        for job in whole.jobs(dumps, 5, tmp_path, tmp_path, ["--vmsieve", "a", "--makedumpfile", "b"])
    }
    assert list(found) == [
        "startup", "foreign", "ceiling", "side by side 512 MiB", "side by side 2 GiB", "side by side 4 GiB",
        "refilter 2 GiB", "cold 2 GiB", "scale",
    ]  # fmt: skip
    assert found["cold 2 GiB"][:2] == [str(tmp_path / "middle"), "--cold"]
    assert found["scale"][0] == str(tmp_path / "small")
    assert "--makedumpfile" not in found["startup"]


def test_plotted_figures() -> None:
    """Bars only where both tools were measured alike; lines of the machine with the worst ratio."""
    results = [machine("a", 1.0, 1.5), machine("b", 1.4, 0.8)]
    results[0]["suites"]["side by side 4 GiB"]["rows"] += [row("vmsieve", 1, 1.0, 1.0, codec="zstd")]
    assert plot.codec_bars(results) == [("lzo", 0.7, 0.75, 0.9)]
    assert plot.scale_lines(results) == {"vmsieve": [(64, 1.4)], "makedumpfile": [(64, 4.0)]}


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw([machine("a", 1.0, 1.5)], tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
