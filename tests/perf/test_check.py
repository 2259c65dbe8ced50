"""The regression check fails where a figure exceeds its bound, and only there."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
from perf import ceiling, check, startup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def measures(**values: list[float]) -> list[Callable[[int], dict[str, float]]]:
    """Measurements that return these values in turn."""

    def measure(name: str, rounds: int) -> dict[str, float]:
        assert rounds in (5, 5 * check._AGAIN)
        return {name: values[name].pop(0)}

    return [partial(measure, name) for name in values]


def test_what_exceeds_its_bound_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other load is no regression; a figure without a bound is one."""
    monkeypatch.setattr(check, "BOUNDS", {"a": 1.0, "b": 1.0, "c": 1.0})
    rows = check.judge(measures(a=[0.9], b=[1.2, 0.8], c=[1.2, 1.3], d=[0.1, 0.1]), 5)
    assert rows == [("a", 0.9, 1.0), ("b", 0.8, 1.0), ("c", 1.2, 1.0), ("d", 0.1, 0.0)]
    assert [name for name, value, bound in rows if value > bound] == ["c", "d"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_every_figure_has_a_bound(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All is measured on the demo dump; with bounds that nothing meets, all of it is named and the status is 1."""
    bounds = dict(check.BOUNDS)
    words = ["--rounds", "1", "--vmsieve", f"{sys.executable} -m vmsieve"]
    monkeypatch.setattr(check, "_PASSES", 1)
    monkeypatch.setattr(check, "_AGAIN", 1)
    monkeypatch.setattr(check, "_CODECS", ("lzo", "zlib:0"))
    monkeypatch.setattr(check, "BOUNDS", dict.fromkeys(bounds, 1e9))
    assert check.main(words) == 0
    said = capsys.readouterr().out
    assert "REGRESSED" not in said
    names = {line.rsplit(None, 2)[0] for line in said.splitlines()[1:]}
    assert {"zlib:0 pack", "zlib:0 pack, size", "scan", "start, --version", "start, info", "start, dump"} <= names
    assert names <= set(bounds)
    monkeypatch.setattr(check, "BOUNDS", dict.fromkeys(bounds, 1e-9))
    monkeypatch.setattr(check, "_CODECS", ("zlib:0",))
    assert check.main(words) == 1
    lines = capsys.readouterr().out.splitlines()[1:]
    assert all(line.endswith("REGRESSED") for line in lines)


def test_bounds_name_what_is_measured() -> None:
    """Each codec's bounds, whatever library is installed; no others."""
    codecs = {f"{name if ':' in name else f'{name}:1'} pack" for name in check._CODECS}
    wanted = codecs | {f"{name}, size" for name in codecs} | {"lzo:1 unpack", "snappy:1 unpack"}
    assert set(check.BOUNDS) == wanted | {"scan", "start, --version", "start, info", "start, dump"}


def test_without_a_compiler_nothing_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ceiling, "build", lambda _: None)
    assert check.main([]) == 1
    assert "no C compiler" in capsys.readouterr().err


def test_the_demo_dump_is_unpacked(tmp_path: Path) -> None:
    with startup.unpack_demo(tmp_path).open("rb") as file:
        assert file.read(4) == b"\x7fELF"
