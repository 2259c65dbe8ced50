"""Addresses of the kernel's symbols, from kallsyms.

VMCOREINFO has the addresses of its parts since v6.0 (Linux commit f09bddbd8661, "vmcoreinfo: add kallsyms_num_syms
symbol", and 5fd8fea935a1, "vmcoreinfo: include kallsyms symbols"); else
:mod:`vmsieve.filters.linux.kallsyms_search` finds them. Format: scripts/kallsyms.c, read by kernel/kallsyms.c.

A name is a length and that many bytes, each the number of a token; the first character of the whole is the symbol's
type. Lengths over 127 take two bytes since v6.1 (73bbb94466fd, "kallsyms: support "big" kernel symbols"). The encoding
of addresses depends on version and machine. The one that gives a symbol the address in VMCOREINFO is used; without
such a symbol, the one that puts ``_stext`` before ``_etext``.
"""

from __future__ import annotations

import ctypes
import struct

from vmsieve.filters.linux.key_set import KeySet, hash_name
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.loops.lookup import BASE, TOKEN_WORDS, match_names
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Most symbols; kernels have some 200,000.
SYMBOLS_MOST: Final = 1 << 23
TOKENS: Final = 256
#: Bytes of a token's text, and of all of them.
_TOKEN_MOST: Final = 512
_TOKENS_SIZE_MOST: Final = 1 << 16
_PAGE: Final = 4096
_PIECE: Final = 64 << 10
#: Bytes of a packed name. Unpacked, it has 511 characters at most (KSYM_NAME_LEN).
_NAME_MOST: Final = 1 << 10
_ROOM: Final = 64
_WORD: Final = (1 << 64) - 1
#: A symbol that both kallsyms and VMCOREINFO have.
_KNOWN: Final = "init_uts_ns"
#: Largest kernel image.
_IMAGE_MOST: Final = 1 << 30
#: Symbols whose order is checked.
_SAMPLE: Final = 32
#: In this order in every kernel (include/asm-generic/sections.h).
_ORDERED: Final = ("_stext", "_etext")

#: Reads memory at an address, a number of bytes. Raises KernelError or ReadError.
Read = Callable[[int, int], bytes]


@record(frozen=True)
class TableLayout:
    """Addresses of the table's parts, for the read function.

    Attributes:
        names: The packed names.
        count: The number of symbols (not an address).
        token_table, token_index: The tokens' texts, and the offset of each, 16 bits each.
        offsets: 32 bits a symbol; 64-bit addresses if ``absolute``.
        relative_base: Address of the base of the offsets; None if each is relative to its own address.
        absolute: Kernels before v4.6, and those without CONFIG_KALLSYMS_BASE_RELATIVE.
    """

    names: int
    count: int
    token_table: int
    token_index: int
    offsets: int
    relative_base: int | None
    absolute: bool = False


class Kallsyms:
    """A kernel's symbols."""

    def __init__(self, read: Read, byte_order: str, layout: TableLayout) -> None:
        self._read = read
        self._order = ">" if byte_order == "big" else "<"
        self._layout = layout
        if not 0 < layout.count <= SYMBOLS_MOST:
            raise KernelError("the number of the kernel's symbols is implausible", found=layout.count)
        self._base = 0 if layout.relative_base is None else self._number("Q", layout.relative_base)
        self._tokens = self._read_tokens()
        self._decode: Callable[[int], int] | None = None

    def _number(self, code: str, at: int) -> int:
        return int(struct.unpack(self._order + code, self._read(at, struct.calcsize(code)))[0])

    def _read_tokens(self) -> list[bytes]:
        table, index = self._layout.token_table, self._layout.token_index
        starts = struct.unpack(f"{self._order}{TOKENS}H", self._read(index, TOKENS * 2))
        # The index follows the texts; the end of the last one is unknown.
        most = min(max(starts) + _TOKEN_MOST, _TOKENS_SIZE_MOST, max(index - table, 0) or _WORD)
        text = self._read(table, most)
        return [text[start : start + _TOKEN_MOST].partition(b"\0")[0] for start in starts]

    def numbers(self, names: Collection[str]) -> dict[str, int]:
        """Numbers of the symbols ``names`` in the table; the first of several that share a name."""
        left = {name.encode(): name for name in names}
        wanted = KeySet(hash_name(name) for name in left)
        tokens = self._token_words()
        out = (ctypes.c_uint64 * (2 + 2 * _ROOM))()
        found: dict[str, int] = {}
        data, at, number = b"", self._layout.names, 0
        while number < self._layout.count and left:
            more = read_some(self._read, at, _PIECE, needed=len(data) < 2)
            at += len(more)
            piece = bytearray(data + more)
            hits = match_names(
                address_of(piece), len(piece), number, self._layout.count, ctypes.addressof(tokens), wanted.address,
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

    def _decoders(self) -> list[Callable[[int], int]]:
        """Functions that may turn a symbol's number into its address."""
        offsets, base = self._layout.offsets, self._base
        if self._layout.absolute:
            return [lambda i: self._number("Q", offsets + i * 8)]
        if self._layout.relative_base is None:
            return [lambda i: (offsets + i * 4 + self._number("i", offsets + i * 4)) & _WORD]

        def percpu(i: int) -> int:
            # With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, offsets that are not negative are absolute values.
            offset = self._number("i", offsets + i * 4)
            return (base - 1 - offset) & _WORD if offset < 0 else offset

        return [lambda i: (base + self._number("I", offsets + i * 4)) & _WORD, percpu]

    def calibrate(self, known: int, address: int) -> None:
        """Choose the decoder that gives symbol number ``known`` this ``address``."""
        for decode in self._decoders():
            if decode(known) == address:
                self._decode = decode
                return
        raise KernelError("the kernel's symbol table disagrees with VMCOREINFO", expected=address)

    def guess(self) -> None:
        """Choose the decoder that gives a kernel of a plausible size."""
        found = self.numbers(_ORDERED)
        if len(found) < len(_ORDERED):
            raise KernelError("the kernel's symbol table is incomplete", expected=", ".join(_ORDERED))
        for decode in self._decoders():
            start, end = (decode(found[name]) for name in _ORDERED)
            near = self._layout.relative_base is None or -_IMAGE_MOST < start - self._base < _IMAGE_MOST
            plausible = near and start < end < start + _IMAGE_MOST
            if plausible and self._ascends(decode, *(found[name] for name in _ORDERED)):
                self._decode = decode
                return
        raise KernelError("the addresses in the kernel's symbol table are implausible")

    @staticmethod
    def _ascends(decode: Callable[[int], int], first: int, last: int) -> bool:
        """True if addresses ascend from symbol to symbol, but not just by 4, the distance of relative offsets."""
        found = [decode(first + (last - first) * i // _SAMPLE) for i in range(_SAMPLE + 1)]
        return found == sorted(found) and found[-1] - found[0] != 4 * (last - first)

    def addresses(self, names: Collection[str]) -> dict[str, int]:
        """Addresses of those symbols of ``names`` that exist; of data only with CONFIG_KALLSYMS_ALL."""
        return {name: self.address(number) for name, number in self.numbers(names).items()}

    def address(self, number: int) -> int:
        """Address of symbol number ``number``."""
        if self._decode is None:
            self.guess()
        assert self._decode is not None
        return self._decode(number)

    @property
    def relative(self) -> bool:
        """True if decoded addresses are of the same kind as those in ``layout``, physical or virtual."""
        return self._layout.relative_base is None and not self._layout.absolute


def read_some(read: Read, at: int, size: int, *, needed: bool) -> bytes:
    """Read ``size`` bytes, or those to the end of the page; if both fail, raise if ``needed``, else return b""."""
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
    """Open the symbol table at the addresses in VMCOREINFO; ``read`` takes virtual addresses."""
    offsets = info.symbol("kallsyms_offsets")
    names, count_at = info.need("SYMBOL", "kallsyms_names"), info.need("SYMBOL", "kallsyms_num_syms")
    layout = TableLayout(
        names=names,
        count=int.from_bytes(read(count_at, 4), "big" if byte_order == "big" else "little"),
        token_table=info.need("SYMBOL", "kallsyms_token_table"),
        token_index=info.need("SYMBOL", "kallsyms_token_index"),
        offsets=offsets if offsets is not None else info.need("SYMBOL", "kallsyms_addresses"),
        relative_base=info.symbol("kallsyms_relative_base"),
        absolute=offsets is None,
    )
    return Kallsyms(read, byte_order, layout)


def find_symbols(memory: VirtualMemory, info: VmcoreInfo, names: Collection[str]) -> dict[str, int]:
    """Virtual addresses of those symbols of ``names`` that exist; the first of several that share a name.

    Symbols of data exist only in kernels with CONFIG_KALLSYMS_ALL, which distributions set.
    """
    known = info.need("SYMBOL", _KNOWN)
    table = open_kallsyms(memory.read, memory.physical.byte_order, info)
    numbers = table.numbers({*names, _KNOWN})
    if _KNOWN not in numbers:
        raise KernelError("the kernel's symbol table is incomplete", expected=_KNOWN)
    table.calibrate(numbers[_KNOWN], known)
    return {name: table.address(numbers[name]) for name in names if name in numbers}
