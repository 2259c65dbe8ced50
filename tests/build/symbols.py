"""The kernel's table of symbols (kallsyms) made by hand, after scripts/kallsyms.c."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.build.kernel import FakeKernel

#: Tokens of more than one character, as the compression finds them; the first one with a type.
_LONG = ("Dcrashk_", "crash", "_image", "_uts_ns", "init", "_r", "es", "symbol_")
WAYS = ("base", "absolute percpu", "own place")


def _tokens(names: list[str]) -> list[str]:
    characters = sorted(set("".join(names)))
    table = [""] * 256
    for character in characters:
        table[ord(character)] = character
    free = (i for i in range(256) if not table[i])
    for token in _LONG:
        table[next(free)] = token
    return table


def _packed(name: str, tokens: list[str]) -> bytes:
    """``name`` in tokens, greedily the longest."""
    out = []
    while name:
        best = max((t for t in tokens if t and name.startswith(t)), key=len)
        out.append(tokens.index(best))
        name = name[len(best) :]
    return bytes(out)


def _sized(data: bytes) -> bytes:
    if len(data) < 0x80:
        return bytes([len(data)]) + data
    return bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data


def packed_names(names: list[str]) -> tuple[list[bytes], bytes, list[int]]:
    """Names in tokens, each after its length; the tokens' texts; and their offsets."""
    tokens = _tokens(names)
    texts = [token.encode() + b"\0" for token in tokens]
    starts = [sum(map(len, texts[:i])) for i in range(256)]
    return [_sized(_packed(name, tokens)) for name in names], b"".join(texts), starts


def add_symbols(kernel: FakeKernel, symbols: list[tuple[str, int]], way: str = "base") -> None:
    """Give ``kernel`` a table of ``symbols``, each a type and a name, and an address."""
    packed, texts, starts = packed_names([name for name, _ in symbols])
    order = kernel.order
    kernel.static("kallsyms_num_syms", struct.pack(order + "I", len(symbols)))
    kernel.static("kallsyms_names", b"".join(packed))
    kernel.static("kallsyms_token_table", texts)
    kernel.static("kallsyms_token_index", struct.pack(order + "256H", *starts))
    base = min(address for name, address in symbols if address >> 63) - 0x1000
    at = kernel.static("kallsyms_offsets", bytes(4 * len(symbols)))
    offsets = []
    for number, (_, address) in enumerate(symbols):
        if not address >> 63:
            offset = address  # a number, not an address
        elif way == "own place":
            offset = address - (at + 4 * number)
        else:
            offset = base - 1 - address if way == "absolute percpu" else address - base
        offsets.append(offset & 0xFFFFFFFF)
    kernel.source.write(kernel.image_physical(at), struct.pack(f"{order}{len(offsets)}I", *offsets))
    if way != "own place":
        kernel.static("kallsyms_relative_base", struct.pack(order + "Q", base))
