"""Fuzz one parser for a while: ``python -m tests.fuzz.parsers NAME SECONDS SEED``.

Good inputs are damaged at random, mostly where headers are, and used in full. Anything but a result or a typed error
ends the process with a traceback and the input's seed; a time limit on each input tells a hang. Prints how many inputs
were tried, and the most memory that was used.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import zstandard

from tests.build import frame_files, kernel, log
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.memory_file import MemoryFile
from tests.build.notes import vmcoreinfo
from tests.build.ppc64_machine import PpcMachine
from tests.build.s390x_machine import S390Machine
from tests.dumps import dump
from tests.formats.test_fuzz_inputs import SEEDS, notes, use
from vmsieve.filters.kernel.kallsyms_search import DIGITS, open_by_tokens
from vmsieve.filters.kernel.printk import kernel_log
from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo
from vmsieve.filters.knowledge import learn
from vmsieve.formats.errors import ReadError, VmsieveError
from vmsieve.formats.inputs import open_file, open_source
from vmsieve.formats.notes import cpus, each_note, vmcoreinfo_place
from vmsieve.formats.systems import choose
from vmsieve.pipeline.classes import take_census
from vmsieve.pipeline.progress import Silent
from vmsieve.pipeline.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PARSERS"]

_ONE_INPUT = 60  # seconds; far more than any takes on a busy machine
#: What of a machine lies in its first 24 MiB.
_FIRST_SECTION = "\n".join(line for line in EVERYTHING.splitlines() if not line.startswith("0x10"))
_VALUES = (0, 1, 7, 0x7F, 0x80, 0xFF, 0xFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 1 << 63, (1 << 64) - 1)


def damaged(data: bytes, dice: random.Random, start: int = 0) -> bytes:
    """``data`` with a few bytes changed, more often near ``start`` than elsewhere, and sometimes cut off or spliced."""
    out = bytearray(data)
    for _ in range(dice.randrange(1, 7)):
        at = min(len(out) - 1, start + int(len(out) ** dice.random())) if out else 0
        width = dice.choice((1, 2, 4, 8))
        value = dice.choice((*_VALUES, dice.getrandbits(64))) & ((1 << 8 * width) - 1)
        out[at : at + width] = value.to_bytes(width, dice.choice(("little", "big")))
    if dice.random() < 0.2:
        del out[dice.randrange(len(out) + 1) :]
    if dice.random() < 0.1:
        at = dice.randrange(len(out) + 1)
        out[at:at] = dice.randbytes(dice.choice((1, 8, 100)))
    return bytes(out)


def _open(data: bytes) -> None:
    use(open_file(MemoryFile(data)))


def _inputs(prefix: str) -> Callable[[random.Random], None]:
    seeds = [data for name, data in sorted(SEEDS.items()) if name.startswith(prefix)]
    return lambda dice: _open(damaged(dice.choice(seeds), dice))


def _frames() -> Callable[[random.Random], None]:
    content = SEEDS["elf-little"]
    makers = (
        frame_files.zstd_frame, frame_files.zstd_seekable, frame_files.zstd_rows, frame_files.lz4_rows,
        frame_files.gzip_rows, frame_files.gzip_named,
    )  # fmt: skip
    seeds = [make(content) for make in makers]

    def one(dice: random.Random) -> None:
        data = dice.choice(seeds)
        _open(damaged(data, dice, dice.choice((0, max(0, len(data) - 64)))))

    return one


def _notes(dice: random.Random) -> None:
    order = dice.choice(("little", "big"))
    data = damaged(notes(order), dice)
    list(each_note(data, order))
    cpus(data, order)
    vmcoreinfo_place(data, order)


def _vmcoreinfo() -> Callable[[random.Random], None]:
    text = Machine(LAYOUTS["6.12"], EVERYTHING).vmcoreinfo()

    def one(dice: random.Random) -> None:
        info = VmcoreInfo.parse(damaged(text, dice, dice.randrange(len(text))))
        info.looks_valid()
        for name in ("PG_lru", "phys_base", "PAGE_SLAB_MAPCOUNT_VALUE"):
            info.number(name)
        for name in ("page.flags", "page.private"):
            info.offset(name)

    return one


def _log() -> Callable[[random.Random], None]:
    made = []
    for add in (log.add_ring, log.add_records):
        one = kernel.FakeKernel()
        add(one, log.some(40))
        made.append(one)

    def one_input(dice: random.Random) -> None:
        fake = dice.choice(made)
        paddr = dice.choice(sorted(fake.source.pages))
        before = fake.source.pages[paddr]
        fake.source.pages[paddr] = bytearray(damaged(bytes(before), dice)[: len(before)].ljust(len(before), b"\0"))
        try:
            for count, _ in enumerate(kernel_log(fake.memory(), fake.info())):
                assert count < 1 << 20
        finally:
            fake.source.pages[paddr] = before

    return one_input


class _Patched(MemoryFile):
    """A file of which some bytes read otherwise; the file itself is too large to be copied for each input."""

    def __init__(self, data: bytes, patches: dict[int, bytes]) -> None:
        super().__init__(data)
        self.patches = patches

    def read_into(self, offset: int, out: memoryview) -> int:
        got = super().read_into(offset, out)
        for at, value in self.patches.items():
            for i, byte in enumerate(value):
                if offset <= at + i < offset + got:
                    out[at + i - offset] = byte
        return got


def _kernels() -> Callable[[random.Random], None]:
    """Page tables, memory map and struct pages: learn, scan and count a machine with damaged memory."""
    seeds = []
    for name in ("6.1", "7.2"):
        data = _core(Machine(LAYOUTS[name], EVERYTHING))
        # What is not zero: page tables, sections, struct pages, and a few pages of data.
        seeds.append((data, [at for at in range(0, len(data), 4096) if data.count(0, at, at + 4096) < 4096]))

    def one(dice: random.Random) -> None:
        data, places = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            at = dice.choice(places) + dice.randrange(512) * 8
            patches[at] = dice.choice((*_VALUES, dice.getrandbits(64))).to_bytes(8, "little")
        source = open_file(_Patched(data, patches))
        try:
            knowledge = learn(source)
            found = scan(source, knowledge, dice.randrange(32), Silent())
            assert found.kept.count() <= found.stored.count() <= found.exists.count()
            if dice.random() < 0.05:
                take_census(source, knowledge, Silent())
        finally:
            source.close()

    return one


def _core(machine: Machine) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return machine.write(Path(folder) / "core").read_bytes()


def _s390x() -> Callable[[random.Random], None]:
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
            places = [at for at in range(0, len(data), 4096) if data.count(0, at, at + 4096) < 4096]
            seeds.append((data, places, selects))

    def one(dice: random.Random) -> None:
        data, places, selects = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            # The first pages as often as all others: header, notes, lowcore.
            page = dice.choice(places[:20] if dice.random() < 0.5 else places)
            value = dice.choice((*_VALUES, 0x77F000, dice.getrandbits(64), dice.getrandbits(32)))
            patches[page + dice.randrange(1023) * 4] = value.to_bytes(8, "big")
        source = choose(open_file(_Patched(data, patches)), dice.choice(selects))
        try:
            knowledge = learn(source)
            scan(source, knowledge, dice.randrange(32), Silent())
        finally:
            source.close()

    return one


def _symbols() -> Callable[[random.Random], None]:
    """The demo kernel's own table of symbols, found by a search: what lies around its parts is damaged, or cut off."""
    with tempfile.TemporaryDirectory() as folder:
        source = open_source(str(dump("demo.elf", Path(folder))))
        knowledge = learn(source)
        assert knowledge.memory is not None
        assert knowledge.info is not None
        count, base = (knowledge.info.need("SYMBOL", f"kallsyms_{part}") for part in ("num_syms", "relative_base"))
        start = knowledge.memory.translate(count)[0] - (1 << 20)
        whole = bytearray(base + 4096 - count + (1 << 20))
        source.read_into(start, memoryview(whole))
        source.close()
    digits = whole.find(DIGITS, 1 << 20)
    places = [
        1 << 20,
        digits - 4096,
        digits - 300,
        digits,
        digits + 500,
        digits + 900,
        digits + 1500,
        len(whole) - 4200,
    ]

    def one(dice: random.Random) -> None:
        data = bytearray(whole)
        for _ in range(dice.randrange(6)):
            at = min(dice.choice(places) + dice.randrange(-64, 600), len(data) - 8)
            width = dice.choice((1, 2, 4, 8))
            value = dice.choice((*_VALUES, dice.getrandbits(64))) & ((1 << 8 * width) - 1)
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


def _radix() -> Callable[[random.Random], None]:
    """Page tables, memory sections and struct pages of skeletons of aarch64, riscv64 and loongarch64 kernels."""
    seeds = []
    for name in ("aarch64-6.12-16k-52", "aarch64-6.12-16k-47", "loongarch64-7.2"):
        packed = (Path(__file__).parents[1] / "zoo" / f"{name}.zst").open("rb")
        with packed, zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as plain:
            data = plain.read()
        seeds.append((data, [at for at in range(0, len(data), 4096) if data.count(0, at, at + 4096) < 4000]))

    def one(dice: random.Random) -> None:
        data, places = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            at = dice.choice(places) + dice.randrange(512) * 8
            flip = int.from_bytes(data[at : at + 8], "little") ^ 1 << dice.randrange(64)
            patches[at] = dice.choice((*_VALUES, flip, dice.getrandbits(64))).to_bytes(8, "little")
        source = open_file(_Patched(data, patches))
        try:
            scan(source, learn(source), dice.randrange(32), Silent())
        finally:
            source.close()

    return one


def _ppc64le() -> Callable[[random.Random], None]:
    """Page tables, lists of the memory map, notes in memory and struct pages of ppc64le machines."""
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for mmu, text in (("radix", None), ("hash", None), ("radix", b"")):
            machine = PpcMachine(LAYOUTS["6.12"], _FIRST_SECTION, mmu, 4, ((0, 24 << 20),))
            if text is not None:
                machine.edits[0x17C] = vmcoreinfo(machine.vmcoreinfo()).ljust(4096, b"\0")
            data = machine.write(Path(folder) / "core", text).read_bytes()
            places = [at for at in range(0, len(data), 4096) if data.count(0, at, at + 4096) < 4096]
            kernels = [at for at in places if at < 2 * 4096 or 0x102000 <= at < 0x182000]
            seeds.append((data, places, kernels))

    def one(dice: random.Random) -> None:
        data, places, kernels = dice.choice(seeds)
        patches = {}
        for _ in range(dice.randrange(1, 12)):
            page = dice.choice(kernels if dice.random() < 0.7 else places)
            value = dice.choice((*_VALUES, 0xC << 60 | dice.getrandbits(25), dice.getrandbits(64), 0x80 << 56))
            patches[page + dice.randrange(1023) * 4] = value.to_bytes(8, dice.choice(("big", "little")))
        source = open_file(_Patched(data, patches))
        try:
            scan(source, learn(source), dice.randrange(32), Silent())
        finally:
            source.close()

    return one


#: Name of a parser, and what makes the function that tries it with one input.
PARSERS: dict[str, Callable[[], Callable[[random.Random], None]]] = {
    "elf": lambda: _inputs("elf"),
    "kdump": lambda: _inputs("kdump"),
    "flattened": lambda: _inputs("flat"),
    "s390": lambda: _inputs("s390"),
    "lkcd": lambda: _inputs("lkcd"),
    "vmdump": lambda: _inputs("vmdump"),
    "zfcpdump": lambda: _inputs("zfcp"),
    "frames": _frames,
    "notes": lambda: _notes,
    "vmcoreinfo": _vmcoreinfo,
    "log": _log,
    "kernel": _kernels,
    "s390x": _s390x,
    "radix": _radix,
    "symbols": _symbols,
    "ppc64le": _ppc64le,
}


def _run(name: str, seconds: float, seed: int) -> Iterator[int]:
    try_one = PARSERS[name]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        signal.alarm(_ONE_INPUT)
        try:
            try_one(random.Random(seed))
        except VmsieveError as error:
            assert len(str(error)) < 1000  # noqa: PT017 - one line for people
        except BaseException:
            sys.stderr.write(f"{name}: the input of seed {seed} did this:\n")
            raise
        signal.alarm(0)
        yield seed
        seed += 1


if __name__ == "__main__":
    tried = sum(1 for _ in _run(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{tried} inputs, {peak.split()[1]} KiB\n")
