"""Text of a dump, and names of files: escaped on terminals; valid UTF-8 in files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.cli_kit import environment
from vmsieve.formats.text import as_utf8, shown

if TYPE_CHECKING:
    from pathlib import Path

_HOST = b"\x1b]0;title\x07\x1b[31mred\x1b[8m<b>\xff\xc2\x9b2J\r\nFormat: none\xe2\x80\xae"


def run(*words: str | bytes | Path, **more: str) -> tuple[int, bytes, bytes]:
    ran = subprocess.run(
        [sys.executable, "-m", "vmsieve", *map(os.fsencode, words)], capture_output=True, check=False,
        env={**environment(), **more},
    )  # fmt: skip
    assert b"Traceback" not in ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def harmless(text: bytes) -> str:
    """``text`` as characters; checks that it has no control characters except line feeds."""
    found = text.decode()
    assert found.replace("\n", "").replace("\t", "").isprintable(), ascii(found)
    return found


@pytest.fixture(scope="module")
def odd(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump whose kernel, VMCOREINFO and name contain control characters."""
    data = bytearray(demo.read_bytes())
    at = -1
    while (at := data.find(b"Linux" + bytes(60) + b"(none)", at + 1)) >= 0:
        data[at + 65 : at + 130] = _HOST.ljust(65, b"\0")
    start = data.index(b"BUILD-ID=") + 9
    end = data.index(b"\n", start)
    data[start:end] = (b"\x1b]0;x\x07\x1b[5m" + b"A" * 99)[: end - start]
    path = tmp_path_factory.mktemp("odd") / os.fsdecode(b"od\xff\x1b[1md\n")
    path.write_bytes(data)
    return path


def test_unprintable_characters_are_escaped() -> None:
    """C0, C1, bidirectional controls, separators, lone surrogates, bytes of names; other characters stay."""
    plain = "a\N{LATIN SMALL LETTER A WITH DIAERESIS}\N{CJK UNIFIED IDEOGRAPH-4E00} \\x1b"
    assert shown(plain) == plain
    assert shown("\x1b[1m\x07\x7f\n\t\r\0") == r"\x1b[1m\x07\x7f\x0a\x09\x0d\x00"
    assert shown("\x9b\x85\xa0\u202e\u2066\u200b\u2028\ufeff\U000e0001") == (
        r"\x9b\x85\xa0\u202e\u2066\u200b\u2028\ufeff\U000e0001"
    )
    assert shown(os.fsdecode(b"\xff\xfe") + "\ud800") == r"\xff\xfe\ud800"
    assert shown("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0d"


def test_files_hold_utf8() -> None:
    assert as_utf8(os.fsdecode(b"\xffa\xc3\xa4")) == "\\xffa\xe4"
    assert as_utf8("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    "words", [["info"], ["info", "-v"], ["classes"], ["classes", "--zones"], ["dmesg"], ["vmcoreinfo"]]
)
def test_commands_that_print(words: list[str], odd: Path) -> None:
    """Texts from the dump are shown on one line each."""
    status, out, err = run(*words, odd)
    assert status in (0, 3)
    found = harmless(out)
    harmless(err)
    if words == ["info"]:
        (host,) = [line for line in found.splitlines() if line.startswith("Host name:")]
        assert r"\x1b]0;title\x07\x1b[31mred\x1b[8m<b>" in host
        assert r"\x9b2J\x0d\x0aFormat: none\u202e" in host
    if words in (["info", "-v"], ["vmcoreinfo"]):
        assert r"BUILD-ID=\x1b]0;x\x07\x1b[5mAAAA" in found


def test_json_is_valid(odd: Path, tmp_path: Path) -> None:
    """Any JSON reader accepts it, and its values are equal."""
    for words in (["info", "--json"], ["classes", "--json"], ["dump", "-q", "--json", "-"]):
        status, out, _ = run(*words, odd, *[tmp_path / "dump"] * (words[0] == "dump"))
        assert status in (0, 3)
        told = json.loads(out.decode("ascii"))
        json.dumps(told, ensure_ascii=False).encode()
    assert told["input"] == os.path.join(os.path.dirname(odd), "od\\xff\x1b[1md\n")
    name = os.fsdecode(b"r\xfe\n")
    assert run("dump", "-q", "--json", tmp_path / name, odd, tmp_path / "other")[0] in (0, 3)
    assert json.loads((tmp_path / name).read_text("utf-8"))["input"] == told["input"]


def test_the_map_is_a_page_of_utf8(odd: Path, tmp_path: Path) -> None:
    status, _, _ = run("classes", "--map", tmp_path / "map.html", odd)
    assert status in (0, 3)
    page = (tmp_path / "map.html").read_bytes().decode("utf-8")
    assert r"od\xff\x1b[1md\x0a</title>" in page
    assert r"od\xff\x1b[1md\x0a - " in page
    assert "\x1b" not in page


def test_any_name_of_a_file(demo: Path, tmp_path: Path) -> None:
    """As input, output and in errors: no traceback, and one line that shows it."""
    name = os.fsdecode(b"\xff\xfe\nvmsieve: all is well\x1b[2J" + "\u202egnp".encode())
    there, out = f"{tmp_path}/in{name}", f"{tmp_path}/out{name}"
    shutil.copyfile(demo, there)
    other = ["makedumpfile", "--message-level", "4"]
    for words, lines in (
        (["dump", "-q", "-d", "31", there, out], 0), (["dump", "-q", there, out], 1), (["info", out], 0),
        (["verify", there, out], 2), (["dmesg", there, out + "3"], 0), (["dmesg", "-f", there, there], 1),
        (["info", there + "gone"], 1), (["skeleton", "-q", there, out + "4"], 0), (["info", there, there], 1),
        (["dump", "-q", "-d", "31", "--json", out + "/r", there, out + "5"], 1),
        ([*other, "-d", "31", there, out + "6"], 0), ([*other, "-d", "31", there, out], 1),
        ([*other, "--dump-dmesg", there, out + "7"], 0), ([*other, "--" + name], 1),
    ):  # fmt: skip
        _, printed, told = run(*words)
        harmless(printed)
        assert len(harmless(told).splitlines()) <= lines, told
    for more in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        told = run("info", there + "gone", **more)[2]
        assert b"in\\xff\\xfe\\x0avmsieve: all is well\\x1b[2J\\" in told


def test_a_bar_is_drawn_and_its_text_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The control characters of vmsieve reach the terminal, those of texts do not."""
    from vmsieve.pipeline.process.streams import raw_stderr, set_up_streams

    set_up_streams()
    raw_stderr().write("\r\x1b[K50 %")
    print("\x1b[Kdone\x9b", file=sys.stderr)  # noqa: T201
    print("\x1b[Kdone\x9b")  # noqa: T201
    told = capsys.readouterr()
    assert told.err == "\r\x1b[K50 %\\x1b[Kdone\\x9b\n"
    assert told.out == "\\x1b[Kdone\\x9b\n"
