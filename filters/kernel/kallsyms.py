"""Addresses of the kernel's symbols, from the table that it carries for its own messages (kallsyms).

VMCOREINFO tells where its parts are since v6.0 (Linux commit f09bddbd8661, "vmcoreinfo: add kallsyms_num_syms symbol",
and 5fd8fea935a1, "vmcoreinfo: include kallsyms symbols"). Format: scripts/kallsyms.c, read by kernel/kallsyms.c.

A name is a length and that many bytes, each the number of a token; the first character of the whole is the symbol's
type. Lengths over 127 take two bytes since v6.1 (73bbb94466fd, "kallsyms: support "big" kernel symbols"). How an
offset becomes an address has changed over the years and depends on the machine: what is right for a symbol whose
address VMCOREINFO tells is taken to be right for the others.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import KernelError, ReadError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vmsieve.filters.kernel.memory import VirtualMemory
    from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo

__all__ = ["find_symbols"]

#: Symbols that are believed to be; kernels have some 200,000.
_SYMBOLS_MOST: Final = 1 << 23
_TOKENS: Final = 256
#: Bytes of a token's text, and of all of them.
_TOKEN_MOST: Final = 512
_TOKENS_SIZE_MOST: Final = 1 << 16
_PAGE: Final = 4096
#: Bytes of a name before its tokens are unpacked. Unpacked, it has 511 characters at most (KSYM_NAME_LEN).
_NAME_MOST: Final = 1 << 10
_WORD: Final = (1 << 64) - 1
#: A symbol that both have.
_KNOWN: Final = "init_uts_ns"


def find_symbols(memory: VirtualMemory, info: VmcoreInfo, names: Collection[str]) -> dict[str, int]:
    """Virtual addresses of the symbols ``names``, those that there are; of two that share a name, the first.

    Data are among them only in kernels with CONFIG_KALLSYMS_ALL, as distributions have them.

    Raises:
        KernelError: The table is not there, or makes no sense.
        ReadError: It is not in the dump.
    """
    wanted = {name.encode(): name for name in (*names, _KNOWN)}
    known = info.need("SYMBOL", _KNOWN)
    numbers: dict[str, int] = {}
    for number, name in _names(memory, info, list(wanted)):
        numbers.setdefault(wanted[name], number)
        if len(numbers) == len(wanted):
            break
    if _KNOWN not in numbers:
        raise KernelError("the kernel's table of symbols lacks its data", expected=_KNOWN)
    offsets = info.need("SYMBOL", "kallsyms_offsets")
    places = {name: offsets + number * 4 for name, number in numbers.items()}
    base_at = info.symbol("kallsyms_relative_base")
    base = memory.u64(base_at) if base_at is not None else 0
    for way in range(3):
        if _address(memory, places[_KNOWN], base, way) == known:
            return {name: _address(memory, places[name], base, way) for name in names if name in places}
    raise KernelError("the kernel's table of symbols does not agree with VMCOREINFO", expected=known)


def _address(memory: VirtualMemory, place: int, base: int, way: int) -> int:
    """Address of the symbol whose offset is at ``place``."""
    offset = memory.u32(place)
    signed = offset - (1 << 32) if offset >> 31 else offset
    if way == 0:
        return (base + offset) & _WORD
    if way == 1:
        # With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, those that are not negative are no addresses but numbers.
        return (base - 1 - signed) & _WORD if signed < 0 else signed
    # From its own place, where there is no base any more.
    return (place + signed) & _WORD


def _tokens(memory: VirtualMemory, info: VmcoreInfo) -> list[bytes]:
    table, index = info.need("SYMBOL", "kallsyms_token_table"), info.need("SYMBOL", "kallsyms_token_index")
    order = ">" if memory.physical.byte_order == "big" else "<"
    starts = struct.unpack(f"{order}{_TOKENS}H", memory.read(index, _TOKENS * 2))
    # The index follows its table; the last token ends where nothing tells.
    text = memory.read(table, min(max(starts) + _TOKEN_MOST, _TOKENS_SIZE_MOST, max(index - table, 0) or _WORD))
    return [text[start : start + _TOKEN_MOST].partition(b"\0")[0] for start in starts]


def _names(memory: VirtualMemory, info: VmcoreInfo, wanted: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Those of the symbols' names that are wanted, each with its number."""
    count = memory.u32(info.need("SYMBOL", "kallsyms_num_syms"))
    if not 0 < count <= _SYMBOLS_MOST:
        raise KernelError("the number of the kernel's symbols is not believable", found=count)
    tokens = _tokens(memory, info)
    # A name ends as its last token does: few names are worth unpacking.
    last = {i for i, t in enumerate(tokens) if t and any(w.endswith(t) or t[1:] == w for w in wanted)}
    for number, packed in enumerate(_packed_names(memory, info.need("SYMBOL", "kallsyms_names"), count)):
        if packed and packed[-1] in last:
            name = b"".join([tokens[i] for i in packed])[1:]
            if name in wanted:
                yield number, name


def _packed_names(memory: VirtualMemory, at: int, count: int) -> Iterator[bytes]:
    """The names as they are stored, without their lengths."""
    data, place = b"", 0
    for _ in range(count):
        if len(data) - place < _NAME_MOST + 2:
            data, place = data[place:] + _page(memory, at, needed=place == len(data)), 0
            at += _PAGE - at % _PAGE
        size = data[place]
        place += 1
        if size & 0x80 and place < len(data):
            size = size & 0x7F | data[place] << 7
            place += 1
        if size > _NAME_MOST or place + size > len(data):
            raise KernelError("a name in the kernel's table of symbols is not believable", found=size)
        yield data[place : place + size]
        place += size


def _page(memory: VirtualMemory, at: int, *, needed: bool) -> bytes:
    """Memory from ``at`` to the end of its page; nothing if it can't be had and is not needed."""
    try:
        return memory.read(at, _PAGE - at % _PAGE)
    except (KernelError, ReadError):
        if needed:
            raise
        return b""
