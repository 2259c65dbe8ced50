"""Types of a kernel, from the DWARF sections of its vmlinux file: for kernels that have no BTF.

Format: DWARF version 5, chapter 5 and section 7.5. The types that matter are in a few source files of the kernel, whose
units are found by their names. What is in none of them is looked for where its name is used. So of several hundred
megabytes a few are read.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import FormatError
from vmsieve.filters.linux.debuginfo.dwarf_forms import leb128
from vmsieve.filters.linux.debuginfo.dwarf_units import NAME, Unit, Units

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from vmsieve.filters.linux.debuginfo.dwarf_units import Entry
    from vmsieve.filters.linux.debuginfo.elf_sections import Section

__all__ = ["Dwarf"]

#: Where the kernel makes VMCOREINFO, or uses what it is about; v6.9 and older, and older than v4.3.
_FILES: Final = (
    "mm/page_alloc.c", "kernel/vmcore_info.c", "kernel/crash_core.c", "kernel/kexec_core.c", "kernel/kexec.c",
    "kernel/printk/printk.c", "kernel/printk.c", "kernel/printk/printk_ringbuffer.c", "mm/hugetlb.c", "mm/sparse.c",
    "init/version.c",
)  # fmt: skip
#: What every kernel has: what is in none of these files is looked for elsewhere. Other types a kernel may lack.
_ALWAYS: Final = ("page", "pageflags", "zone", "free_area", "list_head", "uts_namespace")
#: Units read beside these, and places that a name may be at among the strings.
_OTHERS_MOST: Final = 32
_PLACES_MOST: Final = 64
_PIECE: Final = 4 << 20
_STRINGS_MOST: Final = 64 << 20
_DEPTH: Final = 16

_ARRAY, _ENUM, _MEMBER, _STRUCT, _TYPEDEF, _UNION, _SUBRANGE = 0x01, 0x04, 0x0D, 0x13, 0x16, 0x17, 0x21
_ENUMERATOR, _CONST, _VOLATILE, _RESTRICT, _ATOMIC = 0x28, 0x26, 0x35, 0x37, 0x47
_IMPORTED: Final = 0x3D
_NAMED: Final = (_STRUCT, _UNION, _ENUM, _TYPEDEF)
_BEHIND: Final = (_TYPEDEF, _CONST, _VOLATILE, _RESTRICT, _ATOMIC)
#: Attributes.
_BYTE_SIZE, _CONST_VALUE, _UPPER_BOUND, _COUNT, _LOCATION, _DECLARATION, _TYPE = (
    0x0B,
    0x1C,
    0x2F,
    0x37,
    0x38,
    0x3C,
    0x49,
)
_BIT_OFFSET, _BIT_SIZE, _DATA_BIT_OFFSET, _IMPORT = 0x0C, 0x0D, 0x6B, 0x18
#: DW_OP_plus_uconst: how version 2 gives a member's offset.
_PLUS: Final = 0x23


class Dwarf:
    """The types ``names`` of a kernel; others are not known.

    Args:
        section: Gives a section by its name; one of no bytes where there is no such section.
        order: ``"little"`` or ``"big"``: of the numbers in it.
        file: What errors are said to be in.
        names: Of structures, unions, enumerations and named types.

    Raises:
        FormatError: The sections are damaged.
    """

    def __init__(self, section: Callable[[str], Section], order: str, file: str, names: Collection[str]) -> None:
        self._units = Units(section, order, file)
        self._order = ">" if order == "big" else "<"
        self._starts: list[int] = []
        self._by_file: dict[str, Unit] = {}
        self._found: dict[str, tuple[Unit, Entry]] = {}
        self._left = set(names)
        self._last: Unit | None = None
        self._list_units()
        for name in _FILES:
            if name in self._by_file and self._left:
                self._take(self._by_file[name])
        for unit in self._others():
            self._take(unit)

    def _list_units(self) -> None:
        for unit in self._units:
            self._starts.append(unit.start)
            try:
                name = unit.name(unit.top())
            except FormatError:
                continue  # of no use, and no harm
            known = next((file for file in _FILES if f"/{name}".endswith(f"/{file}")), None)
            if known is not None:
                self._by_file.setdefault(known, unit)

    def _unit_of(self, at: int) -> Unit:
        number = bisect_right(self._starts, at) - 1
        if number < 0:
            raise self._units.error("a DWARF reference leads nowhere", at)
        if self._last is None or self._last.start != self._starts[number]:
            self._last = Unit(self._units, self._starts[number])
        return self._last

    def _take(self, unit: Unit, depth: int = 0) -> None:
        """Note what of that which is still missing the unit, or one that it is made of, defines."""
        for entry in unit.children(unit.top()):
            if entry.tag in _NAMED and NAME in entry.values and _DECLARATION not in entry.values:
                name = unit.name(entry)
                if name in self._left:
                    self._left.discard(name)
                    self._found[name] = (unit, entry)
                    if not self._left:
                        return
            elif entry.tag == _IMPORTED and depth < _DEPTH and (at := entry.number(_IMPORT)) is not None:
                self._take(self._unit_of(at), depth + 1)

    def _others(self) -> Iterator[Unit]:
        """Units that use the names which are missing, if they are among the strings at all."""
        if not self._left & set(_ALWAYS):
            return
        strings = self._units.section(".debug_str").at(0, _STRINGS_MOST)
        seen: set[int] = set()
        for name in sorted(self._left & set(_ALWAYS)):
            places = [match.start() for match in re.finditer(re.escape(name.encode()) + b"\0", strings)]
            for at in self._uses(places[:_PLACES_MOST]):
                number = bisect_right(self._starts, at) - 1
                if number >= 0 and number not in seen and len(seen) < _OTHERS_MOST:
                    seen.add(number)
                    yield Unit(self._units, self._starts[number])
                if name not in self._left or len(seen) >= _OTHERS_MOST:
                    break

    def _uses(self, places: list[int]) -> Iterator[int]:
        """Where in ``.debug_info`` offsets of strings may be."""
        if not places:
            return
        wanted = re.compile(b"|".join(re.escape(struct.pack(self._order + "I", place)) for place in places))
        info = self._units.section(".debug_info")
        for start in range(0, info.size, _PIECE):
            for match in wanted.finditer(info.at(start, _PIECE + 3)):
                yield start + match.start()

    def _type(self, unit: Unit, entry: Entry) -> tuple[Unit, Entry] | None:
        """What an entry's type is, behind any names and qualifiers of it; None: void."""
        for _ in range(_DEPTH):
            at = entry.number(_TYPE)
            if at is None:
                return None
            if not unit.first <= at < unit.end:
                unit = self._unit_of(at)
            following = unit.entry(at)
            if following is None:
                break
            entry = following
            if entry.tag not in _BEHIND:
                return unit, entry
        raise self._units.error("a type in DWARF leads nowhere", entry.at)

    def _structure(self, name: str) -> tuple[Unit, Entry] | None:
        found = self._found.get(name)
        if found is not None and found[1].tag == _TYPEDEF:
            found = self._type(*found)
        return found if found is not None and found[1].tag in (_STRUCT, _UNION) else None

    def _members(
        self, unit: Unit, entry: Entry, base: int = 0, depth: int = 0
    ) -> Iterator[tuple[str, int, Entry, Unit]]:
        """Members with their offsets in bytes; those of members without a name among them."""
        for member in unit.children(entry):
            if member.tag != _MEMBER or member.values.keys() & {_BIT_SIZE, _BIT_OFFSET, _DATA_BIT_OFFSET}:
                continue
            at = base + self._location(member)
            name = unit.name(member)
            if name:
                yield name, at, member, unit
            elif (
                depth < _DEPTH and (inner := self._type(unit, member)) is not None and inner[1].tag in (_STRUCT, _UNION)
            ):
                yield from self._members(*inner, at, depth + 1)

    def _location(self, member: Entry) -> int:
        value = member.values.get(_LOCATION, (0, 0))[1]
        if isinstance(value, bytes):
            if value[:1] != bytes((_PLUS,)):
                raise self._units.error("a member's offset has a form that is not known", member.at)
            try:
                value, _ = leb128(value, 1)
            except IndexError:
                raise self._units.error("a member's offset has no end", member.at) from None
        return int(value)

    def _member(self, structure: str, member: str) -> tuple[str, int, Entry, Unit] | None:
        found = self._structure(structure)
        return None if found is None else next((one for one in self._members(*found) if one[0] == member), None)

    def knows(self, name: str) -> bool:
        """Is there a structure, or an enumeration, called ``name``?"""
        return name in self._found

    def size(self, name: str) -> int | None:
        """Bytes of the structure ``name``."""
        found = self._structure(name)
        return None if found is None else found[1].number(_BYTE_SIZE)

    def offset(self, structure: str, member: str) -> int | None:
        """Offset in bytes of a member, which may be one of an unnamed member."""
        found = self._member(structure, member)
        return None if found is None else found[1]

    def length(self, structure: str, member: str) -> int | None:
        """How many elements a member has that is an array."""
        found = self._member(structure, member)
        array = self._type(found[3], found[2]) if found is not None else None
        if array is None or array[1].tag != _ARRAY:
            return None
        for bound in array[0].children(array[1]):
            if bound.tag == _SUBRANGE:
                last, count = bound.number(_UPPER_BOUND), bound.number(_COUNT)
                return count if count is not None else None if last is None else last + 1
        return None

    def enumerators(self, name: str) -> dict[str, int]:
        """Names and values of the enumeration ``name``; none if it is not there."""
        found = self._found.get(name)
        if found is not None and found[1].tag == _TYPEDEF:
            found = self._type(*found)
        if found is None or found[1].tag != _ENUM:
            return {}
        unit, entry = found
        values = ((unit.name(one), one.number(_CONST_VALUE)) for one in unit.children(entry) if one.tag == _ENUMERATOR)
        return {label: value for label, value in values if value is not None}
