"""Classes counted by NUMA node and zone beside classes counted at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dumps import dump
from vmsieve.filters.knowledge import learn
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.progress import Silent
from vmsieve.pipeline.scan import scan
from vmsieve.pipeline.zones import count_zones

if TYPE_CHECKING:
    from pathlib import Path

#: Names of the zones of real dumps.
DUMPS = {
    "demo.elf": ["DMA32"], "x86_64-6.1-kdump.elf": ["DMA", "DMA32"], "x86_64-7.2-live.elf": ["DMA", "DMA32"],
    "ppc64le-6.1-kdump.elf": ["Normal"], "s390x-6.1.s390": ["DMA"],
}  # fmt: skip


@pytest.mark.parametrize("name", DUMPS)
def test_zones_add_up(name: str, scratch: Path) -> None:
    """What a scan of level 31 drops of each class is what it drops in all zones together."""
    source, notes = open_source(str(dump(name, scratch))), list[str]()
    knowledge = learn(source)
    zones = count_zones(source, knowledge, notes)
    assert [one.zone.name for one in zones] == DUMPS[name]
    assert notes == []
    for rule, count in scan(source, knowledge, 31, Silent()).counts.items():
        assert sum(one.pages[rule] for one in zones) == count
    source.close()


def test_a_kernel_that_is_not_understood_has_no_zones(scratch: Path) -> None:
    source, notes = open_source(str(dump("demo.elf", scratch))), list[str]()
    knowledge = learn(source)
    knowledge.memory, knowledge.problem = None, "a kernel of the moon"
    assert count_zones(source, knowledge, notes) == []
    assert notes == ["zones are not known: a kernel of the moon"]
    source.close()
