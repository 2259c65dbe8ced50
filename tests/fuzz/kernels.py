"""Kernels with damaged memory: page tables, memory maps, struct pages, symbols."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import zstandard

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.notes import vmcoreinfo
from tests.build.ppc64_machine import PpcMachine
from tests.build.s390x_machine import S390Machine
from tests.dumps import ROOT, dump
from tests.fuzz.damage import VALUES, Patched
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.kallsyms_search import DIGITS, open_by_tokens
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import Source, open_file, open_source
from vmsieve.formats.systems import choose
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    import random


#: The first 24 MiB of a machine.
_FIRST_SECTION = "\n".join(line for line in EVERYTHING.splitlines() if not line.startswith("0x10"))


def _filled(data: bytes, most: int = 4096) -> list[int]:
    """Return the addresses of nonzero pages: page tables, sections, struct pages, and a few pages of data."""
    return [at for at in range(0, len(data), 4096) if data.count(0, at, at + 4096) < most]


def _understand(source: Source, dice: random.Random, *, counted: float = 0) -> None:
    """Gather knowledge of a machine with damaged memory and scan it; count its pages in some runs."""
    try:
        knowledge = gather_knowledge(source)
        found = scan(source, knowledge, dice.randrange(32), Silent())
        assert found.kept.count() <= found.stored.count() <= found.exists.count()
        if dice.random() < counted:
            count_classes(source, knowledge, Silent())
    finally:
        source.close()


def x86_64() -> Callable[[random.Random], None]:
    """Page tables, memory map and struct pages of x86_64 machines."""
    seeds = []
    for name in ("6.1", "7.2"):
        data = _core(Machine(LAYOUTS[name], EVERYTHING))
        seeds.append((data, _filled(data)))

    def one(dice: random.Random) -> None:
        data, places = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            at = dice.choice(places) + dice.randrange(512) * 8
            patches[at] = dice.choice((*VALUES, dice.getrandbits(64))).to_bytes(8, "little")
        _understand(open_file(Patched(data, patches)), dice, counted=0.05)

    return one


def _core(machine: Machine) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return machine.write(Path(folder) / "core").read_bytes()


def s390x() -> Callable[[random.Random], None]:
    """Lowcores, os_info, notes, page tables and struct pages of s390x machines, alone and beside a kdump kernel's."""
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        old, new = (S390Machine(LAYOUTS[name], _FIRST_SECTION, ((0, 24 << 20),)) for name in ("6.1", "6.12"))
        for path, selects in (
            (old.write(Path(folder) / "core", b""), [None]),
            (new.write_s390(Path(folder) / "dump"), [None]),
            (old.write_two_systems(Path(folder) / "both"), ["prod"]),
            (new.write_two_systems(Path(folder) / "both"), ["prod", "kdump", "all"]),
        ):
            data = path.read_bytes()
            places = _filled(data)
            seeds.append((data, places, selects))

    def one(dice: random.Random) -> None:
        data, places, selects = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            # The first pages have the same weight as all others together: header, notes, lowcore.
            page = dice.choice(places[:20] if dice.random() < 0.5 else places)
            value = dice.choice((*VALUES, 0x77F000, dice.getrandbits(64), dice.getrandbits(32)))
            patches[page + dice.randrange(1023) * 4] = value.to_bytes(8, "big")
        _understand(choose(open_file(Patched(data, patches)), dice.choice(selects)), dice)

    return one


def symbols() -> Callable[[random.Random], None]:
    """The demo kernel's symbol table, found by a search: bytes around its parts are damaged or cut off."""
    with tempfile.TemporaryDirectory() as folder:
        source = open_source(str(dump("demo.elf", Path(folder))))
        knowledge = gather_knowledge(source)
        assert knowledge.memory is not None
        assert knowledge.info is not None
        count, base = (knowledge.info.need("SYMBOL", f"kallsyms_{part}") for part in ("num_syms", "relative_base"))
        start = knowledge.memory.translate(count)[0] - (1 << 20)
        whole = bytearray(base + 4096 - count + (1 << 20))
        source.read_into(start, memoryview(whole))
        source.close()
    digits = whole.find(DIGITS, 1 << 20)
    places = [1 << 20, *(digits + more for more in (-4096, -300, 0, 500, 900, 1500)), len(whole) - 4200]

    def one(dice: random.Random) -> None:
        data = bytearray(whole)
        for _ in range(dice.randrange(6)):
            at = min(dice.choice(places) + dice.randrange(-64, 600), len(data) - 8)
            width = dice.choice((1, 2, 4, 8))
            value = dice.choice((*VALUES, dice.getrandbits(64))) & ((1 << 8 * width) - 1)
            data[at : at + width] = value.to_bytes(width, "little")
        end = len(data) if dice.random() < 0.7 else dice.randrange(digits, len(data))

        def read(at: int, size: int) -> bytes:
            if not start <= at <= at + size <= start + end:
                raise ReadError("no such memory", offset=at)
            return bytes(data[at - start : at - start + size])

        symbols = open_by_tokens(read, "little" if dice.random() < 0.95 else "big", start + digits)
        for address in symbols.addresses(("_stext", "init_uts_ns", "prb", "absent")).values():
            assert 0 <= address < 1 << 64

    return one


def radix() -> Callable[[random.Random], None]:
    """Page tables, memory sections and struct pages of skeletons of aarch64, riscv64 and loongarch64 kernels."""
    seeds = []
    for name in ("aarch64-6.12-16k-52", "aarch64-6.12-16k-47", "loongarch64-7.2"):
        packed = (ROOT / "tests" / "zoo" / f"{name}.zst").open("rb")
        with packed, zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as plain:
            data = plain.read()
        seeds.append((data, _filled(data, 4000)))

    def one(dice: random.Random) -> None:
        data, places = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            at = dice.choice(places) + dice.randrange(512) * 8
            flip = int.from_bytes(data[at : at + 8], "little") ^ 1 << dice.randrange(64)
            patches[at] = dice.choice((*VALUES, flip, dice.getrandbits(64))).to_bytes(8, "little")
        _understand(open_file(Patched(data, patches)), dice)

    return one


def ppc64le() -> Callable[[random.Random], None]:
    """Page tables, lists of the memory map, notes in memory and struct pages of ppc64le machines."""
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for mmu, text in (("radix", None), ("hash", None), ("radix", b"")):
            machine = PpcMachine(LAYOUTS["6.12"], _FIRST_SECTION, mmu, 4, ((0, 24 << 20),))
            if text is not None:
                machine.edits[0x17C] = vmcoreinfo(machine.vmcoreinfo()).ljust(4096, b"\0")
            data = machine.write(Path(folder) / "core", text).read_bytes()
            places = _filled(data)
            kernels = [at for at in places if at < 2 * 4096 or 0x102000 <= at < 0x182000]
            seeds.append((data, places, kernels))

    def one(dice: random.Random) -> None:
        data, places, kernels = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            page = dice.choice(kernels if dice.random() < 0.7 else places)
            value = dice.choice((*VALUES, 0xC << 60 | dice.getrandbits(25), dice.getrandbits(64), 0x80 << 56))
            patches[page + dice.randrange(1023) * 4] = value.to_bytes(8, dice.choice(("big", "little")))
        _understand(open_file(Patched(data, patches)), dice)

    return one
