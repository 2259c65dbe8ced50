"""Random inputs: memory in pieces unlike any real machine's, and the expected value of each byte."""

from __future__ import annotations

import random

from tests.build.elf_core import Core, Load
from tests.build.kdump_file import Kdump
from tests.build.pages import PAGE, Page

#: One above the highest physical address that a machine can have.
END = 1 << 49
#: Addresses at or near which pieces begin.
_PLACES = (0x1000, 0x9F000, 0x100000, 0xFFFC0000, 1 << 32)
_FAR = (1 << 40, 1 << 46, END - 0x8000, END, 1 << 52)


class Truth:
    """The memory that an input stores.

    Attributes:
        pieces: Start address and bytes that a reader must return, disjoint and ascending.
        beyond: Bytes stored beyond the highest physical address.
    """

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.beyond = 0

    def page(self, pfn: int) -> bytes | None:
        """A page, with zeros where it is not stored; None if no byte of it is stored."""
        found, start, any_stored = bytearray(PAGE), pfn * PAGE, False
        for at, data in self.pieces:
            low, high = max(at, start), min(at + len(data), start + PAGE)
            if low < high:
                found[low - start : high - start] = data[low - at : high - at]
                any_stored = True
        return bytes(found) if any_stored else None

    def pfns(self) -> set[int]:
        """Page frames with any byte stored."""
        return {pfn for at, data in self.pieces for pfn in range(at // PAGE, -(-(at + len(data)) // PAGE))}

    def stored(self) -> int:
        return sum(len(data) for _, data in self.pieces)


def _content(rng: random.Random, size: int) -> bytes:
    """Bytes, with some pages of zeros."""
    return b"".join(
        bytes(PAGE) if rng.random() < 0.3 else bytes([rng.randrange(1, 256)]) * PAGE for _ in range(-(-size // PAGE))
    )[:size]


def elf_input(seed: int, far: bool) -> tuple[bytes, Truth]:
    """An ELF core of unaligned, overlapping, short and huge segments in any order; of overlaps, the first counts.

    ``far``: also at addresses so high that their bitmap is large, and beyond those of any machine.
    """
    rng = random.Random(seed)
    loads = [_load(rng, far) for _ in range(rng.randrange(1, 9))]
    # A single segment besides one at 0 would look like a process.
    loads.append(Load(0x7000, _content(rng, rng.randrange(1, 3 * PAGE))))
    rng.shuffle(loads)
    truth = Truth()
    for load in loads:
        there = load.data[: max(0, END - load.paddr)]
        truth.beyond += len(load.data) - len(there)
        _lay(truth, load.paddr, there)
    truth.pieces.sort()
    return Core(loads, ()).build(), truth


def _load(rng: random.Random, far: bool) -> Load:
    unit = rng.choice((1, 4, 0x200, 0x400, PAGE))
    paddr = max(0, rng.choice(_PLACES + _FAR if far else _PLACES) + rng.randrange(-3 * PAGE, 6 * PAGE) // unit * unit)
    size = rng.choice((0, 1, rng.randrange(1, PAGE), rng.randrange(1, 10 * PAGE), rng.randrange(1, 9) * PAGE))
    memsz = size + rng.choice((0, 0, 1, rng.randrange(PAGE), 3 * PAGE, 1 << 24))
    return Load(paddr, _content(rng, size), max(memsz, 1))


def _lay(truth: Truth, start: int, data: bytes) -> None:
    """Add the parts of ``data`` that are not covered yet."""
    at = start
    for low, there in sorted((one, len(bits)) for one, bits in truth.pieces):
        if low + there <= at or low >= start + len(data):
            continue
        if at < low:
            truth.pieces.append((at, data[at - start : low - start]))
        at = max(at, low + there)
    if at < start + len(data):
        truth.pieces.append((at, data[at - start :]))


def kdump_input(seed: int) -> tuple[bytes, Truth]:
    """A kdump-compressed file of scattered pages, some excluded."""
    rng = random.Random(seed)
    pfns = sorted(rng.sample(range(rng.choice((64, 4096, 1 << 20))), rng.randrange(1, 40)))
    pages, truth = [], Truth()
    for pfn in pfns:
        data = _content(rng, PAGE)
        kind = "exclude" if rng.random() < 0.2 else "stored"
        pages.append(Page(pfn, kind, data, rng.choice(("", "zlib"))))
        if kind == "stored":
            truth.pieces.append((pfn * PAGE, data))
    return Kdump(pages).build(), truth
