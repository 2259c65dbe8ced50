"""DWARF's units of compilation, read one entry at a time: versions 2 to 5, of 32 and 64 bits, in either byte order.

Format: DWARF Debugging Information Format, version 5, sections 7.4 and 7.5; version 4 for what changed. A vmlinux file
has a hundred megabytes and more of it. Of most units only the header and the first entry are read, which has the unit's
name; of the others one is held at a time. Attributes are not told apart here: an entry is its tag, and values by their
numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmsieve.formats.errors import FormatError
from vmsieve.formats.slim.records import record
from vmsieve.filters.linux.debuginfo.dwarf_forms import (
    ADDRESS,
    BLOCKS,
    FLAG_PRESENT,
    IMPLICIT_CONST,
    LEB,
    LINE_STRP,
    OFFSET,
    REF_ADDR,
    REFERENCES,
    SDATA,
    SIZES,
    STRING,
    STRP,
    STRX,
    Abbreviations,
    leb128,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmsieve.filters.linux.debuginfo.elf_sections import Section

__all__ = ["NAME", "Entry", "Unit", "Units"]

#: The attributes that matter to reading itself.
_SIBLING, NAME, _STRING_OFFSETS_BASE = 0x01, 0x03, 0x72

#: Bounds. A kernel built with everything has 40,000 units, of a few megabytes at most.
_UNITS_MOST: Final = 1 << 17
_UNIT_MOST: Final = 32 << 20
_LOADED_MOST: Final = 256 << 20
_ENTRIES_MOST: Final = 1 << 20
_STRING_MOST: Final = 512
#: Read of a unit at first, and what an entry has at most to be read of that.
_HEAD: Final = 1024
_ENTRY_MOST: Final = 512
_TABLES_KEPT: Final = 4


@record(frozen=True, eq=False)
class Entry:
    """A debugging information entry.

    Attributes:
        at: Where in ``.debug_info`` it is.
        end: What follows it: its first child, if it has any.
        tag: Its kind.
        children: May it have children?
        values: By attribute, the form and what it holds: a number, or the bytes of a block or string. References are
            offsets in ``.debug_info``.
    """

    at: int
    end: int
    tag: int
    children: bool
    values: dict[int, tuple[int, Any]]

    def number(self, attribute: int) -> int | None:
        """The value of an attribute that is a number; None where it is missing or none."""
        found = self.values.get(attribute, (0, None))[1]
        return found if isinstance(found, int) else None


class Unit:
    """A unit: the entries ``first .. end`` of ``.debug_info``."""

    def __init__(self, units: Units, start: int) -> None:
        self._units, self.start = units, start
        self._data = data = units.section(".debug_info").at(start, _HEAD)
        length, at, offset_size = units.number(data[:4]), 4, 4
        if length == 0xFFFFFFFF:
            length, at, offset_size = units.number(data[4:12]), 12, 8
        self.end = start + at + length
        version, at = units.number(data[at : at + 2]), at + 2
        if not 2 <= version <= 5 or self.end > units.section(".debug_info").size:
            raise units.error("no header of a DWARF unit that is known", start, found=version)
        # Version 5: kind, size of an address, abbreviations; before, the kind is not there, and the size comes last.
        kind, address_size = (data[at : at + 1], data[at + 1 : at + 2]) if version >= 5 else (b"", b"")
        at += len(kind) + len(address_size)
        abbreviations, at = units.number(data[at : at + offset_size]), at + offset_size
        if version < 5:
            address_size, at = data[at : at + 1], at + 1
        # Of a type unit: its signature, and where its type is; of a skeleton: its number.
        at += {b"\2": 8 + offset_size, b"\6": 8 + offset_size, b"\4": 8, b"\5": 8}.get(kind, 0)
        self.first = start + at
        self._offset_size = offset_size
        address = units.number(address_size)
        fixed = {OFFSET: offset_size, ADDRESS: address}
        sizes = {form: fixed.get(size, size) for form, size in SIZES.items()}
        sizes[REF_ADDR] = address if version == 2 else offset_size
        self._kinds = units.abbreviations(abbreviations, (offset_size, address, version == 2), sizes)
        self._strings_base: int | None = None

    def top(self) -> Entry:
        """The unit's own entry."""
        found = self.entry(self.first)
        if found is None:
            raise self._units.error("a DWARF unit has no entry", self.first)
        return found

    def entry(self, at: int) -> Entry | None:
        """The entry at ``at``; None where a list of entries ends."""
        if not self.first <= at < self.end:
            raise self._units.error("a DWARF entry lies outside of its unit", at)
        self._units.count()
        if at - self.start + _ENTRY_MOST > len(self._data) < self.end - self.start:
            self._data = self._units.load(self.start, self.end - self.start)
        try:
            return self._entry(at - self.start)
        except IndexError:
            raise self._units.error("a DWARF entry ends early", at) from None

    def _entry(self, begin: int) -> Entry | None:
        data = self._data
        if data[begin] == 0:
            return None
        _, at = leb128(data, begin)
        tag, children, attributes = self._kinds.get(data[begin:at])
        order = self._units.order
        values: dict[int, tuple[int, Any]] = {}
        for attribute, form, size in attributes:
            value: int | bytes
            if form == IMPLICIT_CONST:
                value = size
            elif size > 0:
                value = int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]
                at += size
            elif size == LEB:
                value, at = leb128(data, at)
            else:
                value, at = self._other(form, at)
            values[attribute] = (form, self.start + value if form in REFERENCES else value)  # type: ignore[operator]
        if at > len(data):
            raise IndexError
        return Entry(self.start + begin, self.start + at, tag, children, values)

    def _other(self, form: int, at: int) -> tuple[int | bytes, int]:
        data = self._data
        if form in BLOCKS:
            size = BLOCKS[form]
            length, at = (self._units.number(data[at : at + size]), at + size) if size > 0 else leb128(data, at)
            return data[at : at + length], at + length
        if form == STRING:
            end = data.find(b"\0", at)
            if end < 0:
                raise IndexError
            return data[at:end], end + 1
        if form == SDATA:
            return leb128(data, at, signed=True)
        if form == FLAG_PRESENT:
            return 1, at
        raise self._units.error("an attribute has a form that is not known", self.start + at, found=form)

    def name(self, entry: Entry) -> str:
        """The entry's name; empty if it has none."""
        form, value = entry.values.get(NAME, (0, b""))
        if form in STRX:
            if self._strings_base is None:
                base = self.top().number(_STRING_OFFSETS_BASE)
                self._strings_base = 2 * self._offset_size if base is None else base
            at = self._strings_base + value * self._offset_size
            value = self._units.number(self._units.section(".debug_str_offsets").at(at, self._offset_size))
            form = STRP
        if form in (STRP, LINE_STRP):
            value = self._units.string(".debug_str" if form == STRP else ".debug_line_str", value)
        return value.decode("ascii", "replace") if isinstance(value, bytes) else ""

    def children(self, entry: Entry) -> Iterator[Entry]:
        """The children of ``entry``, without theirs."""
        at, depth = entry.end, 0
        while entry.children:
            child = self.entry(at)
            if child is None:
                at += 1
                depth -= 1
                if depth < 0:
                    return
                continue
            if depth == 0:
                yield child
            at = child.end
            if child.children:
                sibling = child.number(_SIBLING)
                if sibling is None:
                    depth += 1
                elif sibling > at:
                    at = sibling
                else:
                    raise self._units.error("a DWARF entry's sibling lies before its end", child.at, found=sibling)


class Units:
    """All units of a file.

    Args:
        section: Gives a section by its name; one of no bytes where there is no such section.
        order: ``"little"`` or ``"big"``.
        file: What errors are said to be in.
    """

    def __init__(self, section: Callable[[str], Section], order: str, file: str) -> None:
        self._get, self.order, self._file = section, order, file
        self._sections: dict[str, Section] = {}
        self._tables: dict[tuple[int, object], Abbreviations] = {}
        self._entries = self._loaded = 0

    def section(self, name: str) -> Section:
        """A section."""
        if name not in self._sections:
            self._sections[name] = self._get(name)
        return self._sections[name]

    def error(self, message: str, at: int, found: object = None) -> FormatError:
        """What is wrong, at offset ``at`` of a section."""
        return FormatError(message, file=self._file, offset=at, found=found)

    def number(self, data: bytes) -> int:
        """``data`` as a number."""
        return int.from_bytes(data, self.order)  # type: ignore[arg-type]

    def string(self, section: str, at: int) -> bytes:
        """The string at ``at``; as much of it as a name may have."""
        return self.section(section).at(at, _STRING_MOST).partition(b"\0")[0]

    def count(self) -> None:
        """One entry more is read, or one kind of them.

        Raises:
            FormatError: They are too many for a kernel's few files.
        """
        self._entries += 1
        if self._entries > _ENTRIES_MOST:
            raise self.error("too many DWARF entries lead to too few types", 0)

    def load(self, at: int, size: int) -> bytes:
        """A whole unit.

        Raises:
            FormatError: It is too large, or too much was loaded before.
        """
        self._loaded += size
        if size > _UNIT_MOST or self._loaded > _LOADED_MOST:
            raise self.error("a DWARF unit is too large, or too many lead to too few types", at, found=size)
        return self.section(".debug_info").at(at, size)

    def abbreviations(self, at: int, key: object, sizes: dict[int, int]) -> Abbreviations:
        """The abbreviations at ``at`` with forms of such ``sizes``, which ``key`` stands for; the last few are kept."""
        if (at, key) not in self._tables:
            while len(self._tables) >= _TABLES_KEPT:
                del self._tables[next(iter(self._tables))]
            self._tables[at, key] = Abbreviations(self, at, sizes)
        return self._tables[at, key]

    def __iter__(self) -> Iterator[Unit]:
        """Every unit in turn."""
        at = 0
        for _ in range(_UNITS_MOST):
            if at >= self.section(".debug_info").size:
                return
            unit = Unit(self, at)
            at = unit.end
            yield unit
        raise self.error("too many DWARF units", at)
