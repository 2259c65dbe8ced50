"""Damage inputs in relevant places, and run the commands on them: ``python -m tests.fuzz.commands NAME SECONDS SEED``.

Each input is one that the tests can write, with some fields changed: sizes, offsets, counts and addresses of headers
and tables, numbers of VMCOREINFO, types of BTF sections, page table entries. Each command runs in a separate process.
A traceback, a signal, an unknown exit status, a hang, or too much memory or output is reported with the input.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from tests.build import frame_files
from tests.build.flattened_file import cut, flattened
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.ppc64_machine import PpcMachine
from tests.build.s390x_machine import S390Machine
from tests.dumps import ROOT, unpacked
from tests.formats.fuzz_kit import SEEDS
from tests.fuzz.damage import VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FAMILIES", "MOST_KIB", "FindingError", "Fuzz"]

#: Memory of a command, in KiB, and of this process beside it; seconds after which it is stopped.
MOST_KIB, PATIENCE = 256 << 10, 120.0
#: Bytes of output, for each byte of input and in any case.
TIMES, ANYWAY = 16, 16 << 20
_BTF = struct.pack("<HBBII", 0xEB9F, 1, 0, 24, 0)
_WORDS_MOST = 4096


class FindingError(AssertionError):
    """A command violated a rule that holds for all commands."""


@dataclass
class Seed:
    """A good input: its file, which is damaged in place, and the offsets to damage.

    ``fields``: offsets of numbers that are not 0; ``texts``: of VMCOREINFO; ``types``: of BTF sections.
    """

    name: str
    path: Path
    order: str
    fields: list[int]
    texts: list[tuple[int, int]]
    types: list[int]


def _seed(name: str, path: Path) -> Seed:
    data = path.read_bytes()
    pages = [at for at in range(0, len(data), 4096) if data.count(0, at, at + 4096) < 4090]
    # Headers have the same weight as all other pages together.
    near = [at for at in range(0, min(len(data) - 8, 1 << 16), 4) if any(data[at : at + 4])]
    dice = random.Random(name)
    far = [page + dice.randrange(512) * 8 for page in dice.choices(pages, k=_WORDS_MOST)] if pages else []
    fields = dice.sample(near, min(len(near), _WORDS_MOST)) + [at for at in far if at + 8 <= len(data)]
    texts, at = [], data.find(b"OSRELEASE=")
    while at >= 0:
        end = data.find(b"\0", at)
        texts.append((at, min(end if end > 0 else len(data), at + 8192)))
        at = data.find(b"OSRELEASE=", at + 1)
    types, at = [], data.find(_BTF)
    while at >= 0:
        types.append(at)
        at = data.find(_BTF, at + 1)
    big = name.startswith(("s390", "lkcd", "vmdump", "zfcp")) or name.endswith("big")
    return Seed(name, path, "big" if big else "little", fields, texts, types)


def _formats(folder: Path) -> Iterator[tuple[str, Path]]:
    more = {
        "flat-cut": flattened(cut(SEEDS["kdump-6-little"], 700)),
        "frame-zstd": frame_files.zstd_rows(SEEDS["elf-text"]),
    }
    more["frame-lz4"] = frame_files.lz4_rows(SEEDS["kdump-6-big"])
    for name, data in {**SEEDS, **more}.items():
        (folder / name).write_bytes(data)
        yield name, folder / name


def _machines(folder: Path) -> Iterator[tuple[str, Path]]:
    first = "\n".join(line for line in EVERYTHING.splitlines() if not line.startswith("0x10"))
    for layout in ("6.1", "7.2"):
        yield f"x86-{layout}", Machine(LAYOUTS[layout], EVERYTHING).write(folder / f"x86-{layout}")
    yield "s390x", S390Machine(LAYOUTS["6.12"], first, ((0, 24 << 20),)).write_s390(folder / "s390x")
    yield "ppc64", PpcMachine(LAYOUTS["6.12"], first, "radix", 4, ((0, 24 << 20),)).write(folder / "ppc64")


def _real(folder: Path) -> Iterator[tuple[str, Path]]:
    for packed in (ROOT / "tests/demo/demo.elf.zst", ROOT / "tests/zoo/x86_64-6.12-tiny.zst"):
        yield packed.stem, unpacked(packed, folder)


#: Inputs to damage, by name.
FAMILIES: dict[str, Callable[[Path], Iterator[tuple[str, Path]]]] = {
    "formats": _formats, "machines": _machines, "real": _real,
}  # fmt: skip


class Fuzz:
    """Damages the inputs of a family, and runs commands on them.

    Attributes:
        runs: Number of commands run.
        peak: Peak memory of the largest command in KiB.
        slowest: Processor time of the slowest command in seconds, and its command line.
    """

    def __init__(self, family: str, folder: Path) -> None:
        self._folder = folder
        made = folder / "seeds"
        made.mkdir()
        self.seeds = [_seed(name, path) for name, path in FAMILIES[family](made)]
        # A child's ru_maxrss starts at its parent's.
        self._own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.runs = self.peak = 0
        self.slowest = (0.0, "")

    def one(self, number: int) -> None:
        """Try one input. Raises FindingError."""
        dice = random.Random(number)
        seed = dice.choice(self.seeds)
        with seed.path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            before: list[tuple[int, bytes]] = []
            tail = b""
            try:
                for at, data in _changes(seed, file.fileno(), size, dice):
                    before.append((at, os.pread(file.fileno(), len(data), at)))
                    os.pwrite(file.fileno(), data, at)
                if dice.random() < 0.15:
                    end = dice.choice((dice.randrange(size), size + (1 << dice.randrange(12, 42))))
                    tail = os.pread(file.fileno(), size, end) if end < size else b""
                    os.truncate(file.fileno(), end)
                self._commands(seed, dice, f"{seed.name}, seed {number}")
            finally:
                os.truncate(file.fileno(), size - len(tail))
                os.pwrite(file.fileno(), tail, size - len(tail))
                for at, data in reversed(before):
                    os.pwrite(file.fileno(), data, at)

    def _commands(self, seed: Seed, dice: random.Random, what: str) -> None:
        path, out = str(seed.path), self._folder / "out"
        out.unlink(missing_ok=True)
        level = str(dice.choice((0, 1, 31, 31, dice.randrange(32))))
        form = dice.choice(([], [], ["-E"], ["-l"], ["-F"]))
        self._run(["info", path], what)
        self._run(["classes", path], what)
        self._run(["dump", "-q", "-d", level, *form, path, str(out)], what)
        if out.exists():
            taken, there = out.stat().st_blocks * 512, os.stat(path).st_blocks * 512
            if taken > TIMES * there + ANYWAY:
                raise FindingError(f"{what}: {taken} bytes of output from {there}")
            self._run(["verify", path, str(out)], what)

    def _run(self, command: list[str], what: str) -> None:
        status, used = self._child(command)
        self.runs += 1
        self.peak = max(self.peak, used.ru_maxrss)
        spent = used.ru_utime + used.ru_stime
        self.slowest = max(self.slowest, (spent, f"{command[0]} {what}"))
        said = (self._folder / "said").read_bytes()
        if b"Traceback" in said or not os.WIFEXITED(status) or os.WEXITSTATUS(status) > 4:
            raise FindingError(f"{what}: {command}: status {status:#x}: {said[-3000:].decode('utf-8', 'replace')}")
        if used.ru_maxrss > max(MOST_KIB, self._own + MOST_KIB // 2):
            raise FindingError(f"{what}: {command}: {used.ru_maxrss} KiB")

    def _child(self, command: list[str]) -> tuple[int, resource.struct_rusage]:
        child = os.fork()
        if child == 0:
            self._be(command)
        end = time.monotonic() + PATIENCE
        while True:
            done, status, used = os.wait4(child, os.WNOHANG)
            if done:
                return status, used
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)

    def _be(self, command: list[str]) -> None:
        """Run the command in this process; never returns."""
        status = 100
        try:
            said = os.open(self._folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            from vmsieve.pipeline.cli.main import main

            status = main(command)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 100
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)


def _changes(seed: Seed, fd: int, size: int, dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """Return random edits: a few fields, lines of VMCOREINFO, types."""
    ways = [_field] * 6 + [_text] * 3 * bool(seed.texts) + [_type] * 2 * bool(seed.types)
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        yield from dice.choice(ways)(seed, fd, size, dice)


def _field(seed: Seed, fd: int, size: int, dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """Replace a number: larger, at the edge, another field's, or its own offset."""
    at, width = dice.choice(seed.fields), dice.choice((2, 4, 8, 8))
    order = seed.order if dice.random() < 0.9 else "big"
    old = int.from_bytes(os.pread(fd, width, at), order)  # type: ignore[arg-type]
    other = int.from_bytes(os.pread(fd, width, dice.choice(seed.fields)), order)  # type: ignore[arg-type]
    values = (
        old + 1, old - 1, old << dice.randrange(1, 40), old >> dice.randrange(1, 20), old ^ 1 << dice.randrange(64),
        other, at, size, size - 1, size + 4096, dice.choice(VALUES), dice.choice(VALUES), 1 << dice.randrange(64),
        dice.getrandbits(64),
    )  # fmt: skip
    yield at, (dice.choice(values) & (1 << 8 * width) - 1).to_bytes(width, order)  # type: ignore[arg-type]


def _text(seed: Seed, fd: int, _size: int, dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """A line of VMCOREINFO with another number or name of the same length."""
    start, end = dice.choice(seed.texts)
    text = os.pread(fd, end - start, start)
    lines = [line for line in text.split(b"\n") if b"=" in line]
    if not lines:
        return
    line = dice.choice(lines)
    name, _, value = line.partition(b"=")
    at = start + text.index(line)
    if dice.random() < 0.3:
        yield at + dice.randrange(len(name)), b"z"
        return
    digits = b"0123456789" if value.lstrip(b"-").isdigit() else b"0123456789abcdef"
    new = bytes(dice.choice(digits) for _ in value)
    yield at + len(name) + 1, dice.choice((new, value[:-1] + new[-1:], new[:1] * len(value), b"0" * len(value)))


def _type(seed: Seed, fd: int, _size: int, dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """Words among the types: kinds, counts, numbers of types, offsets of names."""
    start = dice.choice(seed.types)
    length, offset, types = struct.unpack("<3I", os.pread(fd, 12, start + 4))
    for _ in range(dice.randrange(1, 40)):
        at = start + length + offset + dice.randrange(max(min(types, 4 << 20), 8) // 4) * 4
        old = int.from_bytes(os.pread(fd, 4, at), "little")
        word = dice.choice((0, dice.randrange(400), 0x0400FFFF, 0x05000004, 0x84000003, old + 1, dice.getrandbits(32)))
        yield at, (word & 0xFFFFFFFF).to_bytes(4, "little")


def _main(family: str, seconds: float, first: int) -> None:
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(family, Path(folder))
        tried = found = 0
        while time.monotonic() < end:
            try:
                fuzz.one(first + tried)
            except FindingError as finding:
                found += 1
                sys.stdout.write(f"{finding}\n")
            tried += 1
        spent, what = fuzz.slowest
        sys.stdout.write(
            f"{family}: {tried} inputs, {fuzz.runs} runs, {found} findings, {fuzz.peak} KiB, "
            f"{spent:.1f} s of processor time at most ({what})\n"
        )


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
