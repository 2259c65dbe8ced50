"""Runs the page codecs on any backend and checks the memory around their buffers."""

from __future__ import annotations

import ctypes
import mmap
import struct
from array import array
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import strategies as st

from vmsieve.formats.codecs import codecs
from vmsieve.formats.codecs._pack import pack_pages, unpack_pages
from vmsieve.formats.compiler import Loop, bind, native_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmsieve.formats.codecs import State

BACKENDS = pytest.mark.parametrize(
    "backend",
    [
        "python",
        pytest.param("jit", marks=pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")),
        pytest.param(
            "aot", marks=pytest.mark.skipif(not native_backend.available(), reason="no machine code was built")
        ),
    ],
)
_CANARY = b"\xa5\x5a" * 32
_PROT_NONE = 0
_libc = ctypes.CDLL(None)
_bound: dict[tuple[str, str], Callable[..., int]] = {}


def on(backend: str, loop: Callable[..., int]) -> Callable[..., int]:
    """``loop`` on ``backend``, compiled once for all tests."""
    this = cast("Loop", loop)
    if (backend, this.name) not in _bound:
        _bound[backend, this.name] = bind(this, backend)
    return _bound[backend, this.name]


def number(name: str) -> int:
    """The codec's number in loops."""
    return [c.name for c in codecs()].index(name)


class Guarded:
    """A copy of some bytes at the end of readable memory: reading beyond them ends the process."""

    def __init__(self, data: bytes) -> None:
        whole = -(-max(len(data), 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, whole + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        assert _libc.mprotect(ctypes.c_void_p(start + whole), mmap.PAGESIZE, _PROT_NONE) == 0
        self.address = start + whole - len(data)
        ctypes.memmove(self.address, data, len(data))


class Watched:
    """A buffer surrounded by bytes that must not change."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = ctypes.create_string_buffer(_CANARY + bytes(size) + _CANARY, size + 2 * len(_CANARY))
        self.address = ctypes.addressof(self._memory) + len(_CANARY)

    def content(self) -> bytes:
        """The bytes written; fails if bytes around the buffer changed."""
        raw = self._memory.raw
        assert raw.startswith(_CANARY), "written before the start"
        assert raw.endswith(_CANARY), "written beyond the end"
        return raw[len(_CANARY) : len(_CANARY) + self.size]


def pack(
    backend: str, codec: str, state: State, pages: Sequence[bytes], *, flag: int = 1, skip_zero: bool = True
) -> list[tuple[int, bytes]]:
    """Flags and bytes of each page as packed; pages are passed in reverse order, to test the index."""
    page_size, count = len(pages[0]), len(pages)
    memory = Guarded(b"".join(reversed(pages)))
    index = array("I", reversed(range(count)))
    sizes, flags = array("I", [77] * count), array("I", [77] * count)
    out = Watched(count * page_size)
    total = on(backend, pack_pages)(
        number(codec), state.address, count, memory.address, index.buffer_info()[0], page_size, int(skip_zero), flag,
        sizes.buffer_info()[0], flags.buffer_info()[0], out.address, 0,
    )  # fmt: skip
    assert total == sum(sizes)
    content, at, found = out.content(), 0, []
    for size, flags_of_page in zip(sizes, flags):
        found.append((flags_of_page, content[at : at + size]))
        at += size
    return found


def unpack(
    backend: str, codec: str, state: State, packed: Sequence[tuple[int, bytes]], page_size: int
) -> tuple[int, list[bytes]]:
    """The index of the first damaged page, and the pages before it. ``packed``: kind and bytes of each."""
    memory = Guarded(b"".join(data for _, data in packed))
    table, at = b"", 0
    for kind, data in packed:
        table += struct.pack("=QII", at, len(data), kind)
        at += len(data)
    entries = Guarded(table)
    out = Watched(len(packed) * page_size)
    good = on(backend, unpack_pages)(
        number(codec), state.address, len(packed), entries.address, memory.address, page_size, out.address
    )
    content = out.content()
    return good, [content[i * page_size : (i + 1) * page_size] for i in range(good)]


def unpack_one(backend: str, codec: str, state: State, data: bytes, page_size: int) -> bytes | None:
    """The page that ``data`` unpacks to, None if it is damaged."""
    good, pages = unpack(backend, codec, state, [(1, data)], page_size)
    return pages[0] if good else None


@st.composite
def contents(draw: Any, sizes: st.SearchStrategy[int]) -> bytes:
    """A page that looks like memory: noise, runs, records (repeated, almost repeated), copies of what came before."""
    size = draw(sizes)
    random = draw(st.randoms(use_true_random=False))
    out = bytearray()
    while len(out) < size:
        kind, count = random.randrange(7), random.choice([1, 3, 4, 8, 20, 70, 300, 5000, 50000])
        if kind == 0:
            out += random.randbytes(min(count, size))
        elif kind == 1:
            out += bytes([random.choice([0, 0xFF, 7])]) * count
        elif kind == 2:
            out += random.randbytes(random.randint(1, 40)) * random.randint(1, 30)
        elif kind == 3:
            out += b"".join(
                struct.pack("<Q", 0xFFFF888000000000 + random.randrange(1 << 20)) for _ in range(count % 99)
            )
        elif kind == 4:
            # Structures that differ in their first bytes.
            record, changed = random.randbytes(random.randint(4, 40)), random.randint(1, 3)
            out += b"".join(random.randbytes(changed) + record for _ in range(count % 99))
        elif out:
            start = random.randrange(len(out))
            out += out[start : start + count]
    return bytes(out[:size])
