"""Page selection on made-up machines, beside makedumpfile's on the same cores."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.tools import tool
from tests.filters.classify_kit import bits, opened, run
from tests.formats.output_kit import Kdump

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

#: The counters of makedumpfile's report, in our names.
COUNTERS = {
    "Non-private cache pages": "cache", "Private cache pages": "cache_private", "User process data pages": "user",
    "Free pages": "free", "Hwpoison pages": "hwpoison", "Offline pages": "offline",
}  # fmt: skip
UNACCEPTED = "0xc00-0xfff unaccepted order=10\n"


@pytest.fixture(scope="module")
def makedumpfile() -> str:
    """One that knows the kernels: after 1.7.9, which fails on 7.1 and later."""
    path = tool("makedumpfile")
    told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"version (\d+)\.(\d+)\.(\d+)(\+*)", told)
    if version is None or (*map(int, version.groups()[:3]), len(version[4])) <= (1, 7, 9, 0):
        pytest.skip(f"{path} is too old for the kernels of this test: {told.splitlines()[:1]}")
    return path


def answer(makedumpfile: str, core: Path, level: int) -> tuple[set[int], dict[str, int]]:
    """The page frames that makedumpfile keeps, and its counts by our names of the classes."""
    out = core.with_suffix(".kdump")
    command = [makedumpfile, "-f", "-c", "-d", str(level), "--message-level", "16", str(core), str(out)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counts = {}
    for line in told.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in COUNTERS:
            counts[COUNTERS[name.strip()]] = int(value, 16)
    return set(Kdump(out.read_bytes()).bits(1)), counts


@pytest.mark.parametrize("name", LAYOUTS)
def test_selection_and_counts_equal_makedumpfiles(name: str, makedumpfile: str, tmp_path: Path) -> None:
    """Each bit of the dump level by itself, none and all."""
    layout = LAYOUTS[name]
    machine = Machine(layout, EVERYTHING + (UNACCEPTED if "unaccepted" in layout.types else ""))
    source, knowledge = opened(machine, tmp_path)
    for level in (0, 2, 4, 8, 16, 31):
        kept, counts = answer(makedumpfile, tmp_path / "machine.elf", level)
        found = run(source, knowledge, level)
        assert bits(found.kept) == kept, level
        mine = {**found.counts, "free": found.counts["free"] + found.counts["unaccepted"]}
        assert {key: mine[key] for key in counts} == counts, level
    source.close()


def test_where_the_two_differ(makedumpfile: str, tmp_path: Path) -> None:
    """Ours keeps what follows an odd order, and leaves out a poisoned tail; makedumpfile does neither."""
    recipe = "0x840-0x847 kernel order=3\n0x843 hwpoison\n0x404 free private=3"
    source, knowledge = opened(Machine(LAYOUTS["6.12"], recipe), tmp_path)
    kept, _ = answer(makedumpfile, tmp_path / "machine.elf", 31)
    mine = bits(run(source, knowledge, 31).kept)
    assert kept - mine == {0x843}
    assert mine - kept == set(range(0x404, 0x40C))
    source.close()
