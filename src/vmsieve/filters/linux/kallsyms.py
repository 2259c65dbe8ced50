"""Addresses of the kernel's symbols, from the table that it carries for its own messages (kallsyms).

VMCOREINFO tells where its parts are since v6.0 (Linux commit f09bddbd8661, "vmcoreinfo: add kallsyms_num_syms symbol",
and 5fd8fea935a1, "vmcoreinfo: include kallsyms symbols"); :mod:`vmsieve.filters.linux.kallsyms_search` finds them
where it does not. Format: scripts/kallsyms.c, read by kernel/kallsyms.c.

A name is a length and that many bytes, each the number of a token; the first character of the whole is the symbol's
type. Lengths over 127 take two bytes since v6.1 (73bbb94466fd, "kallsyms: support "big" kernel symbols"). How an
offset becomes an address has changed over the years and depends on the machine: what is right for a symbol whose
address VMCOREINFO tells is taken to be right for the others, and else what puts the kernel's text before its end.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Callable, Final

from vmsieve.filters.linux.key_set import KeySet, hash_name
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.loops.lookup import BASE, TOKEN_WORDS, match_names
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Collection

    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

__all__ = ["SYMBOLS_MOST", "TOKENS", "Kallsyms", "Places", "find_symbols", "open_kallsyms", "read_some"]

#: Symbols that are believed to be; kernels have some 200,000.
SYMBOLS_MOST: Final = 1 << 23
TOKENS: Final = 256
#: Bytes of a token's text, and of all of them.
_TOKEN_MOST: Final = 512
_TOKENS_SIZE_MOST: Final = 1 << 16
_PAGE: Final = 4096
_PIECE: Final = 256 << 10
#: Bytes of a name before its tokens are unpacked. Unpacked, it has 511 characters at most (KSYM_NAME_LEN).
_NAME_MOST: Final = 1 << 10
_ROOM: Final = 64
_WORD: Final = (1 << 64) - 1
#: A symbol that both have.
_KNOWN: Final = "init_uts_ns"
#: The kernel lies within so many bytes.
_IMAGE_MOST: Final = 1 << 30
#: Symbols looked at in between.
_SAMPLE: Final = 32
#: In this order in every kernel (include/asm-generic/sections.h).
_ORDERED: Final = ("_stext", "_etext")

#: Reads so many bytes of memory at an address. Raises KernelError or ReadError.
Read = Callable[[int, int], bytes]


@record(frozen=True)
class Places:
    """Where the parts of the table are: addresses as the reader takes them.

    Attributes:
        names: The packed names.
        count: How many symbols there are (not an address).
        token_table, token_index: The tokens' texts, and where each begins, 16 bits each.
        offsets: 32 bits a symbol; 64-bit addresses where ``absolute``.
        relative_base: What offsets are relative to; None: to their own place.
        absolute: They are addresses: kernels before v4.6, and those without CONFIG_KALLSYMS_BASE_RELATIVE.
    """

    names: int
    count: int
    token_table: int
    token_index: int
    offsets: int
    relative_base: int | None
    absolute: bool = False


class Kallsyms:
    """A kernel's symbols.

    Args:
        read: Reads its memory.
        byte_order: Of the numbers in it.
        places: Where the table is.

    Raises:
        KernelError: The table makes no sense.
        ReadError: It is not in the dump.
    """

    def __init__(self, read: Read, byte_order: str, places: Places) -> None:
        self._read = read
        self._order = ">" if byte_order == "big" else "<"
        self._places = places
        if not 0 < places.count <= SYMBOLS_MOST:
            raise KernelError("the number of the kernel's symbols is not believable", found=places.count)
        self._base = 0 if places.relative_base is None else self._number("Q", places.relative_base)
        self._tokens = self._read_tokens()
        self._way: Callable[[int], int] | None = None

    def _number(self, code: str, at: int) -> int:
        return int(struct.unpack(self._order + code, self._read(at, struct.calcsize(code)))[0])

    def _read_tokens(self) -> list[bytes]:
        table, index = self._places.token_table, self._places.token_index
        starts = struct.unpack(f"{self._order}{TOKENS}H", self._read(index, TOKENS * 2))
        # The index follows its table; the last token ends where nothing tells.
        most = min(max(starts) + _TOKEN_MOST, _TOKENS_SIZE_MOST, max(index - table, 0) or _WORD)
        text = self._read(table, most)
        return [text[start : start + _TOKEN_MOST].partition(b"\0")[0] for start in starts]

    def numbers(self, names: Collection[str]) -> dict[str, int]:
        """The symbols ``names`` by their places in the table; of two that share a name, the first."""
        left = {name.encode(): name for name in names}
        wanted = KeySet(hash_name(name) for name in left)
        tokens = self._token_words()
        out = (ctypes.c_uint64 * (2 + 2 * _ROOM))()
        found: dict[str, int] = {}
        data, at, number = b"", self._places.names, 0
        while number < self._places.count and left:
            more = read_some(self._read, at, _PIECE, needed=len(data) < 2)
            at += len(more)
            piece = bytearray(data + more)
            hits = match_names(
                address_of(piece), len(piece), number, self._places.count, ctypes.addressof(tokens), wanted.address,
                ctypes.addressof(out), _ROOM,
            )  # fmt: skip
            for i in range(hits):
                name = left.pop(self._unpack(piece, out[3 + 2 * i]), None)
                if name is not None:
                    found[name] = out[2 + 2 * i]
            number = out[0]
            data = bytes(piece[out[1] :])
            if hits < _ROOM and (len(data) > _NAME_MOST or not more):
                break
        return found

    def _token_words(self) -> ctypes.Array[ctypes.c_uint64]:
        words = (ctypes.c_uint64 * (TOKENS * TOKEN_WORDS))()
        for i, token in enumerate(self._tokens):
            rest = token[1:]
            values = (hash_name(token), pow(BASE, len(token), 1 << 64), hash_name(rest), pow(BASE, len(rest), 1 << 64))
            for at, value in enumerate(values, i * TOKEN_WORDS):
                words[at] = value
        return words

    def _unpack(self, data: bytearray, at: int) -> bytes:
        size, at = data[at], at + 1
        if size & 0x80:
            size, at = size & 0x7F | data[at] << 7, at + 1
        return b"".join([self._tokens[token] for token in data[at : at + size]])[1:]

    def _ways(self) -> list[Callable[[int], int]]:
        """How the address of symbol number so-and-so may be had."""
        offsets, base = self._places.offsets, self._base
        if self._places.absolute:
            return [lambda i: self._number("Q", offsets + i * 8)]
        if self._places.relative_base is None:
            return [lambda i: (offsets + i * 4 + self._number("i", offsets + i * 4)) & _WORD]

        def percpu(i: int) -> int:
            # With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, those that are not negative are no addresses but numbers.
            offset = self._number("i", offsets + i * 4)
            return (base - 1 - offset) & _WORD if offset < 0 else offset

        return [lambda i: (base + self._number("I", offsets + i * 4)) & _WORD, percpu]

    def agree(self, known: int, address: int) -> None:
        """Go by what symbol number ``known`` has the ``address`` of.

        Raises:
            KernelError: In no way that is known it has.
        """
        for way in self._ways():
            if way(known) == address:
                self._way = way
                return
        raise KernelError("the kernel's table of symbols does not agree with VMCOREINFO", expected=address)

    def guess(self) -> None:
        """Go by what gives a kernel of a believable size.

        Raises:
            KernelError: No way that is known does, or the table lacks what there should be.
        """
        found = self.numbers(_ORDERED)
        if len(found) < len(_ORDERED):
            raise KernelError("the kernel's table of symbols lacks its data", expected=", ".join(_ORDERED))
        for way in self._ways():
            start, end = (way(found[name]) for name in _ORDERED)
            near = self._places.relative_base is None or -_IMAGE_MOST < start - self._base < _IMAGE_MOST
            if near and start < end < start + _IMAGE_MOST and self._rises(way, *(found[name] for name in _ORDERED)):
                self._way = way
                return
        raise KernelError("the addresses in the kernel's table of symbols are not believable")

    @staticmethod
    def _rises(way: Callable[[int], int], first: int, last: int) -> bool:
        """Are symbols in order of their addresses between these two, and not all as far apart as their places are?"""
        found = [way(first + (last - first) * i // _SAMPLE) for i in range(_SAMPLE + 1)]
        return found == sorted(found) and found[-1] - found[0] != 4 * (last - first)

    def addresses(self, names: Collection[str]) -> dict[str, int]:
        """Addresses of the symbols ``names``, those that there are.

        Data are among them only in kernels with CONFIG_KALLSYMS_ALL, as distributions have them.
        """
        return {name: self.address(number) for name, number in self.numbers(names).items()}

    def address(self, number: int) -> int:
        """Address of symbol number ``number``."""
        if self._way is None:
            self.guess()
        assert self._way is not None
        return self._way(number)

    @property
    def relative(self) -> bool:
        """Are addresses relative to their own place: as the reader takes them, whatever the kernel's are?"""
        return self._places.relative_base is None and not self._places.absolute


def read_some(read: Read, at: int, size: int, *, needed: bool) -> bytes:
    """``size`` bytes of memory, or those to the end of the page; none if they can't be had and are not ``needed``."""
    try:
        return read(at, size)
    except (KernelError, ReadError):
        pass
    try:
        return read(at, _PAGE - at % _PAGE)
    except (KernelError, ReadError):
        if needed:
            raise
        return b""


def open_kallsyms(read: Read, byte_order: str, info: VmcoreInfo) -> Kallsyms:
    """The symbols of the kernel whose memory ``read`` reads by virtual address, found by what VMCOREINFO tells.

    Raises:
        KernelError: It does not tell, or there is no believable table.
        ReadError: It is not in the dump.
    """
    offsets = info.symbol("kallsyms_offsets")
    places = Places(
        names=info.need("SYMBOL", "kallsyms_names"),
        count=int.from_bytes(
            read(info.need("SYMBOL", "kallsyms_num_syms"), 4), "big" if byte_order == "big" else "little"
        ),
        token_table=info.need("SYMBOL", "kallsyms_token_table"),
        token_index=info.need("SYMBOL", "kallsyms_token_index"),
        offsets=offsets if offsets is not None else info.need("SYMBOL", "kallsyms_addresses"),
        relative_base=info.symbol("kallsyms_relative_base"),
        absolute=offsets is None,
    )
    return Kallsyms(read, byte_order, places)


def find_symbols(memory: VirtualMemory, info: VmcoreInfo, names: Collection[str]) -> dict[str, int]:
    """Virtual addresses of the symbols ``names``, those that there are; of two that share a name, the first.

    Data are among them only in kernels with CONFIG_KALLSYMS_ALL, as distributions have them.

    Raises:
        KernelError: The table is not there, or makes no sense.
        ReadError: It is not in the dump.
    """
    known = info.need("SYMBOL", _KNOWN)
    table = open_kallsyms(memory.read, memory.physical.byte_order, info)
    numbers = table.numbers({*names, _KNOWN})
    if _KNOWN not in numbers:
        raise KernelError("the kernel's table of symbols lacks its data", expected=_KNOWN)
    table.agree(numbers[_KNOWN], known)
    return {name: table.address(numbers[name]) for name in names if name in numbers}
