"""``vmsieve bench``: choices, measurements and recommendations; times are not asserted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.dumps import dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.codecs import codecs
from vmsieve.formats.errors import UsageError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.inspect.bench import Choice, Packing, _bit_reversed, bench, choices, recommend
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path


def test_every_codec_is_tried() -> None:
    """At least at its default level, with each number of threads; codec none is not measured."""
    tried = choices([], [1, 3])
    for codec in codecs():
        for threads in (1, 3):
            there = Choice(codec.name, codec.default_level, threads) in tried
            assert there == (codec.name != "none")
    assert all(c.levels[0] <= t.level <= c.levels[1] for t in tried for c in codecs() if c.name == t.codec)


def test_what_is_named_is_tried_and_nothing_else() -> None:
    assert choices(["zstd:-7", "lzo"], [2]) == [Choice("zstd", -7, 2), Choice("lzo", 1, 2)]


@pytest.mark.parametrize("name", ["zstd:99", "zstd:x", "zip", "lzo:2"])
def test_unknown_codecs_and_levels_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        choices([name], [1])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 64, 100])
def test_a_bit_reversed_visits_all_and_its_beginning_is_bit_reversed(count: int) -> None:
    """Any beginning of the order has elements of both halves."""
    order = _bit_reversed(count)
    assert sorted(order) == list(range(count))
    if count > 4:
        assert min(order[:3]) < count / 2 < max(order[:3]) + 1


def packing(codec: str, rate: float, ratio: float) -> Packing:
    return Packing(Choice(codec, 1, 1), "", 1_000_000, int(1_000_000 * ratio), 1_000_000 / rate, 1.0)


def test_recommendations() -> None:
    """Each aim has its own best choice; among equal sizes the fastest; balanced depends on the output."""
    quick, good = packing("quick", 1000e6, 0.5), packing("good", 300e6, 0.3)
    slow, slower = packing("slow", 50e6, 0.25), packing("slower", 40e6, 0.2499)
    all_of_them = [quick, good, slow, slower]
    assert recommend(all_of_them, 1000e6) == {"fastest": quick, "smallest": slow, "balanced": quick}
    assert recommend(all_of_them, 100e6)["balanced"] is good
    assert recommend(all_of_them, 10e6)["balanced"] is slow or recommend(all_of_them, 10e6)["balanced"] is slower
    assert recommend([], 1.0) == {}


def test_a_real_dump_is_measured(scratch: Path) -> None:
    """Counts are the main job's; a page packed twice is equal with any number of threads."""
    source = open_source(str(dump("demo.elf", scratch)))
    knowledge = gather_knowledge(source)
    wanted = choices(["lzo", "zlib:1"], [1, 2])
    result = bench(source, knowledge, wanted, Silent(), sample=4 << 20, seconds=600)
    kept = scan(source, knowledge, 31, Silent()).kept.count()
    source.close()
    assert result.kept == kept
    assert [p.choice for p in result.packings] == wanted
    content = result.read[0]
    assert 2 << 20 < content <= 4 << 20
    assert result.zeros[0] == content
    for one in result.packings:
        assert one.content == content
        assert 0 < one.packed < content - result.zero_pages * 4096
        assert one.provider
    assert result.packings[0].packed == result.packings[1].packed
    assert result.packings[2].packed == result.packings[3].packed < result.packings[0].packed


def test_the_time_given_ends_it(scratch: Path) -> None:
    """With almost no time almost nothing is packed, and the result says so."""
    source = open_source(str(dump("demo.elf", scratch)))
    result = bench(source, gather_knowledge(source), choices(["zlib:6"], [1]), Silent(), sample=16 << 20, seconds=1e-6)
    source.close()
    assert result.packings[0].content < 4 << 20


def test_for_machines(capsys: pytest.CaptureFixture[str], scratch: Path) -> None:
    """JSON has every figure."""
    words = ["--json", "--codec", "lzo", "--codec", "snappy", "--threads", "1", "--sample", "1", "--seconds", "5"]
    assert main(["bench", *words, str(dump("demo.elf", scratch))]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [(p["codec"], p["threads"]) for p in found["packings"]] == [("lzo:1", 1), ("snappy:1", 1)]
    assert set(found["recommended"]) == {"fastest", "smallest", "balanced"}
    for step in (found["classify"], found["read"], found["zero_check"], *found["packings"]):
        assert step["seconds"] > 0


def test_for_people(capsys: pytest.CaptureFixture[str], scratch: Path) -> None:
    """A line for each codec, and the options for each aim."""
    words = ["--codec", "lzo", "--threads", "1", "--sample", "1", "--seconds", "5"]
    assert main(["bench", *words, str(dump("demo.elf", scratch))]) == 0
    text = capsys.readouterr().out
    assert "lzo:1" in text
    assert text.count("--codec lzo:1 --threads 1") == 3


@pytest.mark.parametrize(
    "words",
    [
        ["--threads", "0"],
        ["--sample", "1e9"],
        ["--seconds", "-1"],
        ["--codec", "zip"],
        ["--output-speed", "x"],
        ["--sample", "0M"],
        ["--sample", "M"],
    ],
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before the dump is opened."""
    try:
        status = main(["bench", *words, "/nowhere"])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert capsys.readouterr().err
