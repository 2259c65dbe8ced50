"""drgn opens the dumps that ``vmsieve dump`` writes, with libkdumpfile and with its own reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.build.memory_file import bits
from tests.dumps import dump
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


def kept_pages(path: Path) -> set[int]:
    """Page frames that a kdump-compressed dump holds."""
    source = open_source(str(path))
    kept = bits(source.memory_bits(0, -(-source.end() // PAGE // 8) * 8, PAGE)[1])
    source.close()
    return kept


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["-c", "-l", "-p", "-z", "--codec=none", "-E"])
def test_drgn_reads_the_pages_that_were_kept(output: str, scratch: Path, tmp_path: Path) -> None:
    """Kept pages have the source's bytes; left-out pages are absent; VMCOREINFO is present."""
    drgn = pytest.importorskip("drgn", reason="drgn is not installed")
    original, small, other = dump("demo.elf", scratch), tmp_path / "small", tmp_path / "other"
    assert main(["dump", "-q", "-d", "31", output, str(original), str(small)]) == 0
    assert main(["dump", "-q", "-d", "31", "-c", str(original), str(other)]) == 0
    kept = kept_pages(other)
    assert len(kept) == 5788
    program = drgn.Program()
    program.set_core_dump(str(small))
    source = open_source(str(original))
    page = bytearray(PAGE)
    for pfn in sorted(kept):
        source.read_into(pfn * PAGE, memoryview(page))
        assert program.read(pfn * PAGE, PAGE, physical=True) == page, hex(pfn)
    for pfn in sorted(bits(source.memory_bits(0, 8192 * 4, PAGE)[1]) - kept)[::7]:
        source.read_into(pfn * PAGE, memoryview(page))
        # An ELF core keeps pages in a small gap; drgn reads memory that is not in the file as zeros.
        others = (page, bytes(PAGE)) if output == "-E" else ()
        assert is_left_out(drgn, program, pfn, others), hex(pfn)
    source.close()
    assert b"OSRELEASE=6.12.95-vmsieve-demo\n" in program["VMCOREINFO"].string_()


def is_left_out(drgn: Any, program: Any, pfn: int, others: tuple[bytes | bytearray, ...]) -> bool:
    """True if reading a page fails, or gives one of ``others``."""
    try:
        return program.read(pfn * PAGE, PAGE, physical=True) in others
    except drgn.FaultError:
        return True
