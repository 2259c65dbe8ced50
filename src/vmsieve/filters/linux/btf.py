"""Types of the kernel, from its BTF section (since v5.2, with CONFIG_DEBUG_INFO_BTF).

Format: Documentation/bpf/btf.rst, include/uapi/linux/btf.h. A header, records of types numbered from 1 on, strings. A
record has 12 bytes (offset of the name, kind and number of members, size or type), then data by its kind, in the
kernel's byte order.
"""

from __future__ import annotations

import ctypes
import struct
import sys

from vmsieve.filters.linux.kallsyms import read_some
from vmsieve.filters.linux.key_set import KeySet, hash_name
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.loops.lookup import match_strings, match_types
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from vmsieve.filters.linux.kallsyms import Read

#: struct btf_header: magic, version, flags, hdr_len, type_off, type_len, str_off, str_len.
_HEADER: Final = "HBBIIIII"
HEADER_SIZE: Final = 24
_MAGIC: Final = 0xEB9F
#: Most bytes of types and strings, most types; kernels of distributions have 5 MB, 150,000 types.
_SIZE_MOST: Final = 64 << 20
_TYPES_MOST: Final = 1 << 22
_MARKED: Final = 256  # types between two entries of the index
#: Bytes read at a time, and for a record that is longer: 256 KiB are an enumeration of 32,000 numbers.
_PIECE: Final = 64 << 10
_RECORD_MOST: Final = 256 << 10
_ROOM: Final = 64
_STRING_MOST: Final = 256
#: Bytes of true and false sections to read in a search.
_SEARCHED_MOST: Final = 128 << 20
_DEPTH: Final = 16  # of nested anonymous members, and of typedefs
#: Members and enumerators to visit in all; the structures that are asked for have a few hundred.
_LOOKS_MOST: Final = 1 << 14
#: Types that share a name; few do in the kernel.
_NAMESAKES_MOST: Final = 16
_RECORD: Final = 12
#: Bytes read at a time while types are counted: a few dozen types.
_NEAR: Final = 2048

_ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _ENUM64 = 3, 4, 5, 6, 8, 9, 10, 11, 19
_TYPE_TAG: Final = 18
#: Bytes of a record by its kind, if not :data:`_RECORD`; bytes of each of its members.
_FIXED: Final = {1: 16, _ARRAY: 24, 14: 16, 17: 16}
_EACH: Final = {_STRUCT: 12, _UNION: 12, _ENUM: 8, 13: 8, 15: 12, _ENUM64: 12}


def magic(byte_order: str) -> bytes:
    """First bytes of a section whose header is like those of all kernels so far."""
    return struct.pack(">HBBII" if byte_order == "big" else "<HBBII", _MAGIC, 1, 0, HEADER_SIZE, 0)


def find_btf(
    read: Read, byte_order: str, addresses: Iterable[int], names: Collection[str], kernel_type: str
) -> Btf | None:
    """Load the types ``names`` from the first of ``addresses`` that is a kernel's section; None if there is none.

    ``kernel_type``: a type that the kernel has and modules, whose sections are in memory too, do not have.
    """
    left = _SEARCHED_MOST
    for at in addresses:
        try:
            found = Btf(read, byte_order, at)
            # The first string is empty. The budget bounds reads of false sections.
            if read(at + found.strings_offset, 1) != b"\0" or (left := left - found.end) < 0:
                continue
            found.load(names)
        except (KernelError, ReadError):
            continue
        if found.size(kernel_type) and found.enumerators("pageflags"):
            return found
    return None


@record(frozen=True)
class _Type:
    """The record of a type. ``extra``: offset, among the types, of the data that follow it."""

    name: int
    kind: int
    count: int
    flag: bool
    size: int
    extra: int


class Btf:
    """A kernel's :class:`Types`, from the section at address ``at``; ``size``: its size, if known.

    Attributes:
        address: Address of the section.
        end: Its size.
        strings_offset: Offset of its strings.
    """

    def __init__(self, read: Read, byte_order: str, at: int, size: int | None = None) -> None:
        self._read = read
        self.address = at
        self._order = ">" if byte_order == "big" else "<"
        self._swap = int(byte_order != sys.byteorder)
        head = struct.unpack(self._order + _HEADER, read(at, HEADER_SIZE))
        signature, version, _, length, types, self._types_size, strings, self._strings_size = head
        end = length + max(types + self._types_size, strings + self._strings_size)
        if (signature, version) != (_MAGIC, 1) or length < HEADER_SIZE:
            raise KernelError("no BTF section where it should be", offset=at)
        if end > (_SIZE_MOST if size is None else min(size, _SIZE_MOST)) or not self._types_size * self._strings_size:
            raise KernelError("the size of the BTF section is implausible", offset=at, found=end)
        self.end, self.strings_offset = end, length + strings
        self._types, self._strings = at + length + types, at + length + strings
        self._marks = (ctypes.c_uint32 * (min(self._types_size // _RECORD, _TYPES_MOST) // _MARKED + 1))()
        self._marked = 0
        self._named: dict[str, list[int]] = {}
        self._known: dict[str, dict[str, tuple[int, int]]] = {}
        self._looks = 0

    def load(self, names: Collection[str]) -> None:
        """Find the structures, unions, enumerations and typedefs ``names``; only these are known afterwards."""
        offsets = self._string_offsets(names)
        self._named = {name: [] for name in names}
        wanted = KeySet(offsets)
        out = (ctypes.c_uint64 * (3 + 2 * _ROOM))()
        at, number, size = 0, 1, _PIECE
        while at < self._types_size:
            piece = bytearray(self._piece(self._types, at, self._types_size, size))
            hits = match_types(
                address_of(piece), len(piece), at, number, self._swap, wanted.address, ctypes.addressof(self._marks),
                len(self._marks), ctypes.addressof(out), _ROOM,
            )  # fmt: skip
            for i in range(hits):
                place = out[4 + 2 * i]
                namesakes = self._named[offsets[self._u32(piece, place - at)]]
                if len(namesakes) < _NAMESAKES_MOST:
                    namesakes.append(place)
            stuck = out[1] == at and hits < _ROOM
            if stuck and not out[2] and size < _RECORD_MOST:
                size = _RECORD_MOST
                continue
            if out[2] or stuck:
                raise KernelError("a type's record in the BTF section is damaged", offset=self._types + out[1])
            number, at, size = out[0], out[1], _PIECE
        self._marked = number

    def _piece(self, start: int, at: int, end: int, size: int = _PIECE) -> bytes:
        return read_some(self._read, start + at, min(size + _MARKED * _RECORD, end - at), needed=True)

    def _u32(self, data: bytes | bytearray, at: int) -> int:
        return int(struct.unpack_from(self._order + "I", data, at)[0])

    def _string_offsets(self, names: Collection[str]) -> dict[int, str]:
        """Offsets of ``names`` among the strings, which are unique."""
        by_hash = {hash_name(name.encode()): name for name in names}
        wanted = KeySet(by_hash)
        out = (ctypes.c_uint64 * (1 + 2 * _ROOM))()
        found: dict[int, str] = {}
        at = 0
        while at < self._strings_size and len(found) < len(by_hash):
            piece = bytearray(self._piece(self._strings, at, self._strings_size))
            hits = match_strings(address_of(piece), len(piece), wanted.address, ctypes.addressof(out), _ROOM)
            for i in range(hits):
                name, place = by_hash[out[1 + 2 * i]], out[2 + 2 * i]
                if piece.startswith(name.encode() + b"\0", place):
                    found[at + place] = name
            if out[0] == 0:
                raise KernelError("a string in the BTF section has no end", offset=self._strings + at)
            at += out[0]
        return found

    def _string(self, offset: int) -> str:
        if offset >= self._strings_size:
            raise KernelError("a name in the BTF section is not among its strings", found=offset)
        data = self._read(self._strings + offset, min(_STRING_MOST, self._strings_size - offset))
        return data.partition(b"\0")[0].decode("ascii", "replace")

    def _type_at(self, place: int) -> _Type:
        return self._type_in(self._read(self._types + place, _RECORD), 0, place)

    def _type_in(self, data: bytes, at: int, place: int) -> _Type:
        name, info, size = struct.unpack_from(self._order + "III", data, at)
        return _Type(name, info >> 24 & 31, info & 0xFFFF, bool(info >> 31), size, place + _RECORD)

    def _type(self, number: int) -> _Type:
        """Type ``number``, without typedefs and qualifiers."""
        for _ in range(_DEPTH):
            if not 0 < number < self._marked:
                break
            found = self._type_at(self._place(number))
            if found.kind not in (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG):
                return found
            number = found.size
        raise KernelError("a type in the BTF section refers to nothing", found=number)

    def _place(self, number: int) -> int:
        # Type 0, void, has no record.
        behind = number % _MARKED if number >= _MARKED else number - 1
        place: int = self._marks[number // _MARKED]
        start = place
        data = self._read(self._types + start, min(_NEAR, self._types_size - start))
        for _ in range(behind):
            if place + _RECORD > start + len(data):
                start, data = place, self._read(self._types + place, min(_NEAR, self._types_size - place))
            one = self._type_in(data, place - start, place)
            place += _FIXED.get(one.kind, _RECORD) + _EACH.get(one.kind, 0) * one.count
        return place

    def _look(self) -> None:
        """Count a member or enumerator, to bound the work on a damaged section."""
        self._looks += 1
        if self._looks > _LOOKS_MOST:
            raise KernelError("the types in the BTF section have more members than a kernel's", expected=_LOOKS_MOST)

    def _members(self, one: _Type, base: int = 0, within: tuple[int, ...] = ()) -> Iterator[tuple[str, int, int]]:
        """Yield name, offset in bits and number of the type of each member, those of unnamed members included.

        ``within``: the enclosing structures.
        """
        if one.extra in within or len(within) > _DEPTH:
            raise KernelError("a structure in the BTF section is nested in itself, or too deeply", offset=one.extra)
        data = self._read(self._types + one.extra, one.count * 12)
        for at in range(0, len(data), 12):
            self._look()
            name, number, offset = struct.unpack_from(self._order + "III", data, at)
            offset = base + (offset & 0xFFFFFF if one.flag else offset)
            if name:
                yield self._string(name), offset, number
            else:
                inner = self._type(number)
                if inner.kind in (_STRUCT, _UNION):
                    yield from self._members(inner, offset, (*within, one.extra))

    def _structures(self, name: str) -> Iterator[_Type]:
        for place in self._named.get(name, ()):
            found = self._type_at(place)
            if found.kind == _TYPEDEF:
                found = self._type(found.size)
            if found.kind in (_STRUCT, _UNION):
                yield found

    def knows(self, name: str) -> bool:
        """True if the type ``name`` exists."""
        return bool(self._named.get(name))

    def size(self, name: str) -> int | None:
        return next((one.size for one in self._structures(name)), None)

    def offset(self, structure: str, member: str) -> int | None:
        found = self._member(structure, member)
        return None if found is None or found[0] % 8 else found[0] // 8

    def length(self, structure: str, member: str) -> int | None:
        found = self._member(structure, member)
        array = self._type(found[1]) if found is not None else None
        if array is None or array.kind != _ARRAY:
            return None
        return self._u32(self._read(self._types + array.extra, 12), 8)

    def _member(self, structure: str, member: str) -> tuple[int, int] | None:
        if structure not in self._known:
            known: dict[str, tuple[int, int]] = {}
            for one in self._structures(structure):
                for name, offset, number in self._members(one):
                    known.setdefault(name, (offset, number))
            self._known[structure] = known
        return self._known[structure].get(member)

    def enumerators(self, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for place in self._named.get(name, ()):
            one = self._type_at(place)
            if one.kind in (_ENUM, _ENUM64):
                wide = one.kind == _ENUM64
                data = self._read(self._types + one.extra, one.count * (12 if wide else 8))
                for at, *words in struct.iter_unpack(self._order + ("III" if wide else "II"), data):
                    self._look()
                    value = sum(word << 32 * i for i, word in enumerate(words))
                    bits = 32 * len(words)
                    found.setdefault(self._string(at), value - (1 << bits) if one.flag and value >> bits - 1 else value)
        return found
