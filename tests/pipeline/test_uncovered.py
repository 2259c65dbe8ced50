"""Memory that no struct page covers: kept by ``dump``, left out and told by ``vmsieve makedumpfile``."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build.elf_core import Core, Load
from tests.build.machine import PAGE
from tests.pipeline.kit import compared, contents, expected, make

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.machine import Machine

ROM = 0xFFFC0000


def with_rom(core: Path, out: Path) -> Path:
    """The machine, and two pages and a half of firmware far above its last memory section."""
    data, notes, loads = core.read_bytes(), b"", []
    (at,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, vaddr, paddr, stored, whole, _ = struct.unpack_from("<IIQQQQQQ", data, at + i * size)
        if kind == 4:
            notes += data[offset : offset + stored]
        else:
            loads.append(Load(paddr, data[offset : offset + stored], whole, vaddr))
    out.write_bytes(Core([*loads, Load(ROM, b"rom!" * (5 * PAGE // 8))], (notes,)).build())
    return out


def test_firmware_is_kept(core: Path, built: Machine, tmp_path: Path) -> None:
    """At level 31, with its last page filled up, counted as what it is; verify finds nothing missing."""
    source = with_rom(core, tmp_path / "in")
    report = make(source, tmp_path / "out")
    assert (report.uncovered, report.survey.partial, report.left_out, report.exit_status()) == (3, 1, [], 0)
    assert report.account()["unaccounted"] == 0
    assert report.kept + report.dropped["zero"] == len(expected(built, 31)) + 3
    assert compared(source, tmp_path / "out").right


def test_makedumpfile_leaves_it_out_and_verify_names_it(core: Path, built: Machine, tmp_path: Path) -> None:
    """With range and size; the account adds up."""
    source = with_rom(core, tmp_path / "in")
    report = make(source, tmp_path / "out", whole=False)
    assert [(one.start, one.end, one.size) for one in report.left_out] == [(ROM, ROM + 5 * PAGE // 2, 5 * PAGE // 2)]
    assert report.account()["unaccounted"] == 0
    assert set(contents(tmp_path / "out")) == expected(built, 31)
    verdict = compared(source, tmp_path / "out")
    assert (verdict.lost, verdict.right, verdict.places[0].start) == (3, False, ROM)
