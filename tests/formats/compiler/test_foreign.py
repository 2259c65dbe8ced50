"""Machine code for other architectures gives the twins' results."""

from __future__ import annotations

import os
import random
import struct
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.formats.codecs import codec_kit as kit
from tests.formats.compiler import test_dialect as dialect
from tests.formats.foreign import MACHINES, Program, Result, emulator, shipped
from tests.formats.loops.twins import deflate, lzo, snappy
from vmsieve.formats.codecs import codec
from vmsieve.formats.codecs import zlib as zlib_codec
from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.dialect import MASK
from vmsieve.formats.compiler.primitives import load64, store64
from vmsieve.formats.loops import bus_error, zstd_memory
from vmsieve.formats.loops.deflate_memory import constants, fast_constants, memory_size

if TYPE_CHECKING:
    from pathlib import Path

TWINS: dict[str, Any] = {"lzo": lzo, "snappy": snappy}
PACKERS: dict[str, Any] = {**TWINS, "zlib:0": deflate, "zlib:1": deflate, "zstd:0": None, "zstd:1": None}
PAGE = 4096


@pytest.fixture(params=MACHINES)
def program(request: pytest.FixtureRequest) -> Program:
    """A program for a machine, with the code that the package ships for it."""
    return shipped(request.param)


def _words(program: Program, layout: str, *words: int) -> int:
    return program.place(struct.pack(program.order + layout, *words))


def _pages(chance: random.Random, size: int) -> list[bytes]:
    """Pages that pack well, badly or not at all, and a zero page."""
    noise = chance.randbytes(size)
    pointers = b"".join(struct.pack("<Q", 0xFFFF888000000000 + chance.randrange(1 << 24)) for _ in range(size // 8))
    text = (b"the same thing, again and again; " * (size // 30))[:size]
    runs = b"".join(bytes([chance.randrange(4)]) * chance.randrange(1, 400) for _ in range(size))[:size]
    far = noise[: size // 4] + text[: size // 2] + noise[: size // 4]
    return [noise, pointers, bytes(size), text, runs, far]


def _state(program: Program, name: str, page_size: int) -> int:
    """The state of a built-in compressor."""
    if name in TWINS:
        return _words(program, "Q", program.place(bytes(1 << 15)))
    if name.startswith("zstd"):
        memory = zstd_memory.constants(program.order).ljust(zstd_memory.memory_size(page_size), b"\xee")
        return _words(program, "QQQQ", 0, program.place(memory), int(name[-1]), page_size)
    kind, start = (zlib_codec._FAST, fast_constants) if name == "zlib:0" else (zlib_codec._OWN, constants)
    memory = start(program.order).ljust(memory_size(page_size), b"\xee")
    return _words(program, "QQQ", kind, program.place(memory), page_size)


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("size", [4096, 65536])
def test_pages_are_packed(program: Program, name: str, size: int, tmp_path: Path) -> None:
    pages = _pages(random.Random(size), size)
    count = len(pages)
    state = _state(program, name, size)
    twin, (name, _, level) = PACKERS[name], name.partition(":")
    memory, index = program.place(b"".join(pages)), _words(program, f"{count}I", *range(count))
    sizes, flags, out = (
        program.place(bytes(4 * count)),
        program.place(bytes(4 * count)),
        program.place(bytes(sum(map(len, pages)))),
    )
    program.call(
        "pack_pages", kit.number(name), state, count, memory, index, size, 1, 7, sizes, flags, out, 0
    )  # fmt: skip
    done = program.run(tmp_path)
    found = struct.unpack(f"{program.order}{count}I", done.at(sizes, 4 * count))
    marks = struct.unpack(f"{program.order}{count}I", done.at(flags, 4 * count))
    assert done.results == [sum(found)]
    assert marks == (0, 7, 0, 7, 7, 7)
    at = out
    for page, length, mark in zip(pages, found, marks):
        packed = done.at(at, length)
        at += length
        assert (_unpack(twin, packed, size) if mark else packed) == (page if any(page) else b"")
    here = kit.pack("aot", name, codec(name).open_compressor(int(level or 1), size), pages)
    assert [data for _, data in here] == _cut(done, out, found)


def _unpack(twin: Any, packed: bytes, size: int) -> bytes | None:
    """The page that its twin unpacks; zstd frames are libzstd's to unpack, here."""
    if twin is not None:
        return cast("bytes", twin.unpack(packed, size))
    return kit.unpack_one("aot", "zstd", codec("zstd").open_decompressor(size), packed, size)


def _cut(done: Result, at: int, sizes: tuple[int, ...]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(done.at(at, size))
        at += size
    return pieces


@pytest.mark.parametrize("name", TWINS)
def test_pages_are_unpacked_and_damaged_ones_refused(program: Program, name: str, tmp_path: Path) -> None:
    chance, expected, outs = random.Random(name), [], []
    for _ in range(150):
        packed, plain = TWINS[name].write(chance, chance.choice([40, 500, 5000, 65536]))
        if chance.random() < 0.5:
            broken = bytearray(packed)
            broken[chance.randrange(len(broken))] = chance.randrange(256)
            packed = bytes(broken)
        try:
            content = TWINS[name].unpack(packed, len(plain))
        except ValueError:
            content = b""
        source = program.place(packed)
        table = _words(program, "QII", 0, len(packed), 1)
        out = program.place(bytes(len(plain)))
        after = program.place(b"\xa5" * 8)
        program.call("unpack_pages", kit.number(name), 0, 1, table, source, len(plain), out)
        expected.append(content if len(content) == len(plain) else None)
        outs.append((out, len(plain), after))
    done = program.run(tmp_path)
    for result, content, (out, size, after) in zip(done.results, expected, outs):
        assert result == (content is not None)
        assert done.at(after, 8) == b"\xa5" * 8
        if content is not None:
            assert done.at(out, size) == content


def test_zero_pages_are_found(program: Program, tmp_path: Path) -> None:
    middle = bytes(2000) + b"\x80" + bytes(2095)
    pages = [bytes(PAGE), bytes(PAGE - 1) + b"\1", b"\1" + bytes(PAGE - 1), middle, bytes(PAGE)]
    memory, out = program.place(b"".join(pages)), program.place(b"\xff" * 8)
    program.call("zero_pages", memory, _words(program, "5I", 4, 3, 2, 1, 0), len(pages), PAGE, out)
    done = program.run(tmp_path)
    assert done.results == [2]
    assert done.at(out, 8) == b"\1\0\0\0\1\xff\xff\xff"


def _lowered(machine: str, loops: list[Any]) -> Program:
    """A program with these loops, lowered here."""
    pytest.importorskip("numba")
    os.environ["NUMBA_OPT"] = "0"
    from vmsieve.formats.compiler import linker, lowering
    from vmsieve.formats.compiler.numba_backend import llvm

    target = next(t for t in lowering.TARGETS if t.name == machine)
    code = lowering._emit([(k.name, *llvm(k)) for k in loops], target)
    return Program(machine, linker.shared_object(code, [k.name for k in loops]))


@pytest.mark.parametrize("machine", MACHINES)
def test_arithmetic_memory_and_loops_mean_the_same(machine: str, tmp_path: Path) -> None:
    emulator(machine)
    program = _lowered(machine, [dialect.arithmetic, dialect.loops, dialect.memory, dialect.remember])
    chance, expected = random.Random(1), []
    words = [0, 1, 63, 255, 1 << 31, 1 << 32, 1 << 63, MASK - 1, MASK]
    for i in range(300):
        a, b = chance.choice([*words, chance.getrandbits(64)]), chance.choice([*words, chance.getrandbits(64)])
        program.call("arithmetic", i % 17, a, b)
        expected.append(dialect._arithmetic(i % 17, a, b))
    for _ in range(50):
        first = chance.choice([0, dialect.HUGE, MASK - 40])
        end, most = first + chance.randrange(20), chance.randrange(12)
        program.call("loops", first, end, most)
        expected.append(dialect._loops(first, end, most))
    room, value = program.place(bytes(32)), 0x8182838485868788
    order: Any = "big" if program.order == ">" else "little"
    program.call("memory", room + 1, value)
    expected.append(dialect._memory(value, order))
    for more in (5, 0, 1 << 63, 1 << 63):
        program.call("remember", more)
    expected += [5, 5, (1 << 63) + 5, 5]
    done = program.run(tmp_path)
    assert done.results == expected
    parts = [(value % (1 << 8 * n)).to_bytes(n, order) for n in (1, 2, 4, 8)]
    assert done.at(room, 16) == b"\0" + b"".join(parts)


@loop
def map_last_pages(address: int, size: int, access: int, flags: int, fd: int, offset: int) -> int:
    """Stands for ``mmap``, and maps three pages only."""
    good = size == 3 * PAGE and access == 1 and flags == 50 and fd == MASK and offset == 0
    return address if good != 0 else MASK


@loop
def count_restored(number: int, action: int, before: int) -> int:
    """Stands for ``sigaction``, and counts its calls."""
    return store64(action, 0, load64(action, 0) + number + before)


@loop
def tell_raised(number: int) -> int:
    return number + 1000


@pytest.mark.parametrize("machine", MACHINES)
def test_a_bus_error_is_handled(machine: str, tmp_path: Path) -> None:
    """In a window the page is remapped; elsewhere the previous handler is restored, and a sent signal reaches it."""
    emulator(machine)
    program = _lowered(machine, [bus_error.handle_bus_error, map_last_pages, count_restored, tell_raised])
    before, window, slot = program.place(bytes(8)), 0x7F0000000000, bus_error.FIRST + bus_error.SLOT
    words = {
        bus_error.MMAP: program.address("map_last_pages"), bus_error.SIGACTION: program.address("count_restored"),
        bus_error.RAISE: program.address("tell_raised"), bus_error.BEFORE: before, bus_error.PAGE: PAGE,
        bus_error.ARMED: 1, bus_error.SLOTS: 2, slot + bus_error.START: window, slot + bus_error.END: window + 8 * PAGE,
    }  # fmt: skip
    size = slot + bus_error.SLOT
    table = _words(program, f"{size // 8}Q", *(words.get(at, 0) for at in range(0, size, 8)))
    program.call("handle_bus_error", 0, table, 0)
    for code, address in ((2, window + 5 * PAGE + 9), (2, window + PAGE), (2, window + 8 * PAGE), (0, window)):
        info = program.place(struct.pack(program.order + "iiiiQ", bus_error.SIGBUS, 0, code, 0, address))
        program.call("handle_bus_error", bus_error.SIGBUS, info, 0)
    done = program.run(tmp_path)
    assert done.results == [0, 0, 0, 0, 1000 + bus_error.SIGBUS]
    assert done.at(before, 8) == struct.pack(program.order + "Q", 3 * bus_error.SIGBUS)
    armed, lost = (done.at(table + at, 8) for at in (bus_error.ARMED, slot + bus_error.LOST))
    assert (armed, lost) == (bytes(8), struct.pack(program.order + "Q", 1))
