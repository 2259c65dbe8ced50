"""Page selection on made-up machines, compared with makedumpfile's on the same cores."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, UNACCEPTED, Machine
from tests.build.tools import tool
from tests.filters.classify_kit import bits, opened, run
from tests.formats.output_kit import Kdump

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

#: The counters of makedumpfile's report, by vmsieve's class names.
COUNTERS = {
    "Non-private cache pages": "cache", "Private cache pages": "cache_private", "User process data pages": "user",
    "Free pages": "free", "Hwpoison pages": "hwpoison", "Offline pages": "offline",
}  # fmt: skip
#: The first version that supports a kernel's struct pages; the last number counts commits after a release.
SINCE = {
    "4.4": (1, 6, 4, 0), "4.14": (1, 6, 4, 0), "4.16": (1, 6, 4, 0), "6.1": (1, 6, 6, 0), "6.3": (1, 7, 3, 0),
    "6.6": (1, 7, 4, 0), "6.9": (1, 7, 6, 0), "6.10": (1, 7, 6, 0), "6.11": (1, 7, 6, 0), "6.12": (1, 7, 7, 0),
    "7.2": (1, 7, 9, 1),
}  # fmt: skip
#: The first version that tests for slab pages before anonymous ones.
SLAB_SINCE = (1, 7, 3, 0)


@cache
def version(path: str) -> tuple[int, ...]:
    told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)(\+*)", told)
    return (*map(int, found.groups()[:3]), len(found[4])) if found else (0, 0, 0, 0)


def makedumpfile(kernel: str) -> str:
    """A makedumpfile that knows the kernel."""
    path = tool("makedumpfile")
    if version(path) < SINCE[kernel]:
        pytest.skip(f"{path} is too old for Linux {kernel}")
    return path


def answer(tool_path: str, core: Path, level: int) -> tuple[set[int], dict[str, int]]:
    """The page frames that makedumpfile keeps, and its counts by vmsieve's class names."""
    out = core.with_suffix(".kdump")
    command = [tool_path, "-f", "-c", "-d", str(level), "--message-level", "16", str(core), str(out)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counts = {}
    for line in told.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in COUNTERS:
            counts[COUNTERS[name.strip()]] = int(value, 16)
    return set(Kdump(out.read_bytes()).bits(1)), counts


@pytest.mark.parametrize("name", LAYOUTS)
def test_selection_and_counts_equal_makedumpfiles(name: str, tmp_path: Path) -> None:
    """Each single bit of the dump level, none and all."""
    layout, path = LAYOUTS[name], makedumpfile(name)
    recipe = EVERYTHING + UNACCEPTED
    if version(path) < SLAB_SINCE:
        recipe = recipe.replace("mapping=1", "")
    machine = Machine(layout, recipe)
    source, knowledge = opened(machine, tmp_path)
    for level in (0, 2, 4, 8, 16, 31):
        kept, counts = answer(path, tmp_path / "machine.elf", level)
        found = run(source, knowledge, level)
        assert bits(found.kept) == kept, level
        mine = {**found.counts, "free": found.counts["free"] + found.counts["unaccepted"]}
        assert {key: mine[key] for key in counts} == counts, level
    source.close()


def test_where_the_two_differ(tmp_path: Path) -> None:
    """Pages after an odd order are kept and a poisoned tail is left out; makedumpfile does neither."""
    recipe = "0x840-0x847 kernel order=3\n0x843 hwpoison\n0x404 free private=3"
    source, knowledge = opened(Machine(LAYOUTS["6.1"], recipe), tmp_path)
    kept, _ = answer(makedumpfile("6.1"), tmp_path / "machine.elf", 31)
    mine = bits(run(source, knowledge, 31).kept)
    assert kept - mine == {0x843}
    assert mine - kept == set(range(0x404, 0x40C))
    source.close()
