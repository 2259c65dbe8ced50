"""NUMA nodes and zones are read from the kernel's structures, and damaged ones rejected."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import FakeKernel
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, PAGE, Machine
from tests.outcome import result_or_error
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux import zones
from vmsieve.filters.linux.memmap import MemMap
from vmsieve.filters.linux.zones import Zone, find_zones
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

#: Sizes and offsets of v6.1's structures.
NODE, ZONE, SPANNED = 6656, 1664, 120
KEYS = {
    "SIZE(pglist_data)": str(NODE), "SIZE(zone)": str(ZONE), "OFFSET(pglist_data.node_zones)": "0",
    "OFFSET(pglist_data.nr_zones)": "6000", "OFFSET(pglist_data.node_start_pfn)": "6008",
    "OFFSET(pglist_data.node_spanned_pages)": "6024", "OFFSET(pglist_data.node_id)": "6032",
    "OFFSET(zone.spanned_pages)": str(SPANNED),
}  # fmt: skip
#: For each node: its span, and its zones by name.
NODES = {
    0: ((1, 0x80000), [("DMA", 1, 0x1000), ("DMA32", 0x1000, 0x60000), ("Normal", 0x60000, 0x60000),
                       ("Movable", 0x60000, 0x80000)]),
    2: ((0x80000, 0xC0000), [("Normal", 0x80000, 0xC0000)]),
}  # fmt: skip
EXPECTED = [
    Zone(0, "DMA", 1, 0x1000), Zone(0, "DMA32", 0x1000, 0x60000), Zone(0, "Movable", 0x60000, 0x80000),
    Zone(2, "Normal", 0x80000, 0xC0000),
]  # fmt: skip


def node(kernel: FakeKernel, number: int, gap: int = 2) -> bytes:
    """A ``struct pglist_data``; ``gap``: words between ``spanned_pages`` and the name (configuration)."""
    (start, end), populated = NODES[number]
    data = bytearray(NODE)
    for i, (name, first, last) in enumerate(populated):
        named = kernel.static(f"name_{number}_{i}", name.encode() + b"\0")
        struct.pack_into("<QQQ", data, i * ZONE + SPANNED - 16, first, last - first, last - first)
        struct.pack_into("<Q", data, i * ZONE + SPANNED + 8 * gap, named)
    struct.pack_into("<IxxxxQQQI", data, 6000, len(populated), start, end - start, end - start, number)
    return bytes(data)


def numa(gap: int = 2) -> FakeKernel:
    """A kernel with nodes 0 and 2 of four."""
    kernel = FakeKernel()
    kernel.keys |= KEYS
    places = {number: kernel.static(f"node_{number}", node(kernel, number, gap)) for number in NODES}
    kernel.static("node_data", struct.pack("<4Q", *(places.get(i, 0) for i in range(4))))
    kernel.keys["LENGTH(node_data)"] = "4"
    return kernel


@pytest.mark.parametrize("gap", [2, 3, 4])
def test_nodes_and_zones_are_those_of_the_kernel(gap: int) -> None:
    """Empty zones are left out; the name is found at every configuration's offset."""
    kernel, notes = numa(gap), list[str]()
    assert find_zones(kernel.memory(), kernel.info(), notes) == EXPECTED
    assert notes == []


def test_a_kernel_without_numa_has_one_node() -> None:
    kernel = FakeKernel()
    kernel.keys |= KEYS
    kernel.static("contig_page_data", node(kernel, 0))
    assert find_zones(kernel.memory(), kernel.info(), []) == EXPECTED[:3]


def test_zones_with_unreadable_names_have_numbers() -> None:
    """A zone without a readable name gets its number."""
    kernel = numa(gap=20)
    assert [zone.name for zone in find_zones(kernel.memory(), kernel.info(), [])] == ["0", "1", "3", "0"]


@pytest.mark.parametrize("at", [6000, 6008, 6024, 6032, SPANNED, SPANNED - 16])
def test_an_impossible_node_is_reported_and_skipped(at: int) -> None:
    """A damaged node does not hide the other nodes' zones."""
    kernel, notes = numa(), list[str]()
    place = kernel.image_physical(int(kernel.keys["SYMBOL(node_0)"], 16)) + at
    kernel.source.write(place, struct.pack("<Q", 1 << 60 | 0x7FFFFFFF))
    assert find_zones(kernel.memory(), kernel.info(), notes) == EXPECTED[3:]
    assert len(notes) == 1
    assert "the zones of NUMA node 0 are unknown" in notes[0]


def test_overlapping_zones_are_reported() -> None:
    kernel, notes = numa(), list[str]()
    place = kernel.image_physical(int(kernel.keys["SYMBOL(node_2)"], 16))
    kernel.source.write(place + 6008, struct.pack("<QQQ", 0x70000, 0x50000, 0x50000))
    kernel.source.write(place + SPANNED - 16, struct.pack("<QQQ", 0x70000, 0x50000, 0x50000))
    assert find_zones(kernel.memory(), kernel.info(), notes)[3:] == [Zone(2, "Normal", 0x70000, 0xC0000)]
    assert any("overlap" in note for note in notes)


@pytest.mark.parametrize(
    "keys",
    [{"LENGTH(node_data)": "5000"}, {"LENGTH(node_data)": "0"}, {"SYMBOL(node_data)": "0"}],
)
def test_impossible_keys_are_errors(keys: dict[str, str]) -> None:
    kernel = numa()
    kernel.keys.update(keys)
    with pytest.raises(KernelError):
        find_zones(kernel.memory(), kernel.info(), [])


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, NODE // 8 - 1), st.integers(0, (1 << 64) - 1)), min_size=1, max_size=8))
def test_damage_gives_notes_or_typed_errors(patches: list[tuple[int, int]]) -> None:
    kernel = numa()
    place = kernel.image_physical(int(kernel.keys["SYMBOL(node_0)"], 16))
    for word, value in patches:
        kernel.source.write(place + word * 8, struct.pack("<Q", value))
    zones = result_or_error(lambda: find_zones(kernel.memory(), kernel.info(), []))
    assert isinstance(zones, VmsieveError) or all(zone.first_pfn < zone.end_pfn for zone in zones)


@pytest.mark.parametrize(
    ("sections", "nodes", "missing"), [(0x10800, 0x20000, False), (0x10000, 0x20000, True), (0x10000, 0x10000, False)]
)
def test_sections_are_missing_only_where_the_dump_goes_on(
    sections: int, nodes: int, missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node may end beyond the dump: QEMU leaves out memory that virtio-mem has not plugged, also in a last block."""
    monkeypatch.setattr(MemMap, "end_pfn", sections)
    monkeypatch.setattr(zones, "end_of_nodes", lambda *_: nodes)
    source = open_source(str(Machine(LAYOUTS["6.12"], EVERYTHING).write(tmp_path / "machine.elf")))
    known = gather_knowledge(source)
    assert source.end() == 0x10800 * PAGE
    assert known.end_uncertain == missing == bool(known.notes)
    source.close()
