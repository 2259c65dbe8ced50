"""Dumps of Xen hosts and domains: recognised, and never filtered by one of several kernels."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.notes import note
from tests.pipeline.dump.test_qemu_dumps import in_blocks
from tests.pipeline.kit import machine, make, pages
from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.process.exits import EXIT_OK, EXIT_WEAKER

if TYPE_CHECKING:
    from pathlib import Path

CRASH_INFO = note(b"Xen\0", 0x1000001, bytes(80))
XEN_INFO = note(b"VMCOREINFO_XEN\0", 0, b"SYMBOL(dom_xen)=ffff82d08043a8f0\n")


@pytest.mark.parametrize("form", ["kdump", "elf"])
@pytest.mark.parametrize("sign", [CRASH_INFO, XEN_INFO], ids=["crash info", "vmcoreinfo"])
def test_the_memory_of_a_host_is_kept_whole(sign: bytes, form: str, core: Path, tmp_path: Path) -> None:
    """The first domain's VMCOREINFO is right, but its page frames are not the host's: it is not used."""
    notes = machine().notes() + sign
    (tmp_path / "in").write_bytes(in_blocks(core, 4096, notes=notes))
    report = make(tmp_path / "in", tmp_path / "out", 31, format=form)
    assert report.exit_status() == EXIT_WEAKER
    assert any("memory of a Xen host" in line for line in report.notes)
    assert any(line.startswith("every page is kept: memory of several kernels") for line in report.notes)
    assert pages(open_source(str(tmp_path / "out")))[1] == pages(open_source(str(tmp_path / "in")))[1]
    assert open_source(str(tmp_path / "out")).notes == notes
    assert make(tmp_path / "in", tmp_path / "zero", 1, format=form).exit_status() == EXIT_OK


@pytest.mark.parametrize("names", [b"\0.shstrtab\0.note.Xen\0.xen_prstatus\0.xen_pages\0", b"\0.text\0", b""])
def test_a_core_of_dump_core_is_refused_with_the_reason(names: bytes, tmp_path: Path) -> None:
    """It has sections by the domain's page frame and no program headers; another file without memory is damaged."""
    at = 64 + 2 * 64
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 2, 1)
    sections = bytes(64) + struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, at, len(names), 0, 0, 1, 0)
    (tmp_path / "core").write_bytes(head + sections + names)
    with pytest.raises(Exception, match="Xen's dump-core" if b"xen" in names else "holds no memory") as caught:
        open_source(str(tmp_path / "core"))
    assert isinstance(caught.value, UnsupportedError) == (b"xen" in names)
