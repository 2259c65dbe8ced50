"""Helpers of the page rules' tests: machines opened as dumps, and the classification loop called directly."""

from __future__ import annotations

import random
import re
import struct
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.build.layouts import STRUCT_PAGE, Layout
from tests.filters.classify_twin import LEVELS
from vmsieve.filters.classify import Classifier
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.memmap import MemMap
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.filters.loops import classify as k
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.compiler import bind
from vmsieve.formats.inputs import Source, open_source
from vmsieve.pipeline.dump.scan import Scan, scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.build.machine import Machine
    from vmsieve.filters.knowledge import Knowledge

BACKENDS = ("python", "aot", "jit")


@cache
def kernel(which: Any, backend: str) -> Callable[..., int]:
    """The loop on a backend, compiled once."""
    return bind(which, backend)


def opened(machine: Machine, folder: Path, text: bytes | None = None) -> tuple[Source, Knowledge]:
    """The machine as a dump, and its kernel; ``text`` replaces its VMCOREINFO."""
    source = open_source(str(machine.write(folder / "machine.elf", text)))
    return source, gather_knowledge(source)


def run(source: Source, knowledge: Knowledge, level: int) -> Scan:
    return scan(source, knowledge, level, Silent())


def bitmap(pfns: Iterable[int], max_pfn: int = 0x10800) -> list[bytes]:
    """Page frames as the blocks of a bitmap."""
    blocks = [bytearray(BLOCK_BYTES) for _ in range(-(-max_pfn // BLOCK))]
    for pfn in pfns:
        blocks[pfn // BLOCK][pfn % BLOCK // 8] |= 1 << pfn % 8
    return [bytes(block) for block in blocks]


def bits(blocks: Iterable[bytes]) -> set[int]:
    """Page frames that are set in a bitmap."""
    found = set()
    for number, data in enumerate(blocks):
        for match in re.finditer(rb"[^\0]+", data):
            for at, byte in enumerate(match[0], match.start()):
                found |= {number * BLOCK + at * 8 + bit for bit in range(8) if byte >> bit & 1}
    return found


def struct_pages(machine: Machine) -> dict[int, bytes]:
    """The struct pages of the page frames that exist and have one."""
    return {pfn: machine.struct_page(pfn) for pfn in machine.frames() if pfn >> 15 not in machine.nomap}


def classifier(
    layout: Layout,
    level: int,
    *,
    thorough: bool = False,
    byte_order: str = "little",
    told: dict[str, str] | None = None,
) -> Classifier:
    """A classifier of kernels with ``layout``, called directly; ``told``: keys that replace the layout's."""
    text = "".join(f"{key}={value}\n" for key, value in (layout.keys() if told is None else told).items())
    physical = SimpleNamespace(byte_order=byte_order, source=SimpleNamespace(page_size=4096))
    memory: Any = SimpleNamespace(physical=physical)
    return Classifier(memory, MemMap("flatmem", STRUCT_PAGE), VmcoreInfo(text.encode()), level, thorough=thorough)


def classify(
    judge: Classifier, first_pfn: int, pages: bytes, backend: str = "aot", cuts: Iterable[int] = ()
) -> dict[int, set[str]]:
    """Names of the rules that match each page frame. ``cuts``: page numbers at which one call ends."""
    call = kernel(k.classify_pages, backend)
    names = [rule.name for rule in judge.rules]
    count = len(pages) // STRUCT_PAGE
    memory, out = bytearray(pages), bytearray(count)
    at = 0
    marked = 0
    for end in [*sorted({cut for cut in cuts if 0 < cut < count}), count]:
        marked += call(
            judge.parameters.address, address_of(memory) + at * STRUCT_PAGE, first_pfn + at, end - at, int(end < count),
            address_of(out) + at,
        )  # fmt: skip
        at = end
    assert marked == sum(1 for which in out if which)
    return {first_pfn + i: {names[bit] for bit in range(8) if which >> bit & 1} for i, which in enumerate(out)}


def at_level(names: set[str], level: int) -> set[str]:
    """The rules that drop a page at ``level``."""
    return {name for name in names if LEVELS[name] & level or not LEVELS[name]}


def random_pages(layout: Layout, seed: int, count: int, byte_order: str = "little") -> bytes:
    """Random struct pages: likely values, values of other pages, and noise."""
    dice = random.Random(seed)
    order = "<" if byte_order == "little" else ">"
    masks = [*(layout.mask(name) for name in layout.bits), layout.reserved]
    kinds = [*layout.types.values(), 0xFFFFFFFF, 0, 0xF0000007, 0xF5ABCDEF, 0xFFFFFF80]
    out = bytearray()
    tails = 0
    for _ in range(count):
        page = bytearray(dice.randbytes(STRUCT_PAGE)) if dice.random() < 0.1 else bytearray(STRUCT_PAGE)
        flags = sum({dice.choice([0, *masks]) for _ in range(dice.choice([0, 1, 2, 4]))})
        flags = dice.choice([flags, flags, flags | dice.randrange(8), dice.getrandbits(64)])
        tail = tails > 0 and dice.random() < 0.95
        tails -= 1
        if dice.random() < 0.2:
            tails = dice.choice([1, 3, 7, 31])
        numbers = {
            layout.flags: flags,
            layout.mapping: dice.choice([0, 0, 0xFFFF888000001000, 0xFFFF888000001001, dice.getrandbits(64)]),
            layout.private: dice.choice([0, 1, 2, 3, 4, 5, 10, 11, 12, 31, 32, 63, 64, 1 << 63, dice.getrandbits(64)]),
            layout.head: 0xFFFFEA0000000001 if tail else dice.choice([0, 0, 0, 1 << 63, 0xFFFFEA0000000000]),
        }
        for at, number in numbers.items():
            struct.pack_into(order + "Q", page, at, number)
        struct.pack_into(order + "I", page, layout.kind, dice.choice([*kinds, *kinds, dice.getrandbits(32)]))
        if dice.random() < 0.5:
            struct.pack_into(order + "I", page, layout.kind, 0xFFFFFFFF)
        references = [0, 0, 0, 0, 1, 7, (1 << 28) - 1, 1 << 28, dice.getrandbits(32)]
        struct.pack_into(order + "I", page, layout.refcount, dice.choice(references))
        if layout.order == "dtor":
            code = {1: "B", 2: "H", 4: "I"}[layout.width]
            orders = [0, 1, 2, 3, 4, 9, 17, 63, 64, 255]
            struct.pack_into(order + code, page, layout.order_at, dice.choice(orders))
            struct.pack_into(order + code, page, layout.dtor_at, dice.choice([0, 1, 2, 2, 3]))
        out += page
    return bytes(out)
