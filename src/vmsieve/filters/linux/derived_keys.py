"""VMCOREINFO keys derived from a kernel's symbols and types.

Macros are in no type. Page types were macros before v6.10; their values (Linux commit 6e292b9be7f4, "mm: split
page_type out from _mapcount", v4.18; ca215086b14b, "mm: convert PG_balloon to PG_offline", v5.0) hold for all kernels
with BTF (v5.2 and later). Before v4.18 a free page had a _mapcount of -128 (ef2b4b95a63a, "mm: PageBuddy and mapcount
robustness", v2.6.38).
"""

from __future__ import annotations

from vmsieve.filters.linux.identity import BEFORE_NAME, FIELD_SIZE
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Callable, Protocol

    class Types(Protocol):
        """A kernel's types, from BTF or DWARF."""

        def size(self, name: str) -> int | None:
            """Bytes of the structure ``name``."""

        def offset(self, structure: str, member: str) -> int | None:
            """Offset in bytes of a member, which may be one of an unnamed member."""

        def length(self, structure: str, member: str) -> int | None:
            """Number of elements of a member that is an array."""

        def enumerators(self, name: str) -> dict[str, int]:
            """Names and values of the enumeration ``name``; empty if there is none."""


#: Structures that keys describe, and enumerations.
STRUCTURES: Final = (
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
#: Numbers that are variables: symbol, size in bytes, signed.
VARIABLES: Final = {
    "phys_base": ("phys_base", 8, True),
    "pgtable_l5_enabled": ("__pgtable_l5_enabled", 4, False),
    "sme_mask": ("sme_me_mask", 8, False),
    "kimage_voffset": ("kimage_voffset", 8, False),
    "PHYS_OFFSET": ("memstart_addr", 8, True),
}
#: Page types: name; the clear bit in kernels where it is a macro, 0 if unknown; the first kernel that exports it.
PAGE_TYPES: Final = {
    "PAGE_BUDDY_MAPCOUNT_VALUE": ("buddy", 0x80, (3, 0)),
    "PAGE_OFFLINE_MAPCOUNT_VALUE": ("offline", 0x100, (5, 1)),
    "PAGE_HUGETLB_MAPCOUNT_VALUE": ("hugetlb", 0, (6, 9)),
    "PAGE_SLAB_MAPCOUNT_VALUE": ("slab", 0, (6, 10)),
    "PAGE_UNACCEPTED_MAPCOUNT_VALUE": ("unaccepted", 0, (6, 16)),
}

#: The first kernel with page types; _mapcount of a free page before.
_TYPED: Final = (4, 18)
_BUDDY_BEFORE_TYPES: Final = -128

SYMBOL_NAMES: Final = (*_SYMBOLS, *(symbol for symbol, _, _ in VARIABLES.values()))
TYPE_NAMES: Final = (*STRUCTURES, *_ENUMERATIONS)


def is_derivable(key: str) -> bool:
    """True if ``key`` can be derived for some kernel."""
    kind, _, name = key.partition("(")
    name = name.rstrip(")")
    if kind == "SYMBOL":
        return name in _SYMBOLS
    if kind == "NUMBER":
        return name.startswith("PG_") or name in (*VARIABLES, *PAGE_TYPES, "HUGETLB_PAGE_DTOR")
    return kind in ("OSRELEASE", "PAGESIZE") or name.partition(".")[0] in STRUCTURES


class DerivedKeys:
    """Derives keys.

    ``symbols``: virtual addresses of the existing :data:`SYMBOL_NAMES`. ``read``: reads kernel memory by virtual
    address. ``types``: with :data:`TYPE_NAMES` loaded.
    """

    def __init__(
        self, symbols: dict[str, int], read: Callable[[int, int], bytes], types: Types | None, byte_order: str
    ) -> None:
        self.symbols = symbols
        self.types = types
        self.read = read
        self._byte_order = byte_order

    def derive(self, key: str, release: str | None) -> tuple[str | None, bool]:
        """The value of ``key`` as VMCOREINFO writes it, or None; True if it is from the types.

        ``release``: the kernel's; None to look it up.
        """
        kind, _, name = key.partition("(")
        name = name.rstrip(")")
        if kind == "OSRELEASE":
            return self.release(), False
        if kind == "SYMBOL":
            address = self.symbols.get(name)
            return None if address is None else f"{address:x}", False
        if name in VARIABLES:
            symbol, size, signed = VARIABLES[name]
            value = self.number_at(symbol, size, signed=signed)
            return None if value is None else str(value), False
        known = VmcoreInfo(b"OSRELEASE=" + (release or self.release() or "").encode("ascii", "replace"))
        number = self._from_types(kind, name, known.version[:2])
        return None if number is None else str(number), True

    def number_at(self, symbol: str, size: int, *, signed: bool = False) -> int | None:
        """The variable ``symbol`` of ``size`` bytes, or None."""
        if symbol not in self.symbols:
            return None
        data = self.read(self.symbols[symbol], size)
        return int.from_bytes(data, "big" if self._byte_order == "big" else "little", signed=signed)

    def release(self) -> str | None:
        """The kernel's release, from init_uts_ns."""
        if "init_uts_ns" not in self.symbols:
            return None
        data = self.read(self.symbols["init_uts_ns"], BEFORE_NAME + 3 * FIELD_SIZE)
        at = data.find(b"Linux".ljust(FIELD_SIZE, b"\0"))
        release = data[at + 2 * FIELD_SIZE : at + 3 * FIELD_SIZE].partition(b"\0")[0] if at >= 0 else b""
        return release.decode("ascii", "replace") or None

    def _from_types(self, kind: str, name: str, version: tuple[int, int]) -> int | None:
        """Derive a size, offset, length or constant; ``version``: the kernel's, (0, 0) if unknown."""
        if self.types is None:
            return None
        structure, _, member = name.partition(".")
        if kind == "SIZE":
            return self.types.size(name)
        if kind == "OFFSET":
            return self.types.offset(structure, member)
        if kind == "LENGTH":
            return self.types.length(structure, member)
        if name in PAGE_TYPES:
            return self._page_type(self.types, name, version)
        if name == "HUGETLB_PAGE_DTOR":
            return self.types.enumerators("compound_dtor_id").get(name)
        flags = self.types.enumerators("pageflags")
        if name == "PG_head_mask":
            return 1 << flags["PG_head"] if 0 <= flags.get("PG_head", -1) < 64 else None
        return flags.get(name)

    @staticmethod
    def _page_type(types: Types, key: str, version: tuple[int, int]) -> int | None:
        name, macro, since = PAGE_TYPES[key]
        if version < since:
            return None
        known = types.enumerators("pagetype")
        if f"PGTY_{name}" in known:
            # Since v6.12 the top byte of the word, which is negative in the kernel.
            return (known[f"PGTY_{name}"] << 24) - (1 << 32)
        if f"PG_{name}" in known:
            return ~known[f"PG_{name}"]
        if types.offset("page", "page_type") is None:
            return _BUDDY_BEFORE_TYPES if name == "buddy" and version < _TYPED else None
        return None if known or not macro else ~macro
