"""Small dumps of every format to be damaged, and every query of a dump."""

from __future__ import annotations

import signal
import tracemalloc
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from tests.build import lkcd_file, s390_file, vmdump_file
from tests.build.elf_core import Core, Load, core, loads
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import Kdump
from tests.build.memory_file import MemoryFile
from tests.build.notes import prstatus, vmcoreinfo
from tests.build.pages import parse
from tests.build.zfcpdump_disk import disk as zfcpdump_disk
from tests.outcome import result_or_error
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import Source, open_file

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    """Small s390x dumps in their formats; nearly all of their memory is zero."""
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


@contextmanager
def bounded(most: int, seconds: int = 60) -> Iterator[None]:
    """Fails if the block allocates more than ``most`` bytes or does not end."""

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
    # Callers continue with the address; it may be the start of the page.
    assert error.offset is not None
    assert paddr - (1 << 20) <= error.offset <= paddr + size


def use(dump: Source) -> None:
    """Every query of a dump, bounded in number."""
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
    assert all(isinstance(remark, str) and len(remark) < 300 for remark in dump.remarks)
    assert len(dump.remarks) < 20
    dump.close()


def survives(data: bytes, most: int) -> None:
    """Any bytes give a dump or a typed error, in ``most`` bytes of memory; the file is always closed."""
    file = MemoryFile(data)
    with bounded(most):
        dump = result_or_error(open_file, file)
        if isinstance(dump, Source):
            use(dump)
    assert file.closed == 1
