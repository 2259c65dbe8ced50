"""Runs of the command line that are interrupted or killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.dump.torn_kit import FORMATS, never_whole, salvaged
from tests.pipeline.kit import expected
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.dump import batches, packing
from vmsieve.pipeline.dump.batches import Gatherer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.machine import Machine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("form", FORMATS)
def test_a_signal_in_the_middle(
    form: str, threads: int, number: signal.Signals, core: Path, built: Machine, truth: dict[int, bytes],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """After some chunks: the partial dump is finalised and marked, and the exit status says usable."""
    claim, left = Gatherer.claim, 12

    def interrupted(self: Gatherer, buffer: Any) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
        return claim(self, buffer)

    monkeypatch.setattr(Gatherer, "claim", interrupted)
    monkeypatch.setattr(batches, "_MOST_PAGES", 0)  # the core is sparse
    monkeypatch.setattr(packing, "_CHUNK", 1 << 19)
    before = signal.getsignal(number)
    # In address order: the order of importance begins with small chunks, all claimed before the first is written.
    words = ["dump", "-q", "--order", "address", "--threads", str(threads), *FORMATS[form]]
    status = main([*words, str(core), str(tmp_path / "out")])
    monkeypatch.undo()
    assert (status, signal.getsignal(number)) == (4, before)
    assert f"stopped by {number.name}" in capsys.readouterr().err
    whole, good = salvaged(tmp_path / "out", truth)
    assert not whole
    assert good
    assert good < expected(built, 0)


@pytest.mark.parametrize("moment", ["begin", "pages", "end"])
@pytest.mark.parametrize("writer", [KdumpWriter, ElfWriter])
def test_a_signal_at_an_odd_moment(
    moment: str, writer: Any, core: Path, truth: dict[int, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Before the first page or after the last: a whole dump only if it is complete."""
    method = getattr(writer, moment)

    def interrupted(self: Any, *words: Any, **more: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        method(self, *words, **more)

    monkeypatch.setattr(writer, moment, interrupted)
    form = ["-E"] if writer is ElfWriter else []
    status = main(["dump", "-q", *form, str(core), str(tmp_path / "out")])
    monkeypatch.undo()
    assert status in (1, 4)
    assert capsys.readouterr().err.count("\n") == 1
    never_whole(core, tmp_path / "out", truth)


def test_a_signal_before_anything_was_written(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While pages are classified: nothing usable yet, so no file is left."""

    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("vmsieve.pipeline.dump.make.scan", interrupted)
    assert main(["dump", "-d", "31", str(core), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "vmsieve dump: stopped by SIGINT\n"
    assert not (tmp_path / "out").exists()


def dies(number: int, function: str, *words: object) -> int:
    """Exit status of a process that runs the command line until half of its ``number``-th write."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left, write = number, getattr(os, function)

    def dying(fd: int, data: Any, *place: int) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            half = len(data) // 2
            # The kernel copies whole pages, and the reader of an ELF core can't tell half a page.
            write(fd, data[: half - half % 4096 if "-E" in words and half > 4096 else half], *place)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(fd, data, *place)

    try:
        setattr(os, function, dying)
        os._exit(main([str(word) for word in words]))
    finally:
        os._exit(70)  # end here, without the tests' cleanup


@pytest.mark.parametrize("form", FORMATS)
def test_killed_at_any_write(
    form: str, core: Path, truth: dict[int, bytes], wholes: dict[str, set[int]], tmp_path: Path
) -> None:
    """After SIGKILL the output is never taken for a whole dump, and its readable pages are right."""
    function = "write" if form == "flattened" else "pwrite"
    # A stream is written in very many pieces: only some of them are tried.
    numbers = [*range(1, 6), *range(6, 400, 9 if form == "flattened" else 1)]
    most = 0
    for number in numbers:
        out = tmp_path / f"out{number}"
        status = dies(number, function, "dump", "-q", "-d", 31, *FORMATS[form], core, out)
        if status == 0:
            assert salvaged(out, truth)[0]
            break
        assert status == -signal.SIGKILL
        most = max(most, len(never_whole(core, out, truth, wholes[form], commands=number % 4 == 1)))
        out.unlink()
    else:
        pytest.fail("it never got to the end")
    assert number > 5
    assert most > 100
