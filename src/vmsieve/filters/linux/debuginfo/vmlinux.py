"""VMCOREINFO made from a kernel's vmlinux file, for dumps that lost it.

Symbols are from the ELF symbol table, types from the ``.BTF`` section (since v5.2 with CONFIG_DEBUG_INFO_BTF) or else
from DWARF (CONFIG_DEBUG_INFO; distributions package such files separately). Addresses are link-time addresses: only a
dump has the KASLR offset. pyelftools is imported only if a file is given, as crash kernels lack it.
"""

from __future__ import annotations

import os
import re
import struct
from functools import partial

from vmsieve.filters.linux.btf import Btf
from vmsieve.filters.linux.debuginfo.dwarf import Dwarf
from vmsieve.filters.linux.debuginfo.elf_sections import open_section
from vmsieve.filters.linux.derived_keys import PAGE_TYPES, SYMBOL_NAMES, TYPE_NAMES, VARIABLES, DerivedKeys
from vmsieve.formats.errors import FormatError, ReadError, UsageError, VmsieveError
from vmsieve.formats.slim.contexts import ExitStack
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import BinaryIO

    from vmsieve.filters.linux.derived_keys import Types

#: Members and arrays that this project uses.
_MEMBERS: Final = {
    "page": "flags _refcount mapping lru _mapcount private compound_head compound_info compound_order compound_dtor",
    "folio": "_folio_order _folio_dtor", "mem_section": "section_mem_map", "uts_namespace": "name",
    "list_head": "next prev", "zone": "free_area", "free_area": "free_list", "atomic_long_t": "counter",
    "printk_ringbuffer": "desc_ring text_data_ring fail", "prb_desc_ring": "count_bits descs infos head_id tail_id",
    "prb_desc": "state_var text_blk_lpos", "prb_data_ring": "size_bits data", "prb_data_blk_lpos": "begin next",
    "printk_info": "seq ts_nsec text_len caller_id dev_info", "latched_seq": "val",
    "printk_log": "ts_nsec len text_len dict_len caller_id",
}  # fmt: skip
_LENGTHS: Final = ("zone.free_area", "free_area.free_list")
_FLAGS: Final = (
    "PG_lru", "PG_private", "PG_swapcache", "PG_swapbacked", "PG_slab", "PG_hwpoison", "PG_head_mask", "PG_hugetlb",
)  # fmt: skip
#: Machines whose pages have one size.
_PAGE_SIZES: Final = {"EM_X86_64": 4096, "EM_S390": 4096}
#: struct Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size.
_SYMBOL: Final = "IBBHQQ"
_BANNER: Final = re.compile(rb"Linux version ([!-~]{1,64}) ")
_BANNER_MOST: Final = 256
_NAME_MOST: Final = 256
#: Symbols, their names and BTF are read into memory: a few megabytes each.
_SECTION_MOST: Final = 256 << 20
#: Magic numbers of compressed files, and commands that unpack them.
_PACKED: Final = {
    b"\xfd7zXZ\0": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d", b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d",
    b"\x02\x21\x4c\x18": "lz4 -d", b"\x04\x22\x4d\x18": "lz4 -d",
}  # fmt: skip
#: x86's boot protocol: position of the mark "HdrS" (Documentation/arch/x86/boot.rst).
_BOOT_MARK: Final = slice(0x202, 0x206)
_HINT: Final = "take the vmlinux, not stripped, from the kernel's package of debugging information"


def describe(path: str) -> bytes:
    """Make VMCOREINFO from the vmlinux file at ``path``.

    Raises:
        UsageError: pyelftools is not installed, or the file can't be read.
        FormatError: It is not a vmlinux file with symbols and types.
    """
    try:
        from elftools.elf.elffile import ELFFile
    except ImportError as error:
        raise UsageError("a vmlinux file is read with pyelftools, which is not installed", file=path) from error
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            # Opening a FIFO would block, and it can't seek.
            raise UsageError("a vmlinux file has to be a regular file", file=path)
        with open(path, "rb") as file, ExitStack() as stack:
            _refuse_other(file.read(_BOOT_MARK.stop), path)
            return _Vmlinux(path, file, ELFFile(file), stack).text()
    except OSError as error:
        raise UsageError(f"can't read the vmlinux file: {error.strerror}", file=path) from error
    except VmsieveError:
        raise
    except Exception as error:  # pyelftools raises errors of any kind if the file is damaged
        raise FormatError(f"damaged, or not a vmlinux file: {error!r}", file=path) from error


def _refuse_other(start: bytes, path: str) -> None:
    """Raise FormatError, with a hint, for files that users take for a vmlinux."""
    for mark, command in _PACKED.items():
        if start.startswith(mark):
            raise FormatError("the vmlinux file is compressed", file=path, hint=f"unpack it first: {command}")
    if start[_BOOT_MARK] == b"HdrS" or start[:2] == b"MZ":
        raise FormatError("a bootable kernel (vmlinuz) has no symbols and types", file=path, hint=_HINT)


class _Vmlinux:
    def __init__(self, path: str, file: BinaryIO, elf: Any, stack: ExitStack) -> None:
        self._path, self._file, self._elf = path, file, elf
        self._order = "little" if elf.little_endian else "big"
        self._open = partial(open_section, stack, file, elf, path)

    def _section(self, name: str) -> bytes:
        section = self._open(name, most=_SECTION_MOST)
        if not section.size:
            raise FormatError(f"the file has no section {name}", file=self._path, hint=_HINT)
        return section.at(0, section.size)

    def _symbols(self, names: tuple[str, ...]) -> dict[str, int]:
        texts = self._section(".strtab")
        offsets = {
            match.start(): name for name in names for match in re.finditer(re.escape(name.encode()) + b"\0", texts)
        }
        # A name found may be the end of a longer one: harmless, unless a symbol's name begins there.
        found: dict[str, int] = {}
        table = self._section(".symtab")
        form = (">" if self._order == "big" else "<") + _SYMBOL
        for name, _, _, section, value, _ in struct.iter_unpack(form, table[: len(table) // 24 * 24]):
            if name in offsets and section and value:
                found.setdefault(offsets[name], value)
        return found

    def _types(self) -> Types:
        if self._elf.get_section_by_name(".BTF") is not None:
            types = self._btf()
            if types.knows("page"):
                return types
        dwarf = Dwarf(self._open, self._order, self._path, TYPE_NAMES)
        if not dwarf.knows("page"):
            raise FormatError("neither BTF nor DWARF has a kernel's types", file=self._path, hint=self._elsewhere())
        return dwarf

    def _elsewhere(self) -> str:
        """A hint at the file with the types (``.gnu_debuglink``: its name, and a checksum)."""
        name = self._open(".gnu_debuglink").at(0, _NAME_MOST).partition(b"\0")[0].decode("ascii", "replace")
        return f"they are in another file, {name}" if name else _HINT

    def _btf(self) -> Btf:
        data = self._section(".BTF")

        def read(at: int, size: int) -> bytes:
            if at + size > len(data):
                raise ReadError("the .BTF section ends early", file=self._path, offset=at)
            return data[at : at + size]

        types = Btf(read, self._order, 0, len(data))
        types.load(TYPE_NAMES)
        return types

    def _read(self, vaddr: int, size: int) -> bytes:
        for section in self._elf.iter_sections():
            if section["sh_addr"] and section["sh_addr"] <= vaddr < section["sh_addr"] + section["sh_size"]:
                if section["sh_type"] == "SHT_NOBITS":
                    break
                self._file.seek(section["sh_offset"] + vaddr - section["sh_addr"])
                return self._file.read(size)
        raise ReadError("no such address in the vmlinux file", file=self._path, offset=vaddr)

    def text(self) -> bytes:
        symbols = self._symbols((*SYMBOL_NAMES, "linux_banner"))
        if "linux_banner" not in symbols:
            raise FormatError("the file has no symbol linux_banner", file=self._path, hint=_HINT)
        banner = _BANNER.match(self._read(symbols.pop("linux_banner"), _BANNER_MOST))
        if banner is None:
            raise FormatError("linux_banner lacks the kernel's release", file=self._path)
        release = banner[1].decode("ascii")
        lines = [f"OSRELEASE={release}"]
        if self._elf["e_machine"] in _PAGE_SIZES:
            lines.append(f"PAGESIZE={_PAGE_SIZES[self._elf['e_machine']]}")
        derived = DerivedKeys(symbols, self._read, self._types(), self._order)
        for key in (*(f"SYMBOL({name})" for name in SYMBOL_NAMES), *_keys()):
            value, _ = derived.derive(key, release)
            if value is not None:
                lines.append(f"{key}={value}")
        return "".join(f"{line}\n" for line in lines).encode("ascii")


def _keys() -> list[str]:
    sizes = [f"SIZE({name})" for name in _MEMBERS if name not in ("folio", "zone", "uts_namespace", "atomic_long_t")]
    offsets = [f"OFFSET({name}.{member})" for name, members in _MEMBERS.items() for member in members.split()]
    lengths = [f"LENGTH({name})" for name in _LENGTHS]
    numbers = [f"NUMBER({name})" for name in (*_FLAGS, *PAGE_TYPES, "HUGETLB_PAGE_DTOR") if name not in VARIABLES]
    return [*sizes, *offsets, *lengths, *numbers]
