"""``bench --html``: the page's figures, and how it looks in a browser."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.browser import run
from tests.dumps import dump
from tests.pipeline.cli_kit import failed, vmsieve
from vmsieve.pipeline.inspect.bench import Bench, Choice, Packing, as_json
from vmsieve.pipeline.inspect.bench_page import bench_page

if TYPE_CHECKING:
    from pathlib import Path

GB = 10**9


def facts() -> dict[str, Any]:
    result = Bench(4096, pages=1000, kept=500, classify=0.5, read=(GB, 0.5), zeros=(GB, 0.1))
    for codec, threads, seconds, packed in (
        ("lzo", 1, 1.0, GB // 2), ("zstd", 1, 4.0, GB // 4), ("zstd", 2, 2.0, GB // 4), ("zlib", 1, 40.0, GB // 5),
    ):  # fmt: skip
        result.packings.append(Packing(Choice(codec, 1, threads), "lib<x>", GB, packed, seconds, seconds * threads))
    result.notes.append("a <note>\x1b")
    return as_json(result, 100e6)


class Rows(HTMLParser):
    """Cells of each table row, bars in percent, and rows marked as best."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.bars: list[list[float]] = []
        self.best: list[int] = []
        self._in = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words = dict(attrs)
        if tag == "tr":
            self.rows.append([])
            self.bars.append([])
            if words.get("class") == "best":
                self.best.append(len(self.rows) - 1)
        self._in = tag in ("td", "th", "span", "mark")
        found = re.fullmatch(r"--part:([0-9.]+)%", words.get("style") or "")
        if found:
            self.bars[-1].append(float(found[1]))

    def handle_endtag(self, _tag: str) -> None:
        self._in = False

    def handle_data(self, data: str) -> None:
        if self._in and self.rows:
            self.rows[-1].append(data)


def test_bars_have_the_measured_lengths() -> None:
    """A row for each measurement, bars by the largest; the balanced choice is marked in its row alone."""
    page = Rows(bench_page("vmcore", "6.1.0", facts()))
    rows, bars = page.rows[1:], page.bars[1:]
    assert [row[0] for row in rows] == ["lzo:1", "zstd:1", "zstd:1", "zlib:1"]
    assert rows[2] == ["zstd:1", "balanced", "2", "500 MB/s", "25.0 %", "2.5 s/GB", "4.00 s/GB", "lib<x>"]
    assert bars[0] == [100, 100, 12.5]
    assert bars[2] == [50, 50, 6.2]
    assert bars[3] == [2.5, 40, 100]
    assert page.best == [3]
    assert rows[0][1] == "fastest"
    assert rows[3][1] == "smallest"


def test_text_of_a_dump_is_escaped() -> None:
    """Names, releases, providers and notes can't add elements; nothing is loaded."""
    page = bench_page("<img src=x>\x1b", "</p><script>", facts())
    assert "<img" not in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "a &lt;note&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r"<[a-z]+ [^>]*(src|href)=|https?:|url\(|@[a-z]+@", page)


def test_nothing_to_pack() -> None:
    """A codec that packed nothing has a row without bars, and is not recommended."""
    some = copy.deepcopy(facts())
    some["packings"] = [{**one, "bytes": 0, "bytes_per_second": 0.0, "ratio": 0.0} for one in some["packings"]]
    some["recommended"] = {}
    page = Rows(bench_page("vmcore", "", some))
    assert page.rows[1:] == [[one["codec"], str(one["threads"]), "nothing to pack"] for one in some["packings"]]
    assert page.best == []


@pytest.mark.parametrize(("width", "height"), [(400, 900), (1280, 800), (2560, 1440)])
def test_it_fits_any_screen(width: int, height: int, tmp_path: Path) -> None:
    """Nothing is cut off at the side; a bar is as long as it says."""
    page = tmp_path / "bench.html"
    page.write_text(bench_page("vmcore", "6.1.0", facts()), "utf-8")
    found = run(
        page,
        "const bars = [...document.querySelectorAll('.bar span')];"
        "return { over: document.documentElement.scrollWidth - innerWidth,"
        " size: getComputedStyle(bars[6]).backgroundSize.split(',')[0], wide: bars[6].clientWidth,"
        " cut: bars.filter(bar => bar.scrollWidth > bar.clientWidth).length };",
        width, height,
    )  # fmt: skip
    assert found["over"] <= 0
    assert found["size"] == "50% 100%"
    assert found["wide"] > 60
    assert found["cut"] == 0


def test_the_command_line(scratch: Path, tmp_path: Path) -> None:
    """The page is written beside the report; an existing file is refused before anything is measured."""
    words = ("bench", "--codec", "lzo", "--threads", "1", "--sample", "1", "--seconds", "1")
    original = dump("demo.elf", scratch)
    run_ = vmsieve(*words, original, "--html", tmp_path / "bench.html")
    assert run_.status == 0
    page = Rows((tmp_path / "bench.html").read_text("utf-8"))
    assert page.rows[1][:4] == ["lzo:1", "balanced", "fastest", "smallest"]
    failed(vmsieve(*words, original, "--html", tmp_path / "bench.html"), "-f overwrites it")
    failed(vmsieve(*words, original, "-f", "--html", original), "input")
