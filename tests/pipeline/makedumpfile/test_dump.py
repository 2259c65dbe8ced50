"""Dumps made with makedumpfile's command line, and the messages about them."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.kit import contents, make
from tests.pipeline.makedumpfile.makedumpfile_kit import run
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.main import main as vmsieve
from vmsieve.pipeline.makedumpfile import dump as dump_module
from vmsieve.pipeline.makedumpfile.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("words", ["-e", "-X", "--extension x.so", "--xen-syms s", "--xen_phys_start 0x100000"])
def test_options_that_only_shrink_the_dump_are_ignored(
    words: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check-params refuses the option; the dump itself is made without it, with a message."""
    out = str(tmp_path / "out")
    assert main(["--check-params", *words.split(), "-d", "31", str(core), out]) == 1
    assert "is not done" in capsys.readouterr().err
    assert main([*words.split(), "-d", "31", str(core), out]) == 0
    assert "is not done" in capsys.readouterr().err
    assert contents(tmp_path / "out")


@pytest.mark.parametrize("option", ["-x", "-i"])
def test_in_the_crash_kernel_an_unreadable_file_is_ignored(
    option: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere an error; in the crash kernel a message. An image can't read vmlinux files."""
    monkeypatch.setitem(sys.modules, "vmsieve.filters.linux.debuginfo.vmlinux", None)
    words = [option, str(tmp_path / "none"), "-d", "31", str(core), str(tmp_path / "out")]
    assert main(words) == 1
    assert "done without" not in capsys.readouterr().err
    monkeypatch.setattr(dump_module, "_VMCORE", str(core.resolve()))
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "done without -i and -x: " in said
    assert ("an image for the crash kernel can't read vmlinux files" in said) == (option == "-x")
    assert contents(tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "text"), [("-i", b"OSRELEASE=1.2.3\n"), ("-x", b"garbage")], ids=["another kernel", "garbage"]
)
def test_in_the_crash_kernel_a_wrong_file_is_ignored(
    option: str,
    text: bytes,
    core: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel was updated and the file was not, or it is damaged: an error outside the crash kernel."""
    (tmp_path / "file").write_bytes(text)
    words = [option, str(tmp_path / "file"), "-d", "31", str(core), str(tmp_path / "out")]
    assert main(words) != 0
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    monkeypatch.setattr(dump_module, "_VMCORE", str(core.resolve()))
    assert main(words) == 0
    assert "done without -i and -x: " in capsys.readouterr().err
    assert contents(tmp_path / "out")


@pytest.mark.parametrize("codec", ["", "-c", "-l", "-p", "-z"])
def test_a_dump(codec: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The dump equals ``vmsieve dump``'s byte for byte; the messages are makedumpfile's."""
    names = {"": "none", "-c": "zlib", "-l": "lzo", "-p": "snappy", "-z": "zstd"}
    make(core, tmp_path / "ours", 31, codec=names[codec])
    assert main([*codec.split(), "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()
    heard = capsys.readouterr()
    assert heard.out == f"\nThe dumpfile is saved to {tmp_path / 'out'}.\n\nmakedumpfile Completed.\n"
    assert "\rCopying data                                      : [100.0 %]" in heard.err
    assert main(["-d", "31", str(core), str(tmp_path / "out")]) == 1
    heard = capsys.readouterr()
    assert "exists already" in heard.err
    assert heard.out == "\nmakedumpfile Failed.\n"


def test_an_elf_core_and_threads(core: Path, tmp_path: Path) -> None:
    make(core, tmp_path / "ours", 31, format="elf")
    assert main(["-E", "--num-threads=3", "--non-mmap", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()


def test_a_stream_and_a_file_of_it(core: Path, tmp_path: Path) -> None:
    """-F writes only data to standard output; -R, and `vmsieve-makedumpfile -F`, make the file of it."""
    sent = run("-F", "-l", "--num-threads=2", "-d", "31", core)
    assert sent.returncode == 0
    assert sent.stdout.startswith(b"makedumpfile\0")
    assert b"The dumpfile is saved to STDOUT.\n\nmakedumpfile Completed." in sent.stderr
    assert run("-R", tmp_path / "out", input=sent.stdout).returncode == 0
    make(core, tmp_path / "ours", 31, codec="lzo")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()
    cut = run("-R", "-f", tmp_path / "out", input=sent.stdout[:-100])
    assert cut.returncode == 1
    assert b"ends before its end mark" in cut.stderr
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    source.close()


def test_the_report(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row in makedumpfile's order and form; the message level selects the messages."""
    assert main(["--message-level", "16", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    assert heard.err == ""
    rows = re.findall(r"^ *([A-Z(][\w -]+?) *: (0x[0-9a-f]{16}|\d+)$", heard.out, re.MULTILINE)
    assert [name for name, _ in rows] == [
        "Original pages", "Excluded pages", "Pages filled with zero", "Non-private cache pages", "Private cache pages",
        "User process data pages", "Free pages", "Hwpoison pages", "Offline pages", "Remaining pages", "Memory Hole",
        "Total pages", "Write bytes",
    ]  # fmt: skip
    found = {name: int(value, 0) for name, value in rows}
    classes = list(found.values())[2:9]
    assert found["Excluded pages"] == sum(classes) > 0
    assert found["Original pages"] == found["Excluded pages"] + found["Remaining pages"]
    assert found["Total pages"] == found["Original pages"] + found["Memory Hole"]
    assert main(["--message-level", "0", "-f", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_report_of_a_dump_that_was_filtered_before(
    core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pages that a filtered input lacks count as excluded, as after a single pass."""
    make(core, tmp_path / "before", 17)
    found = []
    for number, source in enumerate((core, tmp_path / "before")):
        assert main(["--message-level", "16", "-d", "31", str(source), str(tmp_path / f"{number}")]) == 0
        rows = dict(re.findall(r"^ *([A-Z][\w ]+?) *: (0x[0-9a-f]{16})$", capsys.readouterr().out, re.MULTILINE))
        found.append([rows[name] for name in ("Original pages", "Excluded pages", "Remaining pages", "Memory Hole")])
    assert found[0] == found[1]


def test_a_kernel_that_is_not_understood(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every page is kept, status 0, with a message."""
    strange = tmp_path / "strange"
    strange.write_bytes(core.read_bytes().replace(b"mem_section", b"mem_sectixn"))
    assert main(["-d", "31", str(strange), str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    assert "The kernel version is not supported.\n" in heard.out
    assert "every page is kept" in heard.err


def test_vmcoreinfo_of_another_kernel(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, as makedumpfile's; the same kernel's VMCOREINFO is used."""
    assert vmsieve(["vmcoreinfo", str(core)]) == 0
    text = capsys.readouterr().out
    (tmp_path / "right").write_text(text)
    (tmp_path / "wrong").write_text(re.sub("OSRELEASE=.*", "OSRELEASE=1.2.3", text))
    assert main(["-d", "31", "-i", str(tmp_path / "right"), str(core), str(tmp_path / "out")]) == 0
    for words in (["-d", "31"], ["--dump-dmesg"]):
        assert main([*words, "-i", str(tmp_path / "wrong"), str(core), str(tmp_path / "none")]) == 2
        assert "another kernel" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_dry_run(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written; the report has the size that the dump would have, to within a hundredth."""
    make(core, tmp_path / "ours", 31, codec="lzo")
    assert main(["--dry-run", "--show-stats", "-l", "-d", "31", str(core), str(tmp_path / "none")]) == 0
    heard = capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    assert "saved" not in heard
    size = int(re.search(r"Write bytes     : (\d+)", heard)[1])  # type: ignore[index]
    assert size == pytest.approx((tmp_path / "ours").stat().st_size, rel=0.01)


def test_inputs_are_not_overwritten(core: Path, demo: Path, tmp_path: Path) -> None:
    """Under any of its names, with -f too: not by a log, a joined dump, a rebuilt one, VMCOREINFO."""
    there = demo.read_bytes()[: 1 << 20]
    source = tmp_path / "in"
    source.write_bytes(there)
    os.link(source, tmp_path / "link")
    for words in (("--dump-dmesg", "-f", source, source), ("--dump-dmesg", "-f", source, tmp_path / "link")):
        assert b"is the input" in run(*words).stderr
    flat, parts = tmp_path / "flat", [tmp_path / "part,1", tmp_path / "part,2"]
    flat.write_bytes(run("-F", "-d", "31", core).stdout)
    assert main(["--split", "-d", "31", str(core), *map(str, parts)]) == 0
    before = [path.read_bytes() for path in (flat, parts[0])]
    with flat.open("rb") as stream:
        assert b"is the input" in run("-R", "-f", flat, stdin=stream).stderr
    assert b"is the input" in run("--reassemble", "-f", *parts, parts[0]).stderr
    assert [path.read_bytes() for path in (flat, parts[0])] == before
    assert source.read_bytes() == there
