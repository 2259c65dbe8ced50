"""NUMA nodes and their zones, from the kernel's own structures.

VMCOREINFO has the addresses of the nodes (``node_data``, an array of pointers, or ``contig_page_data``, the only node)
and the offset of a node's zones (``struct pglist_data``, ``struct zone`` of ``include/linux/mmzone.h``). It lacks the
offset of a zone's first page frame: two words before ``spanned_pages`` since v3.13, checked against the node's span.
And it lacks the offset of its name: one of the words after, a pointer to one of few strings.

A zone's *span* may contain page frames of others, if the memory of nodes alternates.
"""

from __future__ import annotations

from vmsieve.formats.errors import KernelError, ReadError, VmsieveError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Bounds of MAX_NUMNODES, MAX_NR_ZONES.
_MOST_NODES: Final = 4096
_MOST_ZONES: Final = 8
_MOST_PFN: Final = 1 << 52
#: zone_start_pfn and managed_pages come before spanned_pages (``struct zone``).
_START_BEFORE: Final = 16
#: Words after ``spanned_pages`` that may be the name: present_pages and configured fields precede it.
_NAME_WITHIN: Final = range(1, 8)
_NAMES: Final = (b"DMA", b"DMA32", b"Normal", b"HighMem", b"Movable", b"Device")


@record(frozen=True)
class Zone:
    """A populated zone: its NUMA node, its name or else its number, its first page frame and one above its last."""

    node: int
    name: str
    first_pfn: int
    end_pfn: int


def find_zones(memory: VirtualMemory, info: VmcoreInfo, notes: list[str]) -> list[Zone]:
    """Find the zones, ascending per node; ``notes`` gets remarks on damaged ones."""
    found: list[Zone] = []
    for number, place in enumerate(_nodes(memory, info)):
        try:
            found += _zones(memory, info, place)
        except (KernelError, ReadError) as error:
            notes.append(f"the zones of NUMA node {number} are unknown: {error}")
    spans = sorted((zone.first_pfn, zone.end_pfn) for zone in found)
    if any(end > start for (_, end), (start, _) in zip(spans, spans[1:])):
        notes.append("zones overlap: page frames that several span are counted in each")
    return found


def _nodes(memory: VirtualMemory, info: VmcoreInfo) -> list[int]:
    """Addresses of the nodes."""
    table, count = info.symbol("node_data"), info.length("node_data")
    if table is None or count is None:
        return [info.need("SYMBOL", "contig_page_data")]
    if not 0 < count <= _MOST_NODES:
        raise KernelError("LENGTH(node_data) is implausible", found=count)
    data = memory.read(table, count * 8)
    # Most of possibly thousands are 0, in any byte order.
    found = [number for number, word in enumerate(memoryview(data).cast("Q")) if word]
    return [memory.physical.number(data[8 * number : 8 * number + 8]) for number in found]


def _zones(memory: VirtualMemory, info: VmcoreInfo, node: int) -> list[Zone]:
    def of_node(name: str, size: int) -> int:
        return memory.physical.number(memory.read(node + info.need("OFFSET", f"pglist_data.{name}"), size))

    if not memory.translator.is_kernel(node):
        raise KernelError("a node is not an address of the kernel", found=node)
    number, count = of_node("node_id", 4), of_node("nr_zones", 4)
    start, spanned = of_node("node_start_pfn", 8), of_node("node_spanned_pages", 8)
    if number >= _MOST_NODES or count > _MOST_ZONES or max(start, spanned) > _MOST_PFN:
        raise KernelError("a node is implausible", offset=node)
    first, size = node + info.need("OFFSET", "pglist_data.node_zones"), info.need("SIZE", "zone")
    at = info.need("OFFSET", "zone.spanned_pages")
    if not _START_BEFORE <= at <= size - 8 * _NAME_WITHIN.stop or size > 1 << 16:
        raise KernelError("SIZE or OFFSET of zone is implausible", found=f"{size} and {at}")
    found = []
    for i in range(count):
        zone = first + i * size + at
        begin, pages = memory.u64(zone - _START_BEFORE), memory.u64(zone)
        if not pages:
            continue
        if not start <= begin <= begin + pages <= start + spanned:
            raise KernelError("a zone lies outside of its node", offset=zone, found=f"{begin:#x} + {pages:#x}")
        found.append(Zone(number, _name(memory, zone) or str(i), begin, begin + pages))
    return found


def free_counters(memory: VirtualMemory, info: VmcoreInfo) -> list[list[int]]:
    """Addresses of the counters of free blocks (``nr_free`` of ``struct free_area``): for each zone, by order."""
    orders, size = info.need("LENGTH", "zone.free_area"), info.need("SIZE", "free_area")
    offset, zone_size = info.need("OFFSET", "zone.free_area"), info.need("SIZE", "zone")
    if not 0 < orders <= 32 or not 24 <= size <= 4096 or size % 8 or offset + orders * size > zone_size > 1 << 16:
        raise KernelError("LENGTH or OFFSET of zone.free_area is implausible", found=f"{orders} and {offset}")
    found = []
    for node in _nodes(memory, info):
        zones = memory.physical.number(memory.read(node + info.need("OFFSET", "pglist_data.nr_zones"), 4))
        if not memory.translator.is_kernel(node) or zones > _MOST_ZONES:
            raise KernelError("a node is implausible", offset=node)
        first = node + info.need("OFFSET", "pglist_data.node_zones") + offset + size - 8
        found += [[first + zone * zone_size + order * size for order in range(orders)] for zone in range(zones)]
    return found


def free_blocks(memory: VirtualMemory, info: VmcoreInfo) -> list[int] | None:
    """Number of free blocks of each order in all zones, as the kernel counts; None if unknown."""
    try:
        return [sum(map(memory.u64, column)) for column in zip(*free_counters(memory, info))]
    except (KernelError, ReadError):
        return None


def end_of_nodes(memory: VirtualMemory, info: VmcoreInfo) -> int:
    """One above the last page frame of any node; 0 if unknown."""
    end = 0
    try:
        for node in _nodes(memory, info):
            start = memory.u64(node + info.need("OFFSET", "pglist_data.node_start_pfn"))
            end = max(end, start + memory.u64(node + info.need("OFFSET", "pglist_data.node_spanned_pages")))
    except VmsieveError:
        return 0
    return end if end <= _MOST_PFN else 0


def _name(memory: VirtualMemory, spanned: int) -> str | None:
    """Name of the zone whose ``spanned_pages`` are at address ``spanned``."""
    for word in _NAME_WITHIN:
        try:
            vaddr = memory.u64(spanned + word * 8)
            name = memory.string(vaddr, 8) if memory.translator.is_kernel(vaddr) else b""
        except (KernelError, ReadError):
            continue
        if name in _NAMES:
            return name.decode("ascii")
    return None
