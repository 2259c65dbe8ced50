"""A search finds kallsyms in every layout since v4.4 (scripts/kallsyms.c), in both byte orders."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.build.symbols import packed_names
from tests.outcome import result_or_error
from vmsieve.filters.linux import kallsyms_search
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.kallsyms_search import DIGITS, open_by_tokens
from vmsieve.filters.linux.kernel_image import find_image
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.candidates import Candidates
    from vmsieve.filters.linux.memory import PhysicalMemory

BASE = 0x40000000
TEXT = 0xFFFFFFFF81000000
#: The parts in order; ``wide``: offsets of names have 64 bits; ``absolute``: addresses instead of offsets.
LAYOUTS: dict[str, tuple[str, bool]] = {
    "4.4": ("addresses num_syms names markers token_table token_index", True),
    "4.6": ("offsets relative_base num_syms names markers token_table token_index", True),
    "4.20": ("offsets relative_base num_syms names markers token_table token_index", False),
    "4.20 absolute": ("addresses num_syms names markers token_table token_index", False),
    "6.2": ("offsets relative_base num_syms names markers seqs_of_names token_table token_index", False),
    "6.4": ("num_syms names markers token_table token_index offsets relative_base seqs_of_names", False),
    "6.4 absolute": ("num_syms names markers token_table token_index addresses seqs_of_names", False),
}


def memory(layout: str, order: str, count: int) -> tuple[bytes, int, dict[str, int]]:
    """Memory with a table, the address of its digits, and some symbols' addresses."""
    parts, wide = LAYOUTS[layout]
    symbols = [("T_stext", TEXT), *((f"tsymbol_{i:x}_{i * 7919}", TEXT + 16 * i) for i in range(1, count - 2))]
    symbols += [("T_etext", TEXT + (32 << 20)), ("Dinit_uts_ns", TEXT + (33 << 20))]
    names, tokens, starts = packed_names([name for name, _ in symbols])
    places = [len(b"".join(names[: i * 256])) for i in range(-(-count // 256))]
    blocks = {
        "num_syms": struct.pack(order + "I", count),
        "names": b"".join(names),
        "markers": struct.pack(f"{order}{len(places)}{'Q' if wide else 'I'}", *places),
        "seqs_of_names": b"".join(i.to_bytes(3, "big") for i in range(count)),
        "token_table": tokens,
        "token_index": struct.pack(order + "256H", *starts),
        "offsets": struct.pack(f"{order}{count}I", *(at - TEXT for _, at in symbols)),
        "relative_base": struct.pack(order + "Q", TEXT),
        "addresses": struct.pack(f"{order}{count}Q", *(at for _, at in symbols)),
    }
    out = bytearray(b"\x5a" * 8192)
    for part in parts.split():
        out += bytes(-len(out) % 8) + blocks[part]
    out += (b"\xa5" if order == "<" else b"\0") * 8192
    known = {name[1:]: at for name, at in (*symbols[:3], *symbols[-3:])}
    return bytes(out), BASE + out.index(DIGITS), known


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [600, 2048])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str, count: int, order: str) -> None:
    """Each symbol is found, with its address."""
    data, digits, known = memory(layout, order, count)

    def read(at: int, size: int) -> bytes:
        if not BASE <= at <= at + size <= BASE + len(data):
            raise ReadError("no such memory", offset=at)
        return data[at - BASE : at - BASE + size]

    table = open_by_tokens(read, "little" if order == "<" else "big", digits)
    assert table.addresses((*known, "absent")) == known


@pytest.mark.parametrize("layout", ["4.6", "6.2", "6.4"])
def test_cut_off_tables(layout: str) -> None:
    """A table truncated on either side gives a typed error or the whole table."""
    data, digits, known = memory(layout, "<", 600)
    for cut in range(8192, len(data) - 8192, 3001):
        for low, high in ((cut, len(data)), (0, cut)):

            def read(at: int, size: int, low: int = low, high: int = high) -> bytes:
                if not low <= at - BASE <= at - BASE + size <= high:
                    raise KernelError("no such memory", offset=at)
                return data[at - BASE : at - BASE + size]

            found = result_or_error(lambda read=read: open_by_tokens(read, "little", digits).addresses(known))
            assert isinstance(found, VmsieveError) or found.items() <= known.items()


@pytest.mark.parametrize("layout", ["4.6", "4.20", "6.2"])
def test_numbers_that_all_fit(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of candidates for the symbol count is bounded."""
    data, digits, _ = memory(layout, "<", 600)
    steps = 0

    def counted(*arguments: Any) -> int:
        nonlocal steps
        steps += 1
        return -1

    before = struct.pack("<2I", 600, 0) * (1 << 20)
    everything = before + data[8192:]
    start = BASE + 8192 - len(before)

    def read(at: int, size: int) -> bytes:
        if not start <= at <= at + size <= start + len(everything):
            raise ReadError("no such memory", offset=at)
        return everything[at - start : at - start + size]

    monkeypatch.setattr(kallsyms_search, "_walk", counted)
    with pytest.raises(KernelError):
        open_by_tokens(read, "little", digits)
    assert 64 <= steps <= 64 * 5


def test_memory_full_of_tokens() -> None:
    """Memory full of tokens without names: reading stops with the reason."""
    data, digits, _ = memory("4.6", "<", 600)
    tokens = data[digits - BASE - 4096 :]
    taken = 0

    class Memory:
        byte_order = "little"
        source = None

        def read(self, at: int, size: int) -> bytes:
            nonlocal taken
            taken += size
            return (tokens[at % len(tokens) :] + tokens * (size // len(tokens) + 1))[:size]

    class ManySigns:
        def digits(self) -> Iterator[int]:
            yield from (i * len(tokens) + 4096 for i in range(1 << 16, (1 << 16) + 1024))

    memory_, candidates = cast("PhysicalMemory", Memory()), cast("Candidates", ManySigns())
    with pytest.raises(KernelError, match="not in memory"):
        find_image(memory_, VmcoreInfo(b""), find("x86_64"), candidates)
    assert 64 << 20 < taken <= 128 << 20
