"""Memory of made-up machines as text: one line for a page or a run of pages.

    @0x1000 fill 01020304       the bytes, repeated
    @0x2000 noise 7             incompressible bytes; the number is the seed
    @0x3000 zero
    @0x4000 exclude x16         the page existed and was left out, and the 15 pages after it
    @0x14000 missing            it should be stored and is not (kdump: a descriptor without data)
    @0x15000 fill 0506 lzo      packed by that codec (kdump)

``fill`` of a run of pages differs from page to page: it begins with the page frame's number. Written without the code
under test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

PAGE = 4096


@dataclass(frozen=True)
class Page:
    """One page: ``kind`` is stored, exclude or missing; ``codec`` is empty for an uncompressed one."""

    pfn: int
    kind: str
    data: bytes
    codec: str = ""


def parse(recipe: str, page_size: int = PAGE) -> list[Page]:
    """The pages of a recipe, ascending."""
    found: dict[int, Page] = {}
    for line in recipe.strip().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        count = 1
        if words[-1].startswith("x"):
            count = int(words.pop()[1:])
        first = int(words[0][1:], 0) // page_size
        for pfn in range(first, first + count):
            found[pfn] = _page(pfn, words[1], words[2:], count > 1, page_size)
    return [found[pfn] for pfn in sorted(found)]


def _page(pfn: int, kind: str, words: list[str], row: bool, size: int) -> Page:
    if kind in ("exclude", "missing"):
        return Page(pfn, kind, bytes(size))
    if kind == "zero":
        return Page(pfn, "stored", bytes(size), words[0] if words else "")
    argument, *codec = words
    if kind == "noise":
        return Page(pfn, "stored", random.Random(int(argument) + pfn).randbytes(size), codec[0] if codec else "")
    assert kind == "fill"
    pattern = (pfn.to_bytes(8, "little") if row else b"") + bytes.fromhex(argument)
    return Page(pfn, "stored", repeat(pattern, size), codec[0] if codec else "")


def repeat(pattern: bytes, size: int) -> bytes:
    """``pattern`` repeated to ``size`` bytes."""
    return (pattern * (size // len(pattern) + 1))[:size]


def period(data: bytes) -> int:
    """The period (at least 4 bytes) of ``data``."""
    return next(n for n in range(4, len(data)) if data[n:] == data[:-n])


def memory(pages: list[Page]) -> dict[int, bytes | None]:
    """Content of each existing page frame; None if it was left out or is missing."""
    return {page.pfn: page.data if page.kind == "stored" else None for page in pages}
