"""``vmsieve info --codecs``: the library of each codec, and the reason why others are not used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.dumps import dump
from vmsieve.formats.codecs import codecs, zstd
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


def info(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["info", "--json", "--codecs", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_codec_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Each codec with a provider for each of its levels, in both directions."""
    here = info(capsys)["here"]
    assert [c["name"] for c in here["codecs"]] == [c.name for c in codecs()]
    for codec, facts in zip(codecs(), here["codecs"]):
        levels = [level for part in facts["packs"] for level in range(part["levels"][0], part["levels"][1] + 1)]
        assert levels == list(range(codec.levels[0], codec.levels[1] + 1))
        assert all(part["provider"] for part in facts["packs"])
        assert facts["unpacks"]


def test_libraries_passed_over_are_shown_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel without the library, a missing library, and one that lacks the functions."""
    pytest.importorskip("zstandard")
    monkeypatch.setattr(zstd, "_WHEEL", "zstandard/none")
    monkeypatch.setattr(zstd, "_SONAMES", ("libnone.so.9", "libc.so.6"))
    (facts,) = (c for c in info(capsys)["here"]["codecs"] if c["name"] == "zstd")
    assert facts["packs"] == [
        {"levels": [-7, -1], "provider": "python zstandard"},
        {"levels": [0, 1], "provider": "built in"},
        {"levels": [2, 19], "provider": "python zstandard"},
    ]
    passed = facts["passed_over"]
    assert passed["zstandard (wheel)"] == "there is no zstandard/none*.so"
    assert passed["libnone.so.9"].startswith("cannot open")
    assert passed["libc.so.6"].startswith("it lacks ZSTD_")


def test_people_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """The text has each codec and its default's provider."""
    here = info(capsys)["here"]
    assert main(["info", "--codecs"]) == 0
    text = capsys.readouterr().out
    for codec in here["codecs"]:
        assert f"{codec['name']}: " in text
        assert codec["packs"][0]["provider"] in text


def test_beside_a_dump(capsys: pytest.CaptureFixture[str], scratch: Path) -> None:
    """With an INPUT, it is described too."""
    found = info(capsys, str(dump("demo.elf", scratch)))
    assert found["format"] == "ELF core"
    assert found["here"]["kernels"] in ("aot", "jit", "python")


def test_info_without_input_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """INPUT is optional only with --codecs."""
    assert main(["info"]) == 2
    assert "INPUT" in capsys.readouterr().err
