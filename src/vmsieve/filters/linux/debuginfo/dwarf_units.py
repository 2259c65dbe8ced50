"""The units of a vmlinux file's DWARF that define a kernel's types, read with pyelftools.

To learn a unit's name, pyelftools parses its whole abbreviation table: 34 s and 570 MiB for the 2,172 units of a Debian
kernel. So the names are looked up in the string sections, and ``.debug_info`` is searched for their offsets: 4 s. All
units are parsed only if that finds none, as with clang's DW_FORM_strx.
"""

from __future__ import annotations

import inspect
import re
import struct

from vmsieve.formats.errors import FormatError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from vmsieve.filters.linux.debuginfo.elf_sections import Section

_SECTIONS: Final = ("debug_info", "debug_abbrev", "debug_str", "debug_line_str", "debug_str_offsets")
#: A kernel with 2,000 units takes 0.5 million reads, 6 million if each unit is asked for its name.
_READS_MOST: Final = 1 << 24
_WINDOW: Final = 4096
_PIECE: Final = 4 << 20
_STRINGS_MOST: Final = 64 << 20
_OFFSETS_MOST: Final = 64
#: The name of a unit lies in its first bytes.
_HEAD_MOST: Final = 1024
#: pyelftools keeps what it has parsed, so it starts afresh after as many units.
_UNITS_KEPT: Final = 256


class _Stream:
    """A section as a stream, for pyelftools, which parses no more than a few bytes a read."""

    def __init__(self, section: Section, count: Callable[[], None]) -> None:
        self._section, self._count = section, count
        self._at = self._start = 0
        self._window = b""

    def seek(self, at: int) -> int:
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        self._count()
        begin = self._at - self._start
        if not 0 <= begin <= len(self._window) - size:
            begin, self._start = 0, self._at
            self._window = self._section.at(self._at, _WINDOW)
        data = self._window[begin : begin + size]
        self._at += len(data)
        return data


class DwarfUnits:
    """Finds units. ``section``: opens a section by name; an empty one if the file lacks it."""

    def __init__(self, section: Callable[[str], Section], order: str, file: str) -> None:
        self._order, self._file = order, file
        self._sections = {name: section(f".{name}") for name in _SECTIONS}
        self._reads = 0
        self._info = self._open()

    def _open(self) -> Any:
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

        # Which sections there are parameters for depends on the version of pyelftools.
        arguments: dict[str, Any] = dict.fromkeys(
            name for name in inspect.signature(DWARFInfo).parameters if name.endswith("_sec")
        )
        for name, section in self._sections.items():
            if section.size:
                stream = cast("Any", _Stream(section, self.count))
                arguments[f"{name}_sec"] = DebugSectionDescriptor(stream, name, 0, section.size, 0)
        return DWARFInfo(DwarfConfig(self._order == "little", "", 8), **arguments)

    def count(self) -> None:
        """Count a read, to bound the work on damaged sections."""
        self._reads += 1
        if self._reads > _READS_MOST:
            raise FormatError("too many DWARF entries for a kernel's types", file=self._file)

    def of_files(self, files: Collection[str]) -> list[Any]:
        """The units of the source files ``files`` (``mm/page_alloc.c``), in their order."""
        found: dict[str, Any] = {}
        hits = (unit for at, unit in self.using(files) if at - unit.cu_offset < _HEAD_MOST)
        for units in (hits, self._all()):
            for unit in units:
                name = unit.get_top_DIE().attributes.get("DW_AT_name")
                path = "/" + name.value.decode("ascii", "replace") if name is not None and name.value else ""
                for file in files:
                    if path.endswith(f"/{file}"):
                        found.setdefault(file, unit)
            if found:
                break
        return [found[file] for file in files if file in found]

    def _all(self) -> Iterator[Any]:
        at = number = 0
        while at < self._sections["debug_info"].size:
            if number % _UNITS_KEPT == 0:
                self._info = self._open()
            unit = self._info.get_CU_at(at)
            yield unit
            at += unit.size
            number += 1

    def using(self, names: Collection[str]) -> Iterator[tuple[int, Any]]:
        """Offsets in ``.debug_info`` that may refer to strings with the ends ``names``, and their units."""
        if not self._sections["debug_info"].size:
            return
        offsets: set[int] = set()
        for section in ("debug_str", "debug_line_str"):
            strings = self._sections[section].at(0, _STRINGS_MOST)
            for name in names:
                ends = [match.start() for match in re.finditer(re.escape(name.encode()) + b"\0", strings)]
                for at in ends[:_OFFSETS_MOST]:
                    offsets |= {at, strings.rfind(b"\0", 0, at) + 1}
        if not offsets:
            return
        order = ">" if self._order == "big" else "<"
        pattern = re.compile(b"|".join(re.escape(struct.pack(f"{order}I", offset)) for offset in offsets))
        info = self._sections["debug_info"]
        for start in range(0, info.size, _PIECE):
            for match in pattern.finditer(info.at(start, _PIECE + 3)):
                at = start + match.start()
                yield at, self._info.get_CU_containing(at)
