"""The option parser and the JSON encoder of a capture, which replace argparse and json."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipeline.kit import machine
from vmsieve.pipeline.capture import options, run
from vmsieve.pipeline.capture.options import read_request
from vmsieve.pipeline.capture.status import encode

if TYPE_CHECKING:
    from pathlib import Path


def test_requests_are_understood_without_argparse() -> None:
    """All spellings of an option mean the same; invalid words are left to argparse."""
    for words in (["-d", "17", "T"], ["-d17", "T"], ["--level=17", "T"], ["--level", "17", "T"]):
        request = read_request(words)
        assert request is not None
        assert (request.level, request.input, request.target) == (17, "/proc/vmcore", "T")
    request = read_request(["-l", "--deadline", "60", "IN", "-"])
    assert request is not None
    assert (request.codec, request.deadline, request.input, request.target) == ("lzo", 60, "IN", "-")
    for words in (["-d", "32", "T"], ["--what", "T"], [], ["-d"], ["A", "B", "C"], ["-h"], ["-lz", "T"]):
        assert read_request(words) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-l", "{0}/crash"], "a capture would leave a dump of level 31, lzo, at {0}/crash"),
        (["-d", "1", "-"], "a capture would leave a dump of level 1, zstd, at -"),
        (["--codec", "lzma", "{0}"], "no codec is called 'lzma'"),
        (["--codec", "zlib:44", "{0}"], "codec zlib has levels"),
        (["{0}/file"], "not a file"),
        (["{0}/file/crash"], "Not a directory"),
        (["/dev/vmsieve-no-such-disk"], "No such file"),
        ([""], "No such file"),
        (["--status", "{0}/file/record", "{0}"], "{0}/file: Not a directory"),
        (["--status", "{0}/none/record", "{0}"], "{0}/none: No such file"),
        (["--status", "{0}", "{0}/crash"], "{0}: the record is a file, not a directory"),
        (["--status", "{0}/crash/record", "{0}/crash"], "a capture would leave a dump of level 31, zstd, at {0}/crash"),
        (["--status", "/dev/null", "{0}"], "a capture would leave a dump of level 31, zstd, at {0}"),
    ],
)
def test_a_check_makes_nothing(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options and target are checked as far as possible without writing: one line, and an exit status for scripts."""
    monkeypatch.setattr(run, "DEFAULT_INPUT", str(tmp_path / "no-vmcore"))
    (tmp_path / "file").touch()
    code = run.main(["--check", *(word.format(tmp_path) for word in words)])
    told = capfd.readouterr().err
    assert said.format(tmp_path) in told
    assert (code, told.count("\n")) == (0 if "would leave" in said else 2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_in_the_crash_kernel_invalid_options_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the crash kernel invalid words are ignored, elsewhere left to argparse."""
    for words in (["-d", "32", "T"], ["--what", "T"], ["-lz", "T"], ["--stall=x", "--codec", "lzo", "T"], ["-d", "T"]):
        wrong: list[str] = []
        request = read_request(words, wrong)
        assert (request is None) == (words == ["-d", "T"])
        assert wrong
        assert request is None or (request.level, request.target) == (31, "T")
    assert run.main(["--what", str(tmp_path / "out")]) is None
    core = machine().write(tmp_path / "vmcore.elf")
    for module in (options, run):
        monkeypatch.setattr(module, "DEFAULT_INPUT", str(core))
    monkeypatch.setattr(run, "protect", lambda: None)
    assert run.main(["-h"]) is None
    assert run.main(["--what", "level", "-q", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "vmcore").exists()


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=12,
    )
)
def test_the_record_is_json(value: Any) -> None:
    """The standard json module reads the encoder's output: any text, including lone surrogates of file names."""
    assert json.loads(encode(value)) == value
    assert json.loads(encode({"file": os.fsdecode(b"\xff\x00")})) == {"file": "\udcff\0"}
