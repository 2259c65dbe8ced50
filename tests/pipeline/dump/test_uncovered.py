"""Memory that no struct page covers: kept by ``dump``, left out and reported by ``vmsieve makedumpfile``."""

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
#: Two pages and a half of firmware far above the last memory section.
FIRMWARE = Load(ROM, b"rom!" * (5 * PAGE // 8))
#: In a hole of memory that has struct pages.
ODD = 32 << 20


def with_more(core: Path, out: Path, more: Load = FIRMWARE) -> Path:
    """The machine, and additional memory."""
    data, notes, loads = core.read_bytes(), b"", []
    (at,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, vaddr, paddr, stored, whole, _ = struct.unpack_from("<IIQQQQQQ", data, at + i * size)
        if kind == 4:
            notes += data[offset : offset + stored]
        else:
            loads.append(Load(paddr, data[offset : offset + stored], whole, vaddr))
    out.write_bytes(Core([*loads, more], (notes,)).build())
    return out


def test_firmware_is_kept(core: Path, built: Machine, tmp_path: Path) -> None:
    """At level 31, with its last page filled up, counted by its class; verify reports no missing page."""
    source = with_more(core, tmp_path / "in")
    report = make(source, tmp_path / "out")
    assert (report.uncovered, report.survey.partial, report.left_out, report.exit_status()) == (3, 1, [], 0)
    assert report.account()["unaccounted"] == 0
    assert report.kept + report.dropped["zero"] == len(expected(built, 31)) + 3
    assert compared(source, tmp_path / "out").right


def test_makedumpfile_leaves_it_out_and_verify_names_it(core: Path, built: Machine, tmp_path: Path) -> None:
    """With range and size; the account adds up."""
    source = with_more(core, tmp_path / "in")
    report = make(source, tmp_path / "out", whole=False)
    assert [(one.start, one.end, one.size) for one in report.left_out] == [(ROM, ROM + 5 * PAGE // 2, 5 * PAGE // 2)]
    assert report.account()["unaccounted"] == 0
    assert set(contents(tmp_path / "out")) == expected(built, 31)
    comparison = compared(source, tmp_path / "out")
    assert (comparison.lost, comparison.right, comparison.places[0].start) == (3, False, ROM)


def test_a_page_that_is_stored_in_part(core: Path, built: Machine, tmp_path: Path) -> None:
    """Below the last memory section: kept and filled up by ``dump``, left out and reported by makedumpfile."""
    source = with_more(core, tmp_path / "in", Load(ODD, b"odd!" * (PAGE // 8)))
    report = make(source, tmp_path / "whole", 0)
    assert (report.survey.partial, report.survey.filled, report.exit_status()) == (1, PAGE // 2, 0)
    assert contents(tmp_path / "whole")[ODD // PAGE] == b"odd!" * (PAGE // 8) + bytes(PAGE // 2)
    report = make(source, tmp_path / "out", 0, whole=False)
    assert [(one.start, one.size) for one in report.left_out] == [(ODD, PAGE // 2)]
    assert (report.survey.partial, report.account()["unaccounted"], report.exit_status()) == (0, 0, 3)
    assert set(contents(tmp_path / "out")) == expected(built, 0)
