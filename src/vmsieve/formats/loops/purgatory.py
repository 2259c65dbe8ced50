"""Search for the table of checksummed regions that a crash kernel's purgatory verifies."""

from __future__ import annotations

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load64, store64
from vmsieve.formats.loops.copies import word64
from vmsieve.formats.slim.typing import Final

#: Regions that a table has room for: KEXEC_SEGMENT_MAX of include/uapi/linux/kexec.h, SHA256_REGIONS of kexec-tools.
SLOTS: Final = 16
#: Bytes of a table: start and length of each region, 64 bits each.
TABLE_SIZE: Final = SLOTS * 16

#: Segments are whole pages (sanity_check_segment_list, kernel/kexec_core.c), of 4 KiB at least.
_IN_PAGE: Final = 4095


@loop
def find_tables(memory: int, size: int, low: int, high: int, swap: int, out: int, room: int) -> int:
    """Look for tables of two regions or more within ``low .. high``; returns how many were found, ``room`` at most.

    ``memory``: address of ``size`` bytes; a table may begin at every eighth, and its unused slots are zero. ``swap``: 1
    if their byte order is not this machine's. ``out``: address of 64-bit words, set to the offsets of the tables.
    Regions may overlap, and a table without its first region is found too: the caller sorts that out.
    """
    found = 0
    at = 0
    while at + TABLE_SIZE <= size and found < room:
        count = 0
        while count < SLOTS:
            start = word64(memory, at + count * 16, swap)
            length = word64(memory, at + count * 16 + 8, swap)
            if start < low or start >= high or length == 0 or length > high - start or (start | length) & _IN_PAGE:
                break
            count += 1
        if count >= 2:
            rest = 0
            for i in range(count * 2, SLOTS * 2):
                rest |= load64(memory, at + i * 8)
            if rest == 0:
                store64(out, found * 8, at)
                found += 1
        at += 8
    return found
