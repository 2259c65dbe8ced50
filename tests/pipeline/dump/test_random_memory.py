"""Random memory: the account adds up, and an independent reader finds each byte, for any input segments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.build.pages import PAGE
from tests.build.random_memory import Truth, elf_input, kdump_input
from tests.formats.output_kit import Elf, Kdump
from tests.pipeline.kit import compared, make

if TYPE_CHECKING:
    from pathlib import Path

#: Random inputs of each kind; a thousand in all make a thorough test.
COUNT = int(os.environ.get("VMSIEVE_RANDOM_INPUTS", "36"))


def written(path: Path, form: str) -> dict[int, bytes | None]:
    """Each page of a dump, by the tests' own readers."""
    data = path.read_bytes()
    if form == "kdump":
        return Kdump(data).pages()
    made = Elf(data)
    pfns = {pfn for one in made.loads for pfn in range(one.paddr // PAGE, (one.paddr + one.stored) // PAGE)}
    return {pfn: made.page(pfn) for pfn in pfns}


@pytest.mark.parametrize("seed", range(COUNT))
@pytest.mark.parametrize("kind", ["elf", "far elf", "kdump"])
def test_every_byte_of_random_memory(kind: str, seed: int, tmp_path: Path) -> None:
    """Unaligned, overlapping, short, unordered and huge pieces: kept, or reported with range, size and status 3."""
    truth: Truth
    data, truth = kdump_input(seed) if kind == "kdump" else elf_input(seed, far=kind == "far elf")
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    form = "elf" if kind == "far elf" or seed % 3 == 0 else "kdump"
    report = make(source, out, seed % 2, format=form, codec=None if form == "elf" else "zlib")
    account = report.account()
    assert account["stored"] == truth.stored() + truth.beyond
    assert account["unaccounted"] == 0
    assert account["kept"] + account["classes"]["zero"] == len(truth.pfns()) * PAGE
    assert sum(one["size"] for one in account["left_out"]) == truth.beyond
    assert report.exit_status() == (3 if report.left_out else 0)
    assert any(f"{truth.beyond} bytes in 0x" in note for note in report.notes) == bool(report.left_out)
    assert written(out, form) == {pfn: truth.page(pfn) for pfn in truth.pfns()}
    comparison = compared(source, out)
    assert (comparison.right, comparison.equal) == (True, len(truth.pfns()))
    assert comparison.account(PAGE)["unaccounted"] == 0
