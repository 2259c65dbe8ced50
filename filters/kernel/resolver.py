"""Keys that VMCOREINFO lacks, from what else the dump has: its copy in memory, the kernel's symbols and types.

Nothing is looked for before a key is asked for that kernels of this version export, or, of a text that a user gave or
that is damaged, any key that is known here. A kernel that tells all it should costs nothing.

What is a macro in the kernel's source is in no type: of page types before v6.10, the values that they had (Linux commit
6e292b9be7f4, "mm: split page_type out from _mapcount", v4.18; ca215086b14b, "mm: convert PG_balloon to PG_offline",
v5.0), which kernels that have types to be asked (v5.2 and later) share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError

if TYPE_CHECKING:
    from typing import Callable

    from vmsieve.filters.kernel.arch import Arch
    from vmsieve.filters.kernel.btf import Btf
    from vmsieve.filters.kernel.memory import PhysicalMemory, VirtualMemory

__all__ = ["MEMORY", "SYMBOLS", "TYPES", "WAYS", "Resolver"]

#: Where keys may be from.
MEMORY, SYMBOLS, TYPES = "VMCOREINFO in memory", "the kernel's symbols", "the kernel's types (BTF)"
WAYS: Final = (MEMORY, SYMBOLS, TYPES)

#: Structures that keys are of, and enumerations.
_STRUCTURES: Final = (
    "page", "folio", "zone", "mem_section", "uts_namespace", "list_head", "free_area", "atomic_long_t",
    "printk_ringbuffer", "prb_desc_ring", "prb_desc", "prb_data_ring", "prb_data_blk_lpos", "printk_info",
    "latched_seq", "printk_log",
)  # fmt: skip
_ENUMERATIONS: Final = ("pageflags", "pagetype", "compound_dtor_id")
_SYMBOLS: Final = (
    "init_uts_ns", "init_top_pgt", "init_level4_pgt", "swapper_pg_dir", "mem_section", "mem_map", "prb", "clear_seq",
    "log_buf", "log_buf_len", "log_first_idx", "log_next_idx", "clear_idx", "_stext", "vmcoreinfo_data",
    "__start_BTF", "__stop_BTF",
)  # fmt: skip
#: Numbers that are variables: the symbol, its bytes, and whether it is signed.
_VARIABLES: Final = {
    "phys_base": ("phys_base", 8, True),
    "pgtable_l5_enabled": ("__pgtable_l5_enabled", 4, False),
    "sme_mask": ("sme_me_mask", 8, False),
    "kimage_voffset": ("kimage_voffset", 8, False),
    "PHYS_OFFSET": ("memstart_addr", 8, True),
}
#: The first kernels whose types can be asked. Older ones are not searched: they may rightly lack any key.
_SINCE: Final = (5, 3)
_LATEST: Final = (1 << 16, 0)
#: Page types: the name; the bit that is clear in kernels where it is a macro, if it is known; and the first kernel that
#: exports it.
_PAGE_TYPES: Final = {
    "PAGE_BUDDY_MAPCOUNT_VALUE": ("buddy", 0x80, _SINCE),
    "PAGE_OFFLINE_MAPCOUNT_VALUE": ("offline", 0x100, _SINCE),
    "PAGE_HUGETLB_MAPCOUNT_VALUE": ("hugetlb", 0, (6, 9)),
    "PAGE_SLAB_MAPCOUNT_VALUE": ("slab", 0, (6, 10)),
    "PAGE_UNACCEPTED_MAPCOUNT_VALUE": ("unaccepted", 0, (6, 16)),
}

#: Kernels that export a key, from the first to the last, where that is not all of them; None: not all of any version.
_EXPORTED: Final[dict[str, tuple[tuple[int, int], tuple[int, int]] | None]] = {
    "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)": ((6, 9), _LATEST),
    "NUMBER(PG_hugetlb)": ((6, 6), (6, 8)),
    "NUMBER(HUGETLB_PAGE_DTOR)": (_SINCE, (6, 5)),
    "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)": ((6, 10), _LATEST),
    "NUMBER(PG_slab)": (_SINCE, (6, 9)),
    "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)": None,
    "NUMBER(PG_hwpoison)": None,
    "NUMBER(sme_mask)": None,
    "OFFSET(uts_namespace.name)": ((5, 11), _LATEST),
    "OFFSET(page.compound_order)": (_SINCE, (6, 2)),
    "OFFSET(page.compound_dtor)": (_SINCE, (6, 2)),
    "OFFSET(folio._folio_order)": ((6, 3), (6, 5)),
    "OFFSET(folio._folio_dtor)": ((6, 3), (6, 5)),
    "OFFSET(page.compound_head)": (_SINCE, (7, 0)),
    "OFFSET(page.compound_info)": ((7, 1), _LATEST),
    "OFFSET(printk_info.caller_id)": None,
    "SIZE(latched_seq)": None,
    "SIZE(printk_log)": None,
    "SYMBOL(mem_map)": None,
    "SYMBOL(clear_seq)": None,
    "SYMBOL(clear_idx)": None,
}
#: A string of struct new_utsname; where the first may be in the namespace; and a release.
_FIELD: Final = 65
_BEFORE_NAME: Final = 64
_TEXT_MOST: Final = 64 << 10


class Resolver:
    """Answers what VMCOREINFO does not.

    Args:
        physical: The dump's memory.
        arch: Its machine's.
        info: Its VMCOREINFO, whose missing keys are asked for.
        thorough: Keys that a kernel may rightly lack are looked for too.
        ways: Which of :data:`WAYS` may be asked.

    Attributes:
        memory: The kernel's virtual memory, as soon as it is known: spares a search.
        problems: Sentences on what could not be asked.
    """

    def __init__(
        self, physical: PhysicalMemory, arch: Arch, info: VmcoreInfo, *, thorough: bool,
        ways: tuple[str, ...] = WAYS,
    ) -> None:  # fmt: skip
        self.memory: VirtualMemory | None = None
        self.problems: list[str] = []
        self._physical, self._arch, self._info = physical, arch, info
        self._thorough = thorough
        self._ways = ways
        self._busy = self._opened = False
        self._copy: VmcoreInfo | None = None
        self._symbols: dict[str, int] = {}
        self._read: Callable[[int, int], bytes] | None = None
        self._types: Btf | None = None

    def __call__(self, key: str) -> tuple[str, str] | None:
        """The value of ``key``, and where it is from."""
        if self._busy or not self._wanted(key):
            return None
        self._busy = True
        try:
            self._open()
            return self._answer(key)
        except (KernelError, ReadError) as error:
            self.problems.append(f"{key}: {error}")
            return None
        finally:
            self._busy = False

    def _wanted(self, key: str) -> bool:
        """Is ``key`` worth a search?"""
        kind, _, name = key.partition("(")
        name = name.rstrip(")")
        known = {
            "OSRELEASE": True, "PAGESIZE": True, "SYMBOL": name in _SYMBOLS,
            "NUMBER": name.startswith("PG_") or name in (*_VARIABLES, *_PAGE_TYPES, "HUGETLB_PAGE_DTOR"),
        }.get(kind, name.partition(".")[0] in _STRUCTURES)  # fmt: skip
        if not known or self._thorough or self._opened:
            return known
        version = self._info.version[:2]
        first, last = _EXPORTED.get(key, (_SINCE, _LATEST)) or (_LATEST, _SINCE)
        return first <= version <= last

    def _open(self) -> None:
        """Find the copy in memory, the symbols and the types, as far as they are there."""
        if self._opened:
            return
        self._opened = True
        for step in (self._open_symbols, self._open_copy, self._open_types) if self._ways else ():
            try:
                step()
            except (KernelError, ReadError) as error:
                self.problems.append(str(error))

    def _open_symbols(self) -> None:
        names = (*_SYMBOLS, *(symbol for symbol, _, _ in _VARIABLES.values()))
        if self.memory is not None:
            from vmsieve.filters.kernel.kallsyms import open_kallsyms

            try:
                table = open_kallsyms(self.memory.read, self._physical.byte_order, self._info)
                self._symbols = table.addresses(names)
                self._read = self.memory.read
                return
            except (KernelError, ReadError):
                pass
        from vmsieve.filters.kernel.image import find_image

        image = find_image(self._physical, self._info, self._arch)
        self._symbols, self._read = image.addresses(names), image.read

    def _number_at(self, symbol: str, size: int, *, signed: bool = False) -> int | None:
        if self._read is None or symbol not in self._symbols:
            return None
        data = self._read(self._symbols[symbol], size)
        return int.from_bytes(data, "big" if self._physical.byte_order == "big" else "little", signed=signed)

    def _open_copy(self) -> None:
        """The text that the kernel wrote its note from; it lies behind a pointer, which page tables translate."""
        vaddr = self._number_at("vmcoreinfo_data", 8)
        if MEMORY not in self._ways or self.memory is None or not vaddr:
            return
        copy = VmcoreInfo.parse(self.memory.string(vaddr, _TEXT_MOST))
        if copy.looks_valid() and self._info.release in (None, copy.release):
            self._copy = copy

    def _open_types(self) -> None:
        if TYPES not in self._ways or self._read is None or "__start_BTF" not in self._symbols:
            return
        from vmsieve.filters.kernel.btf import Btf

        start, stop = self._symbols["__start_BTF"], self._symbols.get("__stop_BTF")
        types = Btf(self._read, self._physical.byte_order, start, None if stop is None else stop - start)
        types.load((*_STRUCTURES, *_ENUMERATIONS))
        self._types = types

    def _answer(self, key: str) -> tuple[str, str] | None:
        text = self._copy.value(key) if self._copy is not None else None
        if text is not None:
            return text, MEMORY
        kind, _, name = key.partition("(")
        name = name.rstrip(")")
        if kind == "SYMBOL" or name in _VARIABLES:
            value = self._symbol(kind, name) if SYMBOLS in self._ways else None
            return None if value is None else (f"{value:x}" if kind == "SYMBOL" else str(value), SYMBOLS)
        if kind == "OSRELEASE":
            release = self._release() if SYMBOLS in self._ways else None
            return None if release is None else (release, SYMBOLS)
        number = self._of_types(kind, name) if self._types is not None else None
        return None if number is None else (str(number), TYPES)

    def _symbol(self, kind: str, name: str) -> int | None:
        if kind == "SYMBOL":
            return self._symbols.get(name)
        symbol, size, signed = _VARIABLES[name]
        return self._number_at(symbol, size, signed=signed)

    def _release(self) -> str | None:
        if self._read is None or "init_uts_ns" not in self._symbols:
            return None
        data = self._read(self._symbols["init_uts_ns"], _BEFORE_NAME + 3 * _FIELD)
        at = data.find(b"Linux".ljust(_FIELD, b"\0"))
        release = data[at + 2 * _FIELD : at + 3 * _FIELD].partition(b"\0")[0] if at >= 0 else b""
        return release.decode("ascii", "replace") or None

    def _of_types(self, kind: str, name: str) -> int | None:
        assert self._types is not None
        structure, _, member = name.partition(".")
        if kind == "SIZE":
            return self._types.size(name)
        if kind == "OFFSET":
            return self._types.offset(structure, member)
        if kind == "LENGTH":
            return self._types.length(structure, member)
        if name in _PAGE_TYPES:
            return self._page_type(self._types, name)
        if name == "HUGETLB_PAGE_DTOR":
            return self._types.enumerators("compound_dtor_id").get(name)
        flags = self._types.enumerators("pageflags")
        if name == "PG_head_mask":
            return 1 << flags["PG_head"] if 0 <= flags.get("PG_head", -1) < 64 else None
        return flags.get(name)

    def _page_type(self, types: Btf, key: str) -> int | None:
        name, macro, since = _PAGE_TYPES[key]
        version = self._info.version[:2]
        if version < since:
            return None
        known = types.enumerators("pagetype")
        if f"PGTY_{name}" in known:
            # Since v6.12 the top byte of the word.
            return known[f"PGTY_{name}"] << 24
        if f"PG_{name}" in known:
            return ~known[f"PG_{name}"]
        if known or not macro or types.offset("page", "page_type") is None:
            return None
        return ~macro
