"""A kernel's types, from the DWARF sections of its vmlinux file: for kernels without BTF.

Format: DWARF version 5, chapter 5 and section 7.5. Only the units of a few source files are parsed, a few megabytes of
several hundred: they use every type that is asked for. Types that every kernel has and that are not there are looked
for in units that use their names.
"""

from __future__ import annotations

import io

from vmsieve.filters.linux.debuginfo.dwarf_units import DwarfUnits
from vmsieve.formats.errors import FormatError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from vmsieve.filters.linux.debuginfo.elf_sections import Section

#: Source files that make VMCOREINFO or use its subjects; v6.9 and older, and older than v4.3.
_FILES: Final = (
    "mm/page_alloc.c", "kernel/vmcore_info.c", "kernel/crash_core.c", "kernel/kexec_core.c", "kernel/kexec.c",
    "kernel/printk/printk.c", "kernel/printk.c", "kernel/printk/printk_ringbuffer.c", "mm/hugetlb.c", "mm/sparse.c",
    "init/version.c",
)  # fmt: skip
#: Types that every kernel has. Others are not looked for in further units: the kernel may lack them.
_ALWAYS: Final = ("page", "pageflags", "zone", "free_area", "list_head", "uts_namespace")
_OTHER_UNITS_MOST: Final = 32
_DEPTH_MOST: Final = 16

_STRUCTURES: Final = ("DW_TAG_structure_type", "DW_TAG_union_type")
_NAMED: Final = (*_STRUCTURES, "DW_TAG_enumeration_type", "DW_TAG_typedef")
_TRANSPARENT: Final = (
    "DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_atomic_type",
)  # fmt: skip
_BIT_FIELD: Final = ("DW_AT_bit_size", "DW_AT_bit_offset", "DW_AT_data_bit_offset")
#: DW_OP_plus_uconst: how version 2 gives a member's offset.
_PLUS: Final = 0x23


def _name(die: Any) -> str:
    found = die.attributes.get("DW_AT_name")
    return found.value.decode("ascii", "replace") if found is not None and found.value else ""


def _number(die: Any, attribute: str) -> int | None:
    found = die.attributes.get(attribute)
    return found.value if found is not None and isinstance(found.value, int) else None


class Dwarf:
    """A kernel's :class:`Types`: the structures, unions, enumerations and typedefs ``names``.

    ``section``: as for :class:`DwarfUnits`. Damaged sections raise FormatError, or any error of pyelftools.
    """

    def __init__(self, section: Callable[[str], Section], order: str, file: str, names: Collection[str]) -> None:
        self._units, self._file = DwarfUnits(section, order, file), file
        self._found: dict[str, Any] = {}
        self._missing = set(names)
        for unit in self._units.of_files(_FILES):
            self._collect(unit.get_top_DIE())
        others: set[int] = set()
        for name in _ALWAYS:
            for _, unit in self._units.using([name] if name in self._missing else []):
                if unit.cu_offset not in others:
                    others.add(unit.cu_offset)
                    self._collect(unit.get_top_DIE())
                if name not in self._missing or len(others) >= _OTHER_UNITS_MOST:
                    break

    def _error(self, message: str, die: Any) -> FormatError:
        return FormatError(message, file=self._file, offset=die.offset)

    def _collect(self, top: Any, depth: int = 0) -> None:
        """Note the missing types that a unit, or one that it imports, defines."""
        if not self._missing:
            return
        for die in self._children(top):
            if die.tag in _NAMED and "DW_AT_declaration" not in die.attributes:
                name = _name(die)
                if name in self._missing:
                    self._missing.discard(name)
                    self._found[name] = die
            elif die.tag == "DW_TAG_imported_unit" and depth < _DEPTH_MOST:
                self._collect(die.get_DIE_from_attribute("DW_AT_import"), depth + 1)

    def _children(self, die: Any) -> Iterator[Any]:
        """The children of an entry; pyelftools' own iterator never ends if a sibling lies before its entry."""
        at, depth = die.offset + die.size, 0
        while die.has_children:
            self._units.count()
            child = die.cu.get_DIE_from_refaddr(at)
            at += child.size
            if child.is_null():
                depth -= 1
                if depth < 0:
                    return
                continue
            if depth == 0:
                yield child
            if child.has_children:
                if "DW_AT_sibling" not in child.attributes:
                    depth += 1
                    continue
                sibling = child.get_DIE_from_attribute("DW_AT_sibling").offset
                if sibling <= child.offset:
                    raise self._error("a DWARF entry's sibling lies before its end", child)
                at = sibling

    def _type(self, die: Any) -> Any:
        """The type of an entry, without typedefs and qualifiers; None for void."""
        for _ in range(_DEPTH_MOST):
            if "DW_AT_type" not in die.attributes:
                return None
            die = die.get_DIE_from_attribute("DW_AT_type")
            if die.tag not in _TRANSPARENT:
                return die
        raise self._error("a DWARF type refers to itself", die)

    def _definition(self, name: str, tags: tuple[str, ...]) -> Any:
        """The entry of the type ``name``, without typedefs, if its tag is one of ``tags``; else None."""
        found = self._found.get(name)
        if found is not None and found.tag == "DW_TAG_typedef":
            found = self._type(found)
        return found if found is not None and found.tag in tags else None

    def _members(self, structure: Any, base: int = 0, depth: int = 0) -> Iterator[tuple[str, int, Any]]:
        """Name, offset in bytes and entry of each member but bit fields, those of unnamed members included."""
        for member in self._children(structure):
            if member.tag != "DW_TAG_member" or any(attribute in member.attributes for attribute in _BIT_FIELD):
                continue
            at = base + self._location(member)
            if name := _name(member):
                yield name, at, member
            elif depth < _DEPTH_MOST and (inner := self._type(member)) is not None and inner.tag in _STRUCTURES:
                yield from self._members(inner, at, depth + 1)

    def _location(self, member: Any) -> int:
        from elftools.common.utils import struct_parse

        if "DW_AT_data_member_location" not in member.attributes:
            return 0
        value = member.attributes["DW_AT_data_member_location"].value
        if isinstance(value, int):
            return value
        if value[:1] != [_PLUS]:
            raise self._error("a member's offset has an unknown form", member)
        return int(struct_parse(member.cu.structs.the_Dwarf_uleb128, io.BytesIO(bytes(value[1:]))))

    def _member(self, structure: str, member: str) -> tuple[str, int, Any] | None:
        found = self._definition(structure, _STRUCTURES)
        return None if found is None else next((one for one in self._members(found) if one[0] == member), None)

    def knows(self, name: str) -> bool:
        """True if the file defines the type ``name``."""
        return name in self._found

    def size(self, name: str) -> int | None:
        found = self._definition(name, _STRUCTURES)
        return None if found is None else _number(found, "DW_AT_byte_size")

    def offset(self, structure: str, member: str) -> int | None:
        found = self._member(structure, member)
        return None if found is None else found[1]

    def length(self, structure: str, member: str) -> int | None:
        found = self._member(structure, member)
        array = self._type(found[2]) if found is not None else None
        if array is None or array.tag != "DW_TAG_array_type":
            return None
        for bound in self._children(array):
            if bound.tag == "DW_TAG_subrange_type":
                last, count = _number(bound, "DW_AT_upper_bound"), _number(bound, "DW_AT_count")
                return count if count is not None else None if last is None else last + 1
        return None

    def enumerators(self, name: str) -> dict[str, int]:
        found = self._definition(name, ("DW_TAG_enumeration_type",))
        if found is None:
            return {}
        values = {_name(one): _number(one, "DW_AT_const_value") for one in self._children(found)}
        return {label: value for label, value in values.items() if value is not None}
