"""Checks of unfinished dumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.pipeline.cli_kit import vmsieve
from tests.pipeline.kit import pages
from vmsieve.formats.errors import FormatError, ReadError
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path


FORMATS = {"kdump": ["--codec", "none"], "elf": ["-E"], "flattened": ["-F", "--codec", "none"]}


def salvaged(path: Path, truth: dict[int, bytes]) -> tuple[bool, set[int]]:
    """Return whether a dump claims to be whole, and its readable pages, which must all be right.

    In an ELF core, unwritten pages read as zeros: only the file's mark shows that it is torn.
    """
    source = open_source(str(path))
    try:
        good, out = set(), bytearray(4096)
        for pfn in pages(source)[1]:
            try:
                source.read_into(pfn << 12, memoryview(out))
            except ReadError:
                continue
            if source.format.startswith("ELF") and source.incomplete and out == bytes(4096):
                continue
            assert out == truth[pfn], hex(pfn)
            good.add(pfn)
        return not source.incomplete, good
    finally:
        source.close()


def never_whole(
    core: Path, out: Path, truth: dict[int, bytes], all_pages: set[int] | None = None, *, commands: bool = True
) -> set[int]:
    """Check that a partial dump is not taken for whole; return its good pages."""
    if not out.exists() or out.stat().st_size == 0:
        return set()
    try:
        whole, good = salvaged(out, truth)
    except FormatError:
        assert not commands or vmsieve("info", out).status == 1
        return set()
    if whole and good == all_pages:
        return good  # the last significant byte was written
    assert not whole
    if commands:
        assert vmsieve("info", out).status == 4
        assert vmsieve("verify", core, out).status in (1, 4)
    return good
