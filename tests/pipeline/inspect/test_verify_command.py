"""The exit status and output of ``vmsieve verify`` for each state of a dump."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.pages import PAGE
from tests.pipeline.kit import Damaged
from vmsieve.formats.inputs import MemoryRange
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.cli import main as cli
from vmsieve.pipeline.dump import input as dump_input

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE = 0x1000
WHOLE = [bytes([k + 1]) * PAGE for k in range(4)]
#: Edits of the source's four pages, the exit status, and a part of the output.
DUMPS = {
    "right": (WHOLE, 0, "The dump is right."),
    "differs": ([*WHOLE[:2], b"x" * PAGE, WHOLE[3]], 1, "1 pages DIFFER"),
    "lost": (WHOLE[:3], 1, "1 pages are LOST"),
    "extra": ([*WHOLE, b"x" * PAGE], 1, "1 pages are in the dump and not in the source"),
}


def core(path: Path, pages: list[bytes], *, torn: bool = False) -> str:
    data = bytearray(Core([Load(BASE, b"".join(pages))]).build())
    struct.pack_into("<I", data, 48, int(torn))
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("name", DUMPS)
def test_exit_status_of_right_and_wrong_dumps(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 or 1, for every kind of fault."""
    pages, status, words = DUMPS[name]
    assert cli.main(["verify", core(tmp_path / "in", WHOLE), core(tmp_path / "out", pages)]) == status
    out = capsys.readouterr().out
    assert words in out
    assert ("The dump is NOT right." in out) == bool(status)


@pytest.mark.parametrize(("name", "status"), [("right", 4), ("lost", 4), ("differs", 1), ("extra", 1)])
def test_a_torn_dump(name: str, status: int, tmp_path: Path) -> None:
    """4 if the stored pages are right, even if pages are missing."""
    out = core(tmp_path / "out", DUMPS[name][0], torn=True)
    assert cli.main(["verify", core(tmp_path / "in", WHOLE), out]) == status


@pytest.mark.parametrize(("zeros", "status"), [(False, 4), (True, 1)])
def test_an_unreadable_source(
    zeros: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """4, and not "right"; 1 if an ELF core has zeros in place of unreadable pages."""
    monkeypatch.setattr(dump_input, "open_system", lambda path, select: Damaged(open_system(path, select), {2}))
    pages = [WHOLE[0], bytes(PAGE) if zeros else WHOLE[1], *WHOLE[2:]]
    assert cli.main(["verify", core(tmp_path / "in", WHOLE), core(tmp_path / "out", pages)]) == status
    out = capsys.readouterr().out
    assert "1 pages can't be read from the source" in out
    assert ("1 of these are ZEROS" in out) == zeros
    assert ("What can be compared of the dump is right." in out) == (not zeros)


class Forgetful(Damaged):
    """An input whose ranges list a stored page twice, so that the account is wrong."""

    def ranges(self) -> Iterator[MemoryRange]:
        yield from super().ranges()
        yield MemoryRange(BASE, BASE + PAGE, BASE + PAGE)


def test_an_unbalanced_account_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, with the number of bytes; in JSON too."""
    monkeypatch.setattr(dump_input, "open_system", lambda path, select: Forgetful(open_system(path, select), set()))
    cli.main(["verify", "--json", core(tmp_path / "in", WHOLE), core(tmp_path / "out", WHOLE)])
    said = capsys.readouterr()
    assert f"the account of memory does not add up: {PAGE} bytes are not accounted for" in said.err
    assert json.loads(said.out)["account"]["unaccounted"] == PAGE
