"""Loaded crash kernels are found, and intact ones distinguished from damaged ones."""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.crash_kernel import END, MIB, PAGE, RESERVED, CrashKernel, core, flipped, noise, padded
from tests.build.elf_core import Core, Load
from tests.build.memory_file import source
from tests.build.notes import vmcoreinfo
from vmsieve.filters.linux.crashkernel import TABLES_MOST, Region, check_table, search_tables
from vmsieve.pipeline.inspect.crashkernel import DAMAGED, INTACT, UNKNOWN, Verdict, check_crash_kernel
from vmsieve.pipeline.process.progress import Silent

ALL = Region(0, END)
CRASH = Region(*RESERVED)
LOADERS = pytest.mark.parametrize("digest_at", [256, -32, -544, 1024], ids=["file", "load", "before", "behind"])
ORDERS = pytest.mark.parametrize("order", ["little", "big"])
KNOWN = pytest.mark.parametrize("where", [(), (CRASH,)], ids=["searched", "known"])


def verdict(data: bytes, where: tuple[Region, ...] = (), origin: str = "test") -> Verdict:
    return check_crash_kernel(source(data), where, origin if where else "", Silent())


@LOADERS
@ORDERS
@KNOWN
def test_intact(digest_at: int, order: str, where: tuple[Region, ...]) -> None:
    """Tables of either loader, in either byte order, are found with and without a known address."""
    loaded = CrashKernel(order, digest_at)
    found = verdict(loaded.core(), where)
    assert (found.state, found.others) == (INTACT, 0)
    assert found.check is not None
    assert found.check.table.address == loaded.table_at
    assert found.check.digest_at == loaded.table_at + digest_at
    assert [(r.start, r.size) for r in found.check.table.regions] == [(a, len(d)) for a, d in loaded.segments.items()]
    assert found.names == ("kernel", "initrd", "boot parameters", "ELF core header", "zeros")


@pytest.mark.parametrize("digest_at", [256, -32])
@ORDERS
@KNOWN
@pytest.mark.parametrize("part", [0, 0.5, 1])
@pytest.mark.parametrize("number", range(5))
def test_one_bit_in_any_region(digest_at: int, order: str, where: tuple[Region, ...], number: int, part: float) -> None:
    """A changed bit in any region is damage; the regions are still listed."""
    loaded = CrashKernel(order, digest_at)
    start, data = list(loaded.segments.items())[number]
    at = start + int(part * (len(data) - 1))
    found = verdict(core(flipped(loaded.memory(), at), order), where)
    assert found.state == DAMAGED
    assert found.check is not None
    assert (
        found.check.digest
        == hashlib.sha256(
            b"".join(d if a != start else flipped(d, at - a) for a, d in loaded.segments.items())
        ).digest()
    )
    # Only this region is reported as damaged.
    assert not any(known for i, known in enumerate(found.damaged) if i != number)


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (0, 5000),
        (0, 300000),
        (0, 80 * PAGE + 200000),
        (1, 8192 + 40),
        (1, 40000),
        (4, 0),
        (4, 100),
        (4, 160 * PAGE - 1),
    ],
)
def test_the_damaged_region_is_named(number: int, at: int) -> None:
    """Damage in compressed parts, and in zeros, is attributed to its region."""
    loaded = CrashKernel()
    start = list(loaded.segments)[number]
    found = verdict(core(flipped(loaded.memory(), start + at)))
    assert found.state == DAMAGED
    if number == 4 and at < 0x11000:
        return  # Data that does not begin with zeros is not attributed
    assert found.damaged[number] is True
    assert f"{start:#x}" in found.reason


def test_the_digest_itself_is_damaged() -> None:
    loaded = CrashKernel()
    found = verdict(core(flipped(loaded.memory(), loaded.table_at + 256 + 31)))
    assert found.state == DAMAGED
    assert "whether the checksum itself is" in found.reason


@KNOWN
@ORDERS
@pytest.mark.parametrize("at", [0, 1, 8, 9, 16, 24, 33, 41, 200, 255])
def test_damaged_table(where: tuple[Region, ...], order: str, at: int) -> None:
    """A changed table is never intact."""
    loaded = CrashKernel(order)
    found = verdict(core(flipped(loaded.memory(), loaded.table_at + at), order), where)
    assert found.state in (UNKNOWN, DAMAGED)
    if at == 200:
        assert found.state == UNKNOWN
        assert "no crash kernel" in found.reason or "none is loaded" in found.reason


@pytest.mark.parametrize(
    "words",
    [
        [4 * MIB, PAGE],
        [4 * MIB, 2 * PAGE, 4 * MIB + PAGE, PAGE],
        [4 * MIB, PAGE, 4 * MIB, PAGE],
        [4 * MIB, (1 << 64) - 4 * MIB, 5 * MIB, PAGE],
        [4 * MIB, 1 << 63, 5 * MIB, PAGE],
        [(1 << 64) - PAGE, PAGE, 5 * MIB, PAGE],
        [(1 << 64) - PAGE, 8 * PAGE, 5 * MIB, PAGE],
        [4 * MIB, END - 4 * MIB + PAGE, 3 * MIB, PAGE],
        [4 * MIB, 0, 5 * MIB, PAGE],
        [4 * MIB + 8, PAGE, 5 * MIB, PAGE],
        [4 * MIB, PAGE + 1, 5 * MIB, PAGE],
        [4 * MIB, PAGE, 5 * MIB, PAGE, 0, 0, 6 * MIB, PAGE],
        [RESERVED[1] - 4 * PAGE, 4 * PAGE, 5 * MIB, PAGE],
    ],
    ids=["one", "overlap", "same", "wraps", "huge", "top", "over the top", "beyond", "empty", "odd start", "odd size",
         "gap", "itself"],
)  # fmt: skip
def test_no_table(words: list[int]) -> None:
    """Overlapping regions, or a table within its regions, are rejected."""
    loaded = CrashKernel()
    table = struct.pack(f"<{len(words)}Q", *words).ljust(256, b"\0")
    dump = source(core(replace(loaded, edits={loaded.table_at: table}).memory()))
    assert not [one for one in search_tables(dump, ALL) if one.address == loaded.table_at]


def test_sixteen_regions() -> None:
    """A table with all 16 regions is read."""
    loaded = CrashKernel(segments={RESERVED[0] + i * 2 * PAGE: noise(i, PAGE) for i in range(16)})
    assert verdict(loaded.core(), (CRASH,)).state == INTACT


def test_many_tables_are_bounded() -> None:
    """Memory full of tables costs a bounded number of digests."""
    memory = bytearray(CrashKernel().memory())
    table = struct.pack("<4Q", 6 * MIB, PAGE, 6 * MIB + PAGE, PAGE).ljust(256, b"\0")
    memory[RESERVED[0] : RESERVED[0] + 2 * MIB] = table * (2 * MIB // 256)
    assert len(list(search_tables(source(core(bytes(memory))), ALL))) == TABLES_MOST


@pytest.mark.parametrize("shift", range(-256, 257, 8))
def test_table_across_pieces(shift: int) -> None:
    """A table across the border of two pieces of memory is found once."""
    loaded = CrashKernel(table_at=5 * MIB + shift, digest_at=-4000)
    loaded.segments = {6 * MIB: noise(1, PAGE), 6 * MIB + PAGE: noise(2, PAGE)}
    found = list(search_tables(source(loaded.core()), ALL))
    assert [table.address for table in found] == [loaded.table_at]


def test_an_earlier_crash_kernels_table() -> None:
    """An earlier crash kernel's table is reported, and does not make the present one damaged."""
    loaded = CrashKernel()
    old = struct.pack("<4Q", *loaded.words()[:2], RESERVED[0], PAGE).ljust(256, b"\0")
    found = verdict(replace(loaded, edits={RESERVED[1] - 6 * PAGE: old}).core())
    assert (found.state, found.others) == (INTACT, 1)


def test_memory_that_looks_like_a_table() -> None:
    """If the crash kernel's memory is unknown, regions without a kernel are not taken for one."""
    loaded = CrashKernel(segments={4 * MIB: noise(1, 3 * PAGE), 5 * MIB: noise(2, PAGE)})
    loaded.edits = {4 * MIB: b"\1"}
    assert verdict(loaded.core()).state == UNKNOWN
    assert verdict(loaded.core(), (CRASH,)).state == DAMAGED


@KNOWN
def test_nothing_loaded(where: tuple[Region, ...]) -> None:
    found = verdict(core(bytes(END)), where)
    assert (found.state, found.check) == (UNKNOWN, None)


def test_memory_of_the_crash_kernel_is_not_in_the_dump() -> None:
    """A dump made by the crash kernel lacks the reserved memory: the result is undecided."""
    memory = CrashKernel().memory()
    data = Core([Load(0, memory[: RESERVED[0]]), Load(RESERVED[1], memory[RESERVED[1] :])]).build()
    assert verdict(data).state == UNKNOWN
    found = verdict(data, (CRASH,))
    assert found.state == UNKNOWN
    assert "not in this dump" in found.reason


def cut(loaded: CrashKernel, low: int, high: int, *, hole: bool, told: bool = True) -> bytes:
    """A dump without ``low .. high``: memory that was left out, or that the machine did not have.

    ``told``: the dump states its page size, so that its reader recognises holes.
    """
    memory = loaded.memory()
    middle = [] if hole else [Load(low, memsz=high - low)]
    notes = (vmcoreinfo(b"OSRELEASE=6\nPAGESIZE=4096\n", "little"),) if told else ()
    return Core([Load(0, memory[:low]), *middle, Load(high, memory[high:])], notes).build()


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("hole", [True, False])
def test_a_region_is_not_all_there(hole: bool, told: bool) -> None:
    """Left-out memory leaves the result undecided, unless it is known to have been zero."""
    loaded = CrashKernel()
    kernel, ramdisk, _, _, zeros = loaded.segments
    found = verdict(cut(loaded, ramdisk + PAGE, ramdisk + 2 * PAGE, hole=hole, told=told), (CRASH,))
    assert found.state == UNKNOWN
    assert "left out" in found.reason or "can't be read" in found.reason
    found = verdict(cut(loaded, zeros + PAGE, zeros + 2 * PAGE, hole=hole, told=told), (CRASH,))
    assert found.state == (UNKNOWN if hole and told else INTACT)
    # A hole elsewhere in the reserved memory does not matter.
    elsewhere = cut(loaded, kernel - 4 * PAGE, kernel - 2 * PAGE, hole=hole, told=told)
    assert verdict(elsewhere, (CRASH,)).state == INTACT


def test_left_out_pages_are_counted() -> None:
    loaded = CrashKernel()
    ramdisk = list(loaded.segments)[1]
    dump = source(cut(loaded, ramdisk + PAGE, ramdisk + 4 * PAGE, hole=False))
    (table,) = search_tables(dump, ALL)
    check = check_table(dump, table)
    assert check.problem is not None
    assert f"{3 * PAGE} bytes" in check.problem


def twin(memory: bytes, order: str) -> str:
    """The verdict from a slow search of all memory."""
    state = UNKNOWN
    behind = 0
    for at in range(0, len(memory) - 255, 8):
        words = struct.unpack_from(("<" if order == "little" else ">") + "32Q", memory, at)
        pairs = list(zip(words[::2], words[1::2]))
        count = next((i for i, (a, n) in enumerate(pairs) if not (
            PAGE <= a < len(memory) and 0 < n <= len(memory) - a and a % PAGE == n % PAGE == 0)), 16)  # fmt: skip
        if count < 2 or any(words[count * 2 :]) or at < behind:
            continue
        behind = at + 16 * count
        spans = sorted((a, a + n) for a, n in pairs[:count])
        if any(end > start for (_, end), (start, _) in zip(spans, spans[1:])):
            continue
        if any(a < at + 256 and at < b for a, b in spans):
            continue
        digest = hashlib.sha256(b"".join(memory[a : a + n] for a, n in pairs[:count])).digest()
        if digest in memory[max(at - 2 * PAGE, 0) : at + 256 + 2 * PAGE]:
            return INTACT
        state = DAMAGED
    return state


def small(order: str) -> CrashKernel:
    """A crash kernel in 64 KiB of memory, small so that random damage hits something relevant."""
    segments = {
        0x4000: b"070701".ljust(PAGE, b"."), 0x6000: b"\x7fELF\2\1\1".ljust(2 * PAGE, b"\0"), 0x9000: noise(1, PAGE),
    }  # fmt: skip
    return CrashKernel(order, -32, 0xB020, segments)


@pytest.mark.fuzz
@ORDERS
@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 1 << 32))
def test_damage_at_random(order: str, seed: int) -> None:
    """Under random damage the verdict equals the slow twin's; nothing raises."""
    dice = random.Random(seed)
    memory = bytearray(small(order).memory()[:0x10000])
    places = [0xB000, 0xB020, 0xB040, 0xB120, 0x4000, 0x9000]
    for _ in range(dice.randrange(4)):
        at = dice.choice(places) + dice.randrange(32)
        if dice.random() < 0.5:
            memory[at] ^= 1 << dice.randrange(8)
        else:
            at = at // 8 * 8
            word = dice.choice([0, PAGE, 0x4000, 0x5000, 0xA000, 0x10000, (1 << 64) - PAGE, dice.getrandbits(64)])
            memory[at : at + 8] = word.to_bytes(8, "little" if order == "little" else "big")
    if dice.random() < 0.3:
        memory[0x8000:0x8100] = memory[0xB020:0xB120]
    found = verdict(core(bytes(memory), order), (Region(0, len(memory)),))
    assert found.state == twin(bytes(memory), order)


@pytest.mark.fuzz
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_regions_of_any_content(seed: int) -> None:
    """Damaged streams, archives and boot parameters give an answer in bounded memory."""
    dice = random.Random(seed)
    loaded = CrashKernel()
    memory = bytearray(loaded.memory())
    starts = list(loaded.segments)
    for _ in range(dice.randrange(1, 6)):
        at = dice.choice(starts) + dice.choice([0, 0x1F4, 0x202, 0x206, 0x218, 0x248, 700, 8192]) + dice.randrange(32)
        memory[at : at + 4] = dice.choice([b"\xff" * 4, bytes(4), dice.randbytes(4), struct.pack("<I", 1 << 31)])
    assert verdict(core(bytes(memory)), (CRASH,)).state in (INTACT, DAMAGED)


def test_pages_are_padded_as_they_are_loaded() -> None:
    """The test builder pads regions to whole pages."""
    assert all(len(data) % PAGE == 0 for data in CrashKernel().segments.values())
    assert len(padded(b"x")) == PAGE
