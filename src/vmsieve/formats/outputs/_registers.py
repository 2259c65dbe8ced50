"""Registers of s390x processors at their places in memory, as in stand-alone dumps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Final, Optional

from vmsieve.formats.layouts import lowcore, s390
from vmsieve.formats.s390_registers import SAVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.s390_registers import Registers

_PAGE: Final = s390.PAGE_SIZE
#: By page frame: offsets in the page, and the bytes for them.
Patches = dict[int, list[tuple[int, bytes]]]
#: ``(address, size)``: bytes of physical memory, or None if unreadable.
Read = Callable[[int, int], Optional[bytes]]


def register_pages(cpus: Sequence[Registers], read: Read | None, size: int) -> Patches:
    """Find the bytes that the registers of ``cpus`` put into memory, by ascending page frame.

    They go into each processor's lowcore; vector registers go to the address in the lowcore, if it has one. Registers
    above ``size`` bytes of memory are dropped.
    """
    found: Patches = {}
    for cpu in cpus:
        for address, data in _saved(cpu, read):
            if address + len(data) <= size:
                found.setdefault(address // _PAGE, []).append((address % _PAGE, data))
    return dict(sorted(found.items()))


def _saved(cpu: Registers, read: Read | None) -> Iterator[tuple[int, bytes]]:
    """Yield addresses and bytes; none crosses a page boundary."""
    if cpu.prefix % lowcore.PREFIX_ALIGN == 0:
        for name in (*SAVED, "prefix"):
            value = getattr(cpu, name)
            yield cpu.prefix + lowcore.LOWCORE.offset(name), lowcore.LOWCORE.pack_field(name, value)
    pointer = read(cpu.prefix + lowcore.LOWCORE.offset("mcesad"), 8) if read is not None else None
    area = int.from_bytes(pointer or b"", "big")
    if area and area % lowcore.VX_ALIGN == 0 and cpu.vxrs_low is not None and cpu.vxrs_high is not None:
        halves = (cpu.fprs[at : at + 8] + cpu.vxrs_low[at : at + 8] for at in range(0, 128, 8))
        yield area, b"".join(halves) + cpu.vxrs_high


def patched(page: bytes | memoryview, patches: list[tuple[int, bytes]]) -> bytearray:
    """Apply ``patches`` to a copy of a page."""
    out = bytearray(page)
    for at, data in patches:
        out[at : at + len(data)] = data
    return out
