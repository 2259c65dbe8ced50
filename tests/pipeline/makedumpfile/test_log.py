"""The makedumpfile command line besides dumps: the kernel log, addresses, memory by type."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

from tests.build.memory_file import bits
from tests.pipeline.makedumpfile.makedumpfile_kit import run
from vmsieve.formats.errors import KernelError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.main import main as vmsieve
from vmsieve.pipeline.makedumpfile.main import main
from vmsieve.pipeline.makedumpfile.mem_usage import Excluding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def test_the_log(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``vmsieve dmesg`` writes it; -F: to standard output, with the lines for SUSE's script on standard error."""
    assert vmsieve(["dmesg", str(demo), str(tmp_path / "ours")]) == 0
    assert main(["--dump-dmesg", str(demo), str(tmp_path / "log")]) == 0
    assert (tmp_path / "log").read_bytes() == (tmp_path / "ours").read_bytes() != b""
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert f"The dmesg log is saved to {tmp_path / 'log'}.\n\nmakedumpfile Completed." in capsys.readouterr().out
    assert main(["--dump-dmesg", str(demo), str(tmp_path / "log")]) == 1
    ran = run("-F", "--message-level", "8", "--dump-dmesg", demo)
    assert (ran.returncode, ran.stdout) == (0, (tmp_path / "ours").read_bytes())
    # IFS=" =" read KEY VALUE, as bash does it.
    told = dict(line.strip().split("=", 1) for line in ran.stderr.decode().splitlines())
    assert told.keys() == {"OSRELEASE", "CRASHTIME"}
    assert main(["-f", "-L", "100", "--dump-dmesg", str(demo), str(tmp_path / "log")]) == 1
    assert (tmp_path / "log").stat().st_size == 100


def test_the_log_since_it_was_cleared(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--partial-dmesg and ``vmsieve dmesg --partial`` print that part."""
    asked = []

    def kernel_log(*_: object, since_clear: bool) -> Iterator[bytes]:
        asked.append(since_clear)
        yield b"a line\n"

    monkeypatch.setattr("vmsieve.pipeline.inspect.log.kernel_log", kernel_log)
    for words in (["--partial-dmesg"], []):
        assert main(["-f", "--dump-dmesg", *words, str(demo), str(tmp_path / "log")]) == 0
    for words in (["--partial"], []):
        assert vmsieve(["dmesg", "-f", *words, str(demo), str(tmp_path / "log")]) == 0
    assert asked == [True, False, True, False]


def test_a_damaged_log(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readable part is written, and the exit status shows that it is incomplete."""

    def kernel_log(*_: object, since_clear: bool) -> Iterator[bytes]:
        yield b"a line\n"
        raise KernelError("the rest is damaged")

    monkeypatch.setattr("vmsieve.pipeline.inspect.log.kernel_log", kernel_log)
    assert main(["--dump-dmesg", str(demo), str(tmp_path / "log")]) == 1
    assert (tmp_path / "log").read_bytes() == b"a line\n"


def test_an_address(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--vtop prints the dump's values; with a DUMPFILE, the dump is made too."""
    source = open_source(str(core))
    virtual, paddr, _ = min(
        ((one.vaddr, one.paddr, one.size) for one in source.virtual), key=lambda one: one[0]
    )  # fmt: skip
    source.close()
    for typed in (f"{virtual:#x}", f"{virtual:x}"):
        assert main(["--vtop", typed, str(core)]) == 0
        assert f"{virtual:16x}  {paddr:x}\n" in capsys.readouterr().out
    for wrong in ("0", "zzz", f"{1 << 64:#x}"):
        assert main(["--vtop", wrong, str(core)]) == 1
    assert main(["--vtop", f"{virtual:#x}", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").exists()


def test_memory_by_type(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the counts of ``vmsieve classes``."""
    assert main(["--mem-usage", str(core)]) == 0
    heard = capsys.readouterr().out
    counts = {name: int(count) for name, count in re.findall(r"^([A-Z_]+)\t+(\d+)", heard, re.MULTILINE)}
    total = re.search(r"^Total pages on system:\t(\d+)", heard, re.MULTILINE)
    assert total
    assert vmsieve(["classes", "--json", str(core)]) == 0
    ours = json.loads(capsys.readouterr().out)["pages"]
    assert counts == {
        "ZERO": ours["zero"], "NON_PRI_CACHE": ours["cache"], "PRI_CACHE": ours["cache_private"], "USER": ours["user"],
        "FREE": ours["free"] + ours["unaccepted"], "KERN_DATA": ours["kept"],
    }  # fmt: skip
    assert int(total[1]) == sum(counts.values()) + ours["hwpoison"] + ours["offline"]
    assert "Completed" not in heard


def test_memory_of_the_crash_kernel_is_not_counted(core: Path) -> None:
    """Pages entirely within the crash kernel's memory are not part of the machine's dump."""
    source = open_source(str(core))
    less = Excluding(source, [(0x10_0800, 0x10_4800), (0x7FFF_F000, 1 << 40)])
    for first in (0, 256):
        for whole, left in zip(source.memory_bits(first, 512, 4096), less.memory_bits(first, 512, 4096)):
            gone = {0x101, 0x102, 0x103}
            assert bits(left) == {bit for bit in bits(whole) if bit + first not in gone}
    source.close()


def test_a_log_that_is_not_there_leaves_no_file(core: Path, tmp_path: Path) -> None:
    """An empty file would block the next try."""
    assert main(["--dump-dmesg", str(core), str(tmp_path / "log")]) == 1
    assert not (tmp_path / "log").exists()


def test_a_log_for_no_file_removes_none(demo: Path, tmp_path: Path) -> None:
    """A device or a FIFO that takes the log still exists afterwards."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        assert main(["--dump-dmesg", "-f", str(demo), str(fifo)]) == 0
        told, _ = reader.communicate()
    assert b"Linux version" in told
    assert fifo.is_fifo()
