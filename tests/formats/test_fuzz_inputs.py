"""Damaged dumps: opening and reading them ends, in little memory, with a result or a typed error."""

from __future__ import annotations

import signal
import struct
import tracemalloc
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import lkcd_file, s390_file, vmdump_file
from tests.build.elf_core import Core, Load, core, loads
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import Kdump
from tests.build.memory_file import MemoryFile
from tests.build.notes import prstatus, vmcoreinfo
from tests.build.pages import parse
from tests.build.zfcpdump_disk import disk as zfcpdump_disk
from vmsieve.formats.errors import ReadError, VmsieveError
from vmsieve.formats.inputs import Source, open_file
from vmsieve.formats.inputs.flattened import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fuzz

RECIPE = """
    @0x1000 fill 01020304 zlib x3
    @0x4000 fill 05060708 lzo x2
    @0x6000 exclude x3
    @0x9000 noise 1
    @0xa000 zero x2
    @0x20000 fill 090a0b0c snappy x2
    @0x22000 fill 0d0e0f10 zstd x2
    @0x24000 missing
    @0x25000 fill 01020304
"""


def notes(order: str) -> bytes:
    return prstatus(1, b"r" * 216, order) + vmcoreinfo(b"OSRELEASE=6.1\nPAGESIZE=4096\n", order)


def _s390() -> dict[str, bytes]:
    """Dumps of s390x in its own formats; small ones: nearly all of their memory is zero."""
    memory = bytearray(s390_file.machine(1)[: 68 << 12] + bytes((5 << 20) - (68 << 12)))
    for at in range(1 << 20, 5 << 20, 1 << 20):
        memory[at : at + 4096] = b"some page".ljust(4096, b".")
    dump = s390_file.Dump(bytes(memory), real_size=8 << 20)
    filled = vmdump_file.pages_of(dump.memory)
    pages = [pfn * 4096 for pfn in filled]
    whole = s390_file.volumes(dump, [8 << 20])[0]
    seeds = {
        "s390-flat": s390_file.Dump(dump.memory[: 70 << 12]).flat(),
        "s390-ext": s390_file.extended(s390_file.Dump(dump.memory[: 2 << 20])),
        "s390-zlib": s390_file.compressed(dump, 512, 256 << 10),
        "s390-volume": s390_file.disks([whole[: (1 << 20) + 8192]])[0],
        "vmdump": vmdump_file.Vmdump(filled, len(memory)).build(),
        "zfcpdump": zfcpdump_disk(core("@0x1000 fill 01020304 x3", notes("big"), "big", 22)),
    }
    for method in range(3):
        seeds[f"lkcd-{method}"] = lkcd_file.Lkcd(dump.memory, method, pages, s390_file.PREFIXES).build()
    return seeds


def _seeds() -> dict[str, bytes]:
    pages = parse(RECIPE)
    text = Load(0x2000, pages[1].data + pages[2].data, vaddr=0xFFFFFFFF81000000)
    seeds = {}
    for order in ("little", "big"):
        seeds[f"elf-{order}"] = core(RECIPE, notes(order), order, 22)
        for version in (1, 3, 6):
            file = Kdump(pages, version, order, notes=notes(order), vmcoreinfo=b"PAGESIZE=4096\n")
            seeds[f"kdump-{version}-{order}"] = file.build()
    seeds["elf-text"] = Core([text, *loads(pages)], (notes("little"), b""), extended=True).build()
    fields = {"split": 1, "start_pfn_64": 4, "end_pfn_64": 0x22}
    seeds["kdump-part"] = Kdump(pages, notes=notes("little"), dump_level=1, fields=fields, part=(4, 0x22)).build()
    seeds["flat-kdump"] = flattened(cut(seeds["kdump-6-little"], 3000))
    seeds.update(_s390())
    seeds["flat-elf"] = flattened([*cut(seeds["elf-text"], 5000), (0, seeds["elf-text"][:64])])
    return seeds


SEEDS = _seeds()
#: Where headers are: damage there is worth more than damage to pages.
HEADERS = st.one_of(
    st.integers(0, 600),
    st.integers(4096, 4500),
    st.integers(8192, 8300),
    st.integers(16384, 17000),
    st.integers(0, 1 << 16),
)
VALUES = st.one_of(
    st.binary(min_size=1, max_size=9),
    st.sampled_from([0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]).map(lambda n: n.to_bytes(4, "little")),
    st.sampled_from([0, 1, 4095, 1 << 31, 1 << 40, (1 << 56) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096]).flatmap(
        lambda n: st.sampled_from([n.to_bytes(8, "little"), n.to_bytes(8, "big")])
    ),
)


class Damage(NamedTuple):
    """A good file, bytes that replace others, and where it is cut off or goes on as another file does."""

    seed: str
    edits: list[tuple[int, bytes]]
    cut: int | None
    other: str | None

    def data(self) -> bytes:
        data = bytearray(SEEDS[self.seed])
        for at, value in self.edits:
            data[at : at + len(value)] = value
        if self.cut is not None:
            at = self.cut % len(data)
            data[at:] = SEEDS[self.other][at:] if self.other else b""
        return bytes(data)


NAMES = st.sampled_from(sorted(SEEDS))
DAMAGE = st.builds(
    Damage,
    NAMES,
    st.lists(st.tuples(HEADERS, VALUES), max_size=6),
    st.one_of(st.none(), st.none(), st.integers(0, 1 << 17)),
    st.one_of(st.none(), NAMES),
)


@contextmanager
def bounded(most: int, seconds: int = 60) -> Iterator[None]:
    """Fails when the block allocates more than ``most`` bytes, or does not end at all."""

    def stop(*_: object) -> None:
        raise AssertionError("it does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_read(dump: Source, paddr: int, size: int) -> None:
    try:
        dump.read_into(paddr, memoryview(bytearray(size)))
    except ReadError as caught:
        error = caught
    else:
        return
    # Callers go on with the address; it may be the start of the page.
    assert error.offset is not None
    assert paddr - (1 << 20) <= error.offset <= paddr + size


def use(dump: Source) -> None:
    """Everything that can be asked of a dump, as far as there is an end to it."""
    size = dump.page_size or 4096
    last = -1
    for found in islice(dump.ranges(), 200):
        assert last < found.end <= dump.end()
        assert found.start <= found.stored_end <= found.end
        last = found.start
        whole = -(-found.start // size)
        first = whole // 8 * 8
        exists, stored = dump.memory_bits(first, 64, size)
        if (whole + 1) * size <= found.end:
            assert exists[0] >> whole % 8 & 1
        assert all(s & ~e == 0 for e, s in zip(exists, stored))
        for start in (found.start, found.stored_end - 5000, found.end - 8):
            try_read(dump, max(0, start), 8)
            try_read(dump, max(0, start), 3 * size)
    exists, stored = dump.memory_bits(0, 4096, size)
    assert len(exists) == len(stored) == 512
    try_read(dump, 0x1000, 0x8000)
    assert all(isinstance(oddity, str) and len(oddity) < 300 for oddity in dump.oddities)
    assert len(dump.oddities) < 20
    dump.close()


@settings(deadline=None, max_examples=400)
@given(DAMAGE)
def test_damaged_dumps_give_results_or_typed_errors(damage: Damage) -> None:
    """No other exception, no end of memory, and the file is closed in any case."""
    file = MemoryFile(damage.data())
    with bounded(48 << 20):
        try:
            dump = open_file(file)
        except VmsieveError as error:
            assert len(str(error)) < 500  # noqa: PT017 - one line for people
        else:
            use(dump)
    assert file.closed == 1


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_undamaged_dumps_pass_the_same_questions(name: str) -> None:
    """Otherwise the other test would prove nothing."""
    use(open_file(MemoryFile(SEEDS[name])))


@settings(deadline=None, max_examples=100)
@given(DAMAGE, st.integers(1, 5000))
def test_damaged_streams_are_rebuilt_or_refused(damage: Damage, step: int) -> None:
    """Also when they come in small portions; nothing is put outside of what a file can hold."""
    data = damage.data()
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        part = data[at : at + min(size, step)]
        at += len(part)
        return part

    def put(offset: int, part: bytes) -> None:
        assert 0 <= offset < offset + len(part) < 1 << 63

    with bounded(8 << 20):
        try:
            rebuild(read, put)
        except VmsieveError as error:
            assert str(error)  # noqa: PT017


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 10), st.booleans())
def test_sparse_giants_do_not_cost_memory(shift: int, tables: int, big: bool) -> None:
    """Headers that promise up to 2**49 bytes of memory, and more, each segment more of it."""
    segments = [Load(i << shift, b"", (1 << 16) << shift) for i in range(tables + 1)]
    file = MemoryFile(Core(segments, (notes("big" if big else "little"),), "big" if big else "little", 22).build())
    with bounded(1 << 20):
        try:
            use(open_file(file))
        except VmsieveError:
            # Nothing is there, or all of it ends above what is believed.
            assert tables == 0 or shift == 0 or (1 << 16) << shift >= 1 << 49


@pytest.mark.parametrize("kind", [1, 4])
def test_very_many_program_headers_stay_in_bounds(kind: int) -> None:
    """Segments out of order over each other, or note segments: what is kept of them is bounded."""
    count = 70_000
    rows = [
        struct.pack("<IIQQQQQQ", kind, 7, 100, i % 3, (i * 7919) % count << 12, 64, 0x3000, 0) for i in range(count)
    ]
    head = Core([], phnum=count, extended=True).build()
    data = head[:64] + b"".join(rows) + head[64:]
    patched = bytearray(data)
    struct.pack_into("<Q", patched, 40, 64 + count * 56)
    with bounded(64 << 20, 240):
        try:
            use(open_file(MemoryFile(bytes(patched))))
        except VmsieveError as error:
            assert "pieces" in str(error) or "no memory" in str(error)  # noqa: PT017
