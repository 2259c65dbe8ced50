"""Classes counted by NUMA node and zone, compared with classes counted at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.dumps import dump
from tests.pipeline.cli_kit import vmsieve
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.inspect.zones import count_zones
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

#: Names of the zones of real dumps.
DUMPS = {
    "demo.elf": ["DMA32"], "x86_64-6.1-kdump.elf": ["DMA", "DMA32"], "x86_64-7.2-live.elf": ["DMA", "DMA32"],
    "ppc64le-6.1-kdump.elf": ["Normal"], "s390x-6.1.s390": ["DMA"],
}  # fmt: skip


@pytest.mark.parametrize("name", DUMPS)
def test_zones_add_up(name: str, scratch: Path) -> None:
    """The counts of all zones add up to those of a scan at level 31."""
    source, notes = open_source(str(dump(name, scratch))), list[str]()
    knowledge = gather_knowledge(source)
    zones = count_zones(source, knowledge, notes)
    assert [one["zone"] for one in zones] == DUMPS[name]
    assert notes == []
    for rule, count in scan(source, knowledge, 31, Silent()).counts.items():
        assert sum(one["pages"][rule] for one in zones) == count
    source.close()


def test_a_kernel_that_is_not_understood_has_no_zones(scratch: Path) -> None:
    source, notes = open_source(str(dump("demo.elf", scratch))), list[str]()
    knowledge = gather_knowledge(source)
    knowledge.memory, knowledge.problem = None, "a kernel of the moon"
    assert count_zones(source, knowledge, notes) == []
    assert notes == ["zones are not known: a kernel of the moon"]
    source.close()


def test_the_command_prints_zones_on_request(scratch: Path) -> None:
    """As text and as JSON, after the other output."""
    path = dump("demo.elf", scratch)
    plain, asked = vmsieve("classes", path), vmsieve("classes", "--zones", path)
    assert (plain.status, asked.status) == (0, 0)
    assert asked.out.startswith(plain.out)
    assert "Node 0, zone DMA32: page frames 0x1 - 0x6fd9\n" in asked.out
    assert "Node" not in plain.out
    told = json.loads(vmsieve("classes", "--zones", "--json", path).out)
    (zone,) = told["zones"]
    assert (zone["node"], zone["zone"], zone["first_pfn"], zone["end_pfn"]) == (0, "DMA32", 1, 28634)
    assert zone["pages"]["free"] == told["pages"]["free"]
    assert zone["pages"]["kept"] == told["pages"]["kept"] + told["pages"]["zero"]
