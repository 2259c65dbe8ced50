"""Fuzz one parser for a while: ``python -m tests.fuzz.parsers NAME SECONDS SEED``.

Good inputs are damaged at random, mostly in headers, and read completely. Anything but a result or a typed error
ends the process with a traceback and the input's seed; a time limit on each input detects hangs. Prints how many inputs
were tried, and the most memory that was used.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from tests.build import frame_files, kernel, log
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.memory_file import MemoryFile
from tests.formats.fuzz_kit import SEEDS, notes, use
from tests.fuzz import kernels
from tests.fuzz.damage import damaged
from tests.outcome import result_or_error
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.inputs import open_file
from vmsieve.formats.notes import cpus, each_note, find_note

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["PARSERS"]


_ONE_INPUT = 60  # seconds; far more than any takes on a busy machine


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
    find_note(data, order, (b"VMCOREINFO", 0))


def _vmcoreinfo() -> Callable[[random.Random], None]:
    text = Machine(LAYOUTS["6.12"], EVERYTHING).vmcoreinfo()

    def one(dice: random.Random) -> None:
        info = VmcoreInfo(damaged(text, dice, dice.randrange(len(text))))
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


#: Name of a parser, and a factory of the function that runs it on one input.
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
    "kernel": kernels.x86_64,
    "s390x": kernels.s390x,
    "radix": kernels.radix,
    "symbols": kernels.symbols,
    "ppc64le": kernels.ppc64le,
}


def _run(name: str, seconds: float, seed: int) -> Iterator[int]:
    try_one = PARSERS[name]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        signal.alarm(_ONE_INPUT)
        try:
            result_or_error(try_one, random.Random(seed))
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
