"""A linker for code without dependencies: one object file in, one shared object out.

The build must not need a C toolchain per target, and the task is small: the loops' object files hold
position-independent code, some constants and zero-initialised words, and refer to no library. Linking is then: place
the sections, resolve the relocations among them, and add the ELF structures that ``dlopen`` requires (dynamic section,
symbol table, hash table). Layouts are those of the System V ABI; numbers are from ``elf.h``. An unknown relocation is
an error, never skipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vmsieve.formats.slim.typing import Final

_PAGE: Final = 0x10000  # the largest page size of the targets
_CODE_PAGE: Final = 0x1000  # unit of page-relative instructions (ADRP, PCALAU12I)
_DYNAMIC_SIZE: Final = 96  # 6 entries of 16 bytes
_EM_S390, _EM_PPC64, _EM_AARCH64 = 22, 21, 183
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 1, 2, 4, 8
_SHF_WRITE, _SHF_ALLOC = 1, 2
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT = 4, 5, 6, 10, 11

# Relocations, by (machine, type).
_PC_RELATIVE_32: Final = {(62, 2), (62, 4), (22, 19), (22, 20)}  # R_X86_64_PC32, _PLT32, R_390_PC32DBL, _PLT32DBL
_RISCV_UPPER, _RISCV_LOWER = (243, 23), (243, 24)  # R_RISCV_PCREL_HI20 and _LO12_I
_PPC_TOC: Final = {252: 16, 250: 0}  # R_PPC64_REL16_HA and _LO: halves of the distance to the table of contents
_PPC_FROM_TOC: Final = {50: 16, 48: 0}  # R_PPC64_TOC16_HA and _LO: halves of the distance from there
# R_AARCH64_ADR_PREL_PG_HI21 and _ADD_ABS_LO12_NC, R_LARCH_PCALA_HI20 and _LO12: distance in pages, offset in the page.
_UPPER_PAGES: Final = {(183, 275), (258, 71)}
_LOWER_PAGES: Final = {(183, 277), (258, 72)}


class LinkError(ValueError):
    """The object file needs something that a shared object without libraries can't provide."""


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int
    size: int
    bound: int


class _Object:
    """A parsed object file. ``order`` is its byte order as a :mod:`struct` prefix."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[5] == 1 else ">"
        self.machine, self.flags = self.read("H", 18)[0], self.read("I", 48)[0]
        headers, count, names = self.read("Q", 40)[0], *self.read("HH", 60)
        raw = [self.read("IIQQQQIIQQ", headers + 64 * i) for i in range(count)]
        base = raw[names][4]
        self.sections = [
            _Section(self.text(base + r[0]), r[1], r[2], r[4], r[5], r[6], r[7], max(r[8], 1)) for r in raw
        ]
        table = next(s for s in self.sections if s.kind == _SHT_SYMTAB)
        strings = self.sections[table.link].offset
        raw = [self.read("IBBHQQ", table.offset + 24 * i) for i in range(table.size // 24)]
        self.symbols = [_Symbol(self.text(strings + r[0]), r[3], r[4], r[5], r[1] >> 4) for r in raw]

    def read(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + layout, self.data, offset)

    def text(self, offset: int) -> str:
        return self.data[offset : self.data.index(b"\0", offset)].decode()


def shared_object(data: bytes, exports: list[str]) -> bytes:
    """Link the object file ``data``; the functions ``exports`` can be found by name.

    Raises LinkError if it refers to an undefined symbol, or has data that would need relocating.
    """
    obj = _Object(data)
    code, bases, own = _place(obj)
    for section in obj.sections:
        if section.kind == _SHT_RELA and section.info in bases:
            _relocate(obj, section, code, bases)
    functions = {s.name: s for s in obj.symbols if s.bound == 1 and s.section in bases}
    missing = [name for name in exports if name not in functions]
    if missing:
        raise LinkError(f"no code for {', '.join(missing)}")
    places = [(name, bases[functions[name].section] + functions[name].value, functions[name].size) for name in exports]
    return _wrap(obj, bytes(code), own, places)


def _place(obj: _Object) -> tuple[bytearray, dict[int, int], int]:
    """Concatenate the loaded sections; also return each one's base, and bytes of zeroed sections.

    Zeroed sections are the only writable ones and lie behind the dynamic section; see :func:`_wrap`. Initialised
    writable data is refused: nobody relocates it at run time. Unwind tables and notes are dropped: no exception passes
    through a loop.
    """
    code, bases, zeros = bytearray(), {}, []
    for i, section in enumerate(obj.sections):
        if not section.flags & _SHF_ALLOC or not section.size or section.name.startswith((".eh_frame", ".note")):
            continue
        if section.flags & _SHF_WRITE and section.kind == _SHT_NOBITS:
            zeros.append(i)
            continue
        if section.flags & _SHF_WRITE or section.kind == _SHT_NOBITS:
            raise LinkError(f"the code has writable data ({section.name})")
        code += bytes(-len(code) % max(section.align, 64))
        bases[i] = len(code)
        code += obj.data[section.offset : section.offset + section.size]
    at = start = -(-len(code) // 16) * 16 + _PAGE + _DYNAMIC_SIZE
    for i in zeros:
        bases[i] = at
        at += -(-obj.sections[i].size // 16) * 16
    return code, bases, at - start


def _relocate(obj: _Object, section: _Section, code: bytearray, bases: dict[int, int]) -> None:
    upper: dict[int, int] = {}  # RISC-V: distance by address of the AUIPC that takes its upper part
    lower: list[tuple[int, int]] = []
    for i in range(section.size // 24):
        offset, info, addend = struct.unpack_from(obj.order + "QQq", obj.data, section.offset + 24 * i)
        kind, symbol = info & 0xFFFFFFFF, obj.symbols[info >> 32]
        place = bases[section.info] + offset
        if obj.machine == _EM_PPC64 and kind in _PPC_TOC and symbol.name == ".TOC.":
            # The prologue sets r2 to the table of contents. It has no entries, so any address serves: 0.
            _add_half(obj, code, place, addend - place, _PPC_TOC[kind])
            continue
        if symbol.section not in bases:
            raise LinkError(f"the code refers to {symbol.name or obj.sections[symbol.section].name}")
        distance = bases[symbol.section] + symbol.value + addend - place
        if (obj.machine, kind) in _PC_RELATIVE_32:
            struct.pack_into(obj.order + "i", code, place, distance >> (obj.machine == _EM_S390))
        elif (obj.machine, kind) == _RISCV_UPPER:
            upper[place] = distance
        elif (obj.machine, kind) == _RISCV_LOWER:
            # Its symbol is not the target but the AUIPC, which may come later in the table: resolved below.
            lower.append((place, place + distance))
        elif (obj.machine, kind) in _UPPER_PAGES | _LOWER_PAGES:
            _set_page(obj, code, place, place + distance, upper=(obj.machine, kind) in _UPPER_PAGES)
        elif obj.machine == _EM_PPC64 and kind in _PPC_FROM_TOC:
            _add_half(obj, code, place, place + distance, _PPC_FROM_TOC[kind])
        else:
            raise LinkError(f"relocation {kind} of machine {obj.machine} against {symbol.name} is not known")
    for place, distance in upper.items():  # + 0x800: the lower part is added as a signed number
        _set_bits(code, place, (distance + 0x800) & 0xFFFFF000, 0xFFFFF000)
    for place, partner in lower:
        _set_bits(code, place, (upper[partner] & 0xFFF) << 20, 0xFFF00000)


def _set_bits(code: bytearray, place: int, value: int, mask: int) -> None:
    (word,) = struct.unpack_from("<I", code, place)
    struct.pack_into("<I", code, place, word & ~mask | value)


def _set_page(obj: _Object, code: bytearray, place: int, goal: int, *, upper: bool) -> None:
    """Set the page distance (``upper``) or the offset in the page of ``goal`` in the instruction at ``place``."""
    if not upper:
        _set_bits(code, place, (goal % _CODE_PAGE) << 10, 0xFFF << 10)
    elif obj.machine == _EM_AARCH64:
        pages = goal // _CODE_PAGE - place // _CODE_PAGE
        _set_bits(code, place, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5, 3 << 29 | 0x7FFFF << 5)
    else:
        # PCALAU12I: the lower part is added as a signed number, so round to the nearest page.
        pages = (goal + _CODE_PAGE // 2) // _CODE_PAGE - place // _CODE_PAGE
        _set_bits(code, place, (pages & 0xFFFFF) << 5, 0xFFFFF << 5)


def _add_half(obj: _Object, code: bytearray, place: int, value: int, shift: int) -> None:
    half = ((value + 0x8000) >> 16 if shift else value) & 0xFFFF
    struct.pack_into(obj.order + "H", code, place, half)


def _wrap(obj: _Object, code: bytes, own: int, exports: list[tuple[str, int, int]]) -> bytes:
    """Lay out the file: headers, symbols, hash table and code in one read-only segment.

    The dynamic section and ``own`` bytes of zeros are in a second, writable one: ld.so writes to the dynamic section,
    and the zeros are the loops' ``own_word``.
    """
    order = obj.order
    strings, names = b"\0", []
    for name, _, _ in exports:
        names.append(len(strings))
        strings += name.encode() + b"\0"
    symbols_at = 64 + 56 * 4
    strings_at = symbols_at + 24 * (len(exports) + 1)
    hash_at = -(-(strings_at + len(strings)) // 8) * 8
    hash_table = _hash_table(obj, len(exports))
    code_at = -(-(hash_at + len(hash_table)) // _CODE_PAGE) * _CODE_PAGE
    read_only = code_at + len(code)
    dynamic_at = -(-read_only // 16) * 16
    dynamic = struct.pack(
        order + "12Q", _DT_HASH, hash_at, _DT_STRTAB, strings_at, _DT_SYMTAB, symbols_at,
        _DT_STRSZ, len(strings), _DT_SYMENT, 24, 0, 0,
    )  # fmt: skip
    moved = dynamic_at + _PAGE  # another page in memory, congruent to the file offset, as mmap needs it
    segments = [
        (_PT_LOAD, 5, 0, 0, 0, read_only, read_only, _PAGE),
        (_PT_LOAD, 6, dynamic_at, moved, moved, len(dynamic), len(dynamic) + own, _PAGE),
        (_PT_DYNAMIC, 6, dynamic_at, moved, moved, len(dynamic), len(dynamic), 8),
        (_PT_GNU_STACK, 6, 0, 0, 0, 0, 0, 16),
    ]
    identity = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    header = identity + struct.pack(
        order + "HHIQQQIHHHHHH", 3, obj.machine, 1, 0, 64, 0, obj.flags, 64, 56, len(segments), 64, 0, 0
    )
    out = bytearray(dynamic_at + len(dynamic))
    for i, segment in enumerate(segments):
        struct.pack_into(order + "IIQQQQQQ", out, 64 + 56 * i, *segment)
    for i, (_, value, size) in enumerate(exports):
        # STB_GLOBAL, STT_FUNC; any section index but 0 (undefined) will do, as there is no section table.
        entry = (names[i], 0x12, 0, 1, code_at + value, size)
        struct.pack_into(order + "IBBHQQ", out, symbols_at + 24 * (i + 1), *entry)
    parts = (0, header), (strings_at, strings), (hash_at, hash_table), (code_at, code), (dynamic_at, dynamic)
    for at, part in parts:
        out[at : at + len(part)] = part
    return bytes(out)


def _hash_table(obj: _Object, count: int) -> bytes:
    """A DT_HASH table with one bucket: a chain through all symbols. Its words have 64 bits on s390x alone."""
    word = "Q" if obj.machine == _EM_S390 else "I"
    chain = [i + 1 if i < count else 0 for i in range(1, count + 1)]
    return struct.pack(f"{obj.order}{4 + count}{word}", 1, count + 1, 1 if count else 0, 0, *chain)
