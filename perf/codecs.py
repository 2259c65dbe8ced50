"""Speed and ratio of the page codecs on pages of a dump, compared with the C libraries that they replace.

``python -m perf.codecs DUMP``: CPU time of one thread, medians of rounds over all codecs in turn, so that other load
affects all of them. liblzo2 and libsnappy, if they and numba are installed, are called from a loop like that of our own
codecs.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import struct
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmsieve.formats.codecs import State, codec, codec_number
from vmsieve.formats.codecs._pack import pack_pages, unpack_pages
from vmsieve.formats.compiler import bind, inline, loop
from vmsieve.formats.compiler.primitives import call4, call5, load64, store32, store64
from vmsieve.formats.inputs import open_source
from vmsieve.formats.loops.copies import copy

if TYPE_CHECKING:
    from collections.abc import Callable

#: Codec and level: the levels useful for crash dumps.
CHOICES = [("lzo", 1), ("snappy", 1), ("zlib", 0), ("zlib", 1), ("zlib", 6), ("zstd", -5), ("zstd", 1), ("zstd", 3)]


@inline
def _finish(page: int, size: int, packed: int, out: int, packed_size: int) -> int:
    """Store the packed size of a page at ``packed_size``; replace a page that did not shrink by its copy."""
    if packed >= size:
        packed = size
        copy(out, page, size)
    store32(packed_size, 0, packed)
    return packed


@loop
def pack_lzo(state: int, count: int, pages: int, size: int, sizes: int, out: int) -> int:
    """Pack pages with liblzo2: lzo1x_1_compress at word 0 of ``state``, its memory at word 1."""
    at = out
    for i in range(count):
        call5(load64(state, 0), pages + i * size, size, at, state + 16, load64(state, 8))
        at += _finish(pages + i * size, size, load64(state, 16), at, sizes + i * 4)
    return at - out


@loop
def pack_snappy(state: int, count: int, pages: int, size: int, sizes: int, out: int) -> int:
    """Pack pages with libsnappy: snappy_compress at word 0 of ``state``."""
    at = out
    for i in range(count):
        store64(state, 16, size * 2)
        call4(load64(state, 0), pages + i * size, size, at, state + 16)
        at += _finish(pages + i * size, size, load64(state, 16), at, sizes + i * 4)
    return at - out


@dataclass
class Row:
    """One line of the table."""

    name: str
    provider: str
    pack: Callable[[], int]
    unpack: Callable[[], int] | None = None
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"pack": [], "unpack": []})
    packed: int = 0


class Bench:
    """Pages of a dump, and output buffers."""

    def __init__(self, path: str, most: int) -> None:
        self.size, self.pages = _sample(path, most)
        self.count = len(self.pages) // self.size
        self._memory = ctypes.create_string_buffer(self.pages, len(self.pages))
        self._back = ctypes.create_string_buffer(len(self.pages))
        self._index = array("I", range(self.count))

    def own(self, name: str, level: int) -> Row:
        """Return the row of one of our codecs."""
        this, which = codec(name), codec_number(name)
        packer, unpacker = this.open_compressor(level, self.size), this.open_decompressor(self.size)
        sizes, flags = array("I", [0] * self.count), array("I", [0] * self.count)
        out, table = ctypes.create_string_buffer(len(self.pages)), bytearray(16 * self.count)
        where = (ctypes.c_char * len(table)).from_buffer(table)

        def pack() -> int:
            return pack_pages(
                which, packer.address, self.count, ctypes.addressof(self._memory), self._index.buffer_info()[0],
                self.size, 0, 1, sizes.buffer_info()[0], flags.buffer_info()[0], ctypes.addressof(out),
            )  # fmt: skip

        def unpack() -> int:
            return unpack_pages(
                which, unpacker.address, self.count, ctypes.addressof(where), ctypes.addressof(out), self.size,
                ctypes.addressof(self._back),
            )  # fmt: skip

        pack()
        at = 0
        for i, (length, kind) in enumerate(zip(sizes, flags)):
            struct.pack_into("=QII", table, 16 * i, at, length, kind)
            at += length
        ctypes.memset(self._back, 0, len(self.pages))
        if unpack() != self.count or self._back.raw != self.pages:
            raise SystemExit(f"{name} {level} does not bring the pages back")
        return Row(f"{name} {level}", packer.provider, pack, unpack)

    def library(self, name: str, soname: str, symbol: str, loop: Any) -> Row | None:
        """Return the row of a C library, called from a loop like ours; None if it or numba is missing."""
        try:
            function = ctypes.cast(getattr(ctypes.CDLL(soname), symbol), ctypes.c_void_p).value or 0
            compiled = bind(loop, "jit")
        except (OSError, ImportError):
            return None
        scratch, sizes = ctypes.create_string_buffer(1 << 17), array("I", [0] * self.count)
        out = ctypes.create_string_buffer(len(self.pages) + 2 * self.size + 4096)
        state = State(soname, (ctypes.c_uint64 * 3)(function, ctypes.addressof(scratch), 0), [scratch])

        def pack() -> int:
            return compiled(
                state.address, self.count, ctypes.addressof(self._memory), self.size, sizes.buffer_info()[0],
                ctypes.addressof(out),
            )  # fmt: skip

        return Row(name, soname, pack)


def _sample(path: str, most: int) -> tuple[int, bytes]:
    """Return the page size, and up to ``most`` nonzero pages spread over the dump."""
    source = open_source(path)
    size = source.page_size or 4096
    places = [p for r in source.ranges() for p in range(-(-r.start // size) * size, r.stored_end - size + 1, size)]
    step, page, found = max(1, len(places) // (8 * most)), bytearray(size), []
    for place in places[::step]:
        source.read_into(place, memoryview(page))
        if any(page):
            found.append(bytes(page))
    source.close()
    return size, b"".join(found[:: -(-len(found) // most)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dump")
    parser.add_argument("--pages", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    bench = Bench(options.dump, options.pages)
    libraries = [
        bench.library("LZO1X-1 in C", "liblzo2.so.2", "lzo1x_1_compress", pack_lzo),
        bench.library("snappy in C++", "libsnappy.so.1", "snappy_compress", pack_snappy),
    ]
    rows = [*(row for row in libraries if row), *(bench.own(name, level) for name, level in CHOICES)]
    for _ in range(options.rounds):
        for row in rows:
            for what, run in (("pack", row.pack), ("unpack", row.unpack)):
                if run is not None:
                    start = time.thread_time()
                    done = run()
                    row.seconds[what].append(time.thread_time() - start)
                    row.packed = done if what == "pack" else row.packed
    print(f"{bench.count} pages of {bench.size} bytes; MB per second of CPU time, one thread")
    print(f"{'codec':<16}{'pack':>8}{'unpack':>8}{'ratio':>8}  provider")
    for row in rows:
        speed = {w: len(bench.pages) / 1e6 / statistics.median(s) if s else 0 for w, s in row.seconds.items()}
        ratio = len(bench.pages) / row.packed
        print(f"{row.name:<16}{speed['pack']:>8.0f}{speed['unpack']:>8.0f}{ratio:>8.3f}  {row.provider}")


if __name__ == "__main__":
    main()
