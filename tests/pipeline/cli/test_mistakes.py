"""``docs/mistakes.md``: each mistake of its tables gets the answer that is written there."""

from __future__ import annotations

import lzma
import re
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.dumps import ROOT
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

ROW = re.compile(r"^\| `(vmsieve.*?)` \| `(.*?)` \|$", re.MULTILINE)
MISTAKES = [(line, told.replace("\\|", "|")) for line, told in ROW.findall((ROOT / "docs/mistakes.md").read_text())]


@pytest.fixture(scope="module")
def files(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the tables speak of."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "vmcore").symlink_to(demo)
    shutil.copyfile(ROOT / "tests/zoo/x86_64-5.10.zst", folder / "other")
    (folder / "dmesg.txt").write_text("[    0.000000] Linux version 6.1.0\n")
    (folder / "vmcore.xz").write_bytes(lzma.compress(b"\x7fELF"))
    (folder / "disk.qcow2").write_bytes(b"QFI\xfb".ljust(4096, b"\1"))
    (folder / "zeros").write_bytes(bytes(4096))
    (folder / "empty").touch()
    (folder / "old").write_bytes(b"precious")
    (folder / "vmlinux").write_bytes(b"\x7fELF\2\1\1".ljust(16, b"\0") + b"\2\0\x3e\0\1\0\0\0".ljust(48, b"\0"))
    (folder / "crash").mkdir()
    (folder / "crash/vmcore").symlink_to(demo)
    return folder


@pytest.mark.parametrize(("line", "told"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_the_answer(
    line: str, told: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error, exit status 1 or 2, and no file is made or changed."""
    monkeypatch.chdir(files)
    before = {path.name: path.stat().st_mtime_ns for path in files.iterdir()}
    status = main(shlex.split(line)[1:])
    said = capsys.readouterr()
    assert (said.err, said.out) == (f"{told}\n", "")
    assert status in (1, 2)
    assert {path.name: path.stat().st_mtime_ns for path in files.iterdir()} == before


def test_there_are_sixty() -> None:
    """Each once, in every command that is used by hand."""
    assert len({line for line, _ in MISTAKES}) == len(MISTAKES) >= 60
    assert {told.split(":")[0] for _, told in MISTAKES} >= {
        f"vmsieve {name}" for name in ("dump", "info", "classes", "dmesg", "verify", "skeleton", "bench", "capture")
    }


def test_a_terminal_gets_no_dump(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A binary stream to a terminal is refused before the work, with what to do."""
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for words in (["dump", "vmcore", "-"], ["dump", "-F", "vmcore"], ["skeleton", "vmcore", "-"]):
        assert main(words) == 2
        assert capsys.readouterr() == (
            "", f"vmsieve {words[0]}: a dump is binary, and standard output is a terminal (name a file, or pipe it: "
            "... - | ssh HOST 'cat > vmcore.flat')\n",
        )  # fmt: skip


def test_the_two_of_verify_are_swapped(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The filtered dump as SOURCE: the last line on standard error says so."""
    small = tmp_path / "small"
    assert main(["dump", "-q", "-d", "31", str(files / "vmcore"), str(small)]) == 0
    capsys.readouterr()
    assert main(["verify", str(small), str(files / "vmcore")]) == 1
    told = capsys.readouterr()
    assert "DUMP has pages that SOURCE lacks, which was filtered at level 31: if swapped, 'vmsieve" in told.err
    assert told.out.endswith("The dump is NOT right.\n")


def test_a_codec_that_is_none_goes_with_an_elf_core(files: Path) -> None:
    """It says what an ELF core does in any case."""
    assert main(["dump", "-q", "-d", "31", "-E", "--codec", "none", str(files / "vmcore"), "/dev/null"]) == 0
