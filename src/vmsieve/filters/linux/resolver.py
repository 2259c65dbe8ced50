"""Resolver of keys that VMCOREINFO lacks: from its copy in memory, from the kernel's symbols and from its types.

Memory is searched only for a key that kernels of this version export; for any key known here if a user gave the text or
it is damaged. A kernel with complete VMCOREINFO costs nothing.
"""

from __future__ import annotations

from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.btf import Btf
    from vmsieve.filters.linux.candidates import Candidates
    from vmsieve.filters.linux.derived_keys import DerivedKeys
    from vmsieve.filters.linux.memory import PhysicalMemory, VirtualMemory

#: Origins of keys.
MEMORY, SYMBOLS, TYPES = "VMCOREINFO in memory", "the kernel's symbols", "the kernel's types (BTF)"
FILE: Final = "the vmlinux file"
ORIGINS: Final = (MEMORY, SYMBOLS, TYPES)

#: The first kernels with BTF. Older ones are not searched: they may lack any key.
_SINCE: Final = (5, 3)
_LATEST: Final = (1 << 16, 0)
#: First and last version to export a key. In neither this nor the next list: every version exports it.
_EXPORTED: Final = {
    "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)": ((6, 9), _LATEST),
    "NUMBER(PG_hugetlb)": ((6, 6), (6, 8)),
    "NUMBER(HUGETLB_PAGE_DTOR)": (_SINCE, (6, 5)),
    "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)": ((6, 10), _LATEST),
    "NUMBER(PG_slab)": (_SINCE, (6, 9)),
    "OFFSET(uts_namespace.name)": ((5, 11), _LATEST),
    "OFFSET(page.compound_order)": (_SINCE, (6, 2)),
    "OFFSET(page.compound_dtor)": (_SINCE, (6, 2)),
    "OFFSET(folio._folio_order)": ((6, 3), (6, 5)),
    "OFFSET(folio._folio_dtor)": ((6, 3), (6, 5)),
    "OFFSET(page.compound_head)": (_SINCE, (7, 0)),
    "OFFSET(page.compound_info)": ((7, 1), _LATEST),
}
#: Keys that a kernel of any version may be built without: never searched for.
_CONFIGURED: Final = (
    "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)", "NUMBER(PG_hwpoison)", "NUMBER(PG_reserved)", "NUMBER(KERNEL_IMAGE_SIZE)",
    "NUMBER(sme_mask)", "CRASHTIME", "SYMBOL(system_utsname)", "SYMBOL(node_data)", "SYMBOL(pgdat_list)",
    "OFFSET(pglist_data.node_mem_map)", "OFFSET(printk_info.caller_id)", "SIZE(latched_seq)", "SIZE(printk_log)",
    "SYMBOL(mem_map)", "SYMBOL(clear_seq)", "SYMBOL(clear_idx)",
)  # fmt: skip
#: Optional keys without which pages are kept: resolved if that is cheap.
_MAY_LACK: Final = ("NUMBER(PG_hwpoison)",)
#: Neighbours of that key in the text (kernel/crash_core.c, ``crash_save_vmcoreinfo_init``).
_BEFORE: Final = ("NUMBER(PG_slab)", "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)")
_BEHIND: Final = "NUMBER(PG_head_mask)"
#: Effort that a key is worth: none; symbols at the addresses in VMCOREINFO, and types at theirs; a search of memory.
_NONE, _LISTED, _SEARCH = range(3)
#: A structure in the BTF of every kernel, and in no module's.
_KERNEL_STRUCTURE: Final = "page"
#: From the kernel's text to its last table.
_IMAGE_MOST: Final = 128 << 20
#: Longest copy in memory.
_TEXT_MOST: Final = 64 << 10


class Resolver:
    """Finds values of missing keys.

    Args:
        thorough: Resolve optional keys too.
        origins: Those of :data:`ORIGINS` to use.
        vmlinux: VMCOREINFO made from the user's vmlinux file; used last, and not for addresses.

    Attributes:
        memory: The kernel's virtual memory once it is known, which saves a search.
    """

    def __init__(
        self, physical: PhysicalMemory, arch: Arch, info: VmcoreInfo, *, thorough: bool,
        origins: tuple[str, ...] = ORIGINS, vmlinux: VmcoreInfo | None = None,
    ) -> None:  # fmt: skip
        self.memory: VirtualMemory | None = None
        self._physical, self._arch, self._info = physical, arch, info
        self._thorough = thorough
        self._origins = origins
        self._vmlinux = vmlinux
        self._busy = False
        self._opened = _NONE
        self._copy: VmcoreInfo | None = None
        self._derived: DerivedKeys | None = None
        self._types_from = TYPES

    def __call__(self, key: str, *, doubted: bool = False) -> tuple[str, str] | None:
        """Return value and origin of ``key``; ``doubted``: VMCOREINFO has it, but wrong."""
        effort = _NONE if self._busy else self._effort(key, doubted=doubted)
        if effort == _NONE:
            return None
        self._busy = True
        noted = self._physical.blocks.copy()
        try:
            self._open(effort)
            return self._answer(key)
        except (KernelError, ReadError):
            return None
        finally:
            self._busy = False
            # Blocks that a search read need not be the kernel's: pages of files may hold the same tables.
            self._physical.reset_blocks(noted)

    def _effort(self, key: str, *, doubted: bool) -> int:
        """The effort that ``key`` is worth."""
        # Once memory is searched, every key is cheap; after _LISTED for a key of _MAY_LACK, others are not.
        effort = _SEARCH if self._opened == _SEARCH else _NONE
        first, last = (_LATEST, _SINCE) if key in _CONFIGURED else _EXPORTED.get(key, (_SINCE, _LATEST))
        listed = self.memory is not None and self._info.peek("SYMBOL(kallsyms_names)") is not None
        if self._thorough or doubted or first <= self._info.version[:2] <= last:
            effort = _SEARCH
        elif key in _MAY_LACK and listed and not self._never_written():
            effort = max(effort, _LISTED)
        if effort == _NONE:
            return _NONE
        from vmsieve.filters.linux.derived_keys import is_derivable

        return effort if is_derivable(key) else _NONE

    def _never_written(self) -> bool:
        """True if the kernel certainly did not write the optional key.

        In /proc/vmcore no tool has removed lines, and a damaged line would leave something between its neighbours.
        Resolving the key would take longer there than anything else before the first page.
        """
        file, keys = self._physical.source.file, self._info.keys
        if not isinstance(file, PlainFile) or not file.vmcore or _BEHIND not in keys:
            return False
        return keys[keys.index(_BEHIND) - 1] in _BEFORE and not self._info.skipped

    def _open(self, effort: int) -> None:
        """Find the copy in memory, the symbols and the types."""
        if self._opened >= effort:
            return
        self._opened = effort
        if not self._origins:
            return
        from vmsieve.filters.linux.candidates import Candidates

        candidates = Candidates(self._physical.source, self._likely()) if effort == _SEARCH else None
        derived = self._derived = self._open_symbols(candidates)
        with suppress(KernelError, ReadError):
            self._copy = self._open_copy(derived)
            derived.types = self._open_types(derived, candidates)

    def _likely(self) -> Iterator[tuple[int, int]]:
        """Physical addresses (start, end) where the kernel image may be."""
        from vmsieve.filters.linux.candidates import likely_areas

        text = self._info.symbol("_stext")
        if self.memory is not None and text is not None:
            with suppress(KernelError, ReadError):
                start, _ = self.memory.translate(text)
                yield start, start + _IMAGE_MOST
        yield from likely_areas(self._physical, self._arch)

    def _open_symbols(self, candidates: Candidates | None) -> DerivedKeys:
        from vmsieve.filters.linux.derived_keys import SYMBOL_NAMES, DerivedKeys

        order = self._physical.byte_order
        if self.memory is not None:
            from vmsieve.filters.linux.kallsyms import open_kallsyms

            with suppress(KernelError, ReadError):
                table = open_kallsyms(self.memory.read, order, self._info)
                return DerivedKeys(table.addresses(SYMBOL_NAMES), self.memory.read, None, order)
        if candidates is not None:
            from vmsieve.filters.linux.kernel_image import find_image

            image = None
            with suppress(KernelError, ReadError):
                image = find_image(self._physical, self._info, self._arch, candidates)
            if image is not None:
                return DerivedKeys(image.addresses(SYMBOL_NAMES), image.read, None, order)
        return DerivedKeys({}, self._physical.read, None, order)

    def _open_copy(self, derived: DerivedKeys) -> VmcoreInfo | None:
        """The text from which the kernel wrote its note, at the address in ``vmcoreinfo_data``."""
        if MEMORY not in self._origins or self.memory is None:
            return None
        try:
            copy = VmcoreInfo(self.memory.string(derived.number_at("vmcoreinfo_data", 8) or 0, _TEXT_MOST))
        except (KernelError, ReadError):
            return None
        return copy if copy.looks_valid() and self._info.release in (None, copy.release) else None

    def _search_copy(self) -> VmcoreInfo:
        """Search memory for VMCOREINFO whose symbols match; empty if there is none."""
        from vmsieve.formats.vmcoreinfo_search import each_vmcoreinfo

        source = self._physical.source
        for text, order in each_vmcoreinfo(source):
            copy = VmcoreInfo(text)
            shared = [key for key in copy.keys if key.startswith("SYMBOL(") and self._info.peek(key) is not None]
            same = shared and all(copy.peek(key) == self._info.peek(key) for key in shared)
            if same and order == source.byte_order and self._info.release in (None, copy.release):
                return copy
        return VmcoreInfo(b"")

    def _open_types(self, derived: DerivedKeys, candidates: Candidates | None) -> Btf | None:
        """The kernel's BTF: where the symbols say, else where a search finds it."""
        if TYPES not in self._origins:
            return None
        from vmsieve.filters.linux.btf import Btf, find_btf
        from vmsieve.filters.linux.derived_keys import TYPE_NAMES

        order = self._physical.byte_order
        if "__start_BTF" in derived.symbols:
            start, stop = derived.symbols["__start_BTF"], derived.symbols.get("__stop_BTF")
            with suppress(KernelError, ReadError):
                types = Btf(derived.read, order, start, None if stop is None else stop - start)
                types.load(TYPE_NAMES)
                if types.knows(_KERNEL_STRUCTURE):
                    return types
        if candidates is None:
            return None
        found = find_btf(self._physical.read, order, candidates.types(), TYPE_NAMES, _KERNEL_STRUCTURE)
        self._types_from = TYPES if found is None else f"{TYPES} that a search of memory found at {found.address:#x}"
        return found

    def _answer(self, key: str) -> tuple[str, str] | None:
        text = self._copy.value(key) if self._copy is not None else None
        if text is not None:
            return text, MEMORY
        if self._derived is not None:
            text, typed = self._derived.derive(key, self._info.value("OSRELEASE"))
            if text is not None and (TYPES if typed else SYMBOLS) in self._origins:
                return text, self._types_from if typed else SYMBOLS
        if self._copy is None and MEMORY in self._origins and self._opened == _SEARCH:
            self._copy = self._search_copy()
            text = self._copy.value(key)
            if text is not None:
                return text, MEMORY
        if self._vmlinux is not None and not key.startswith("SYMBOL(") and self._vmlinux.release == self._release():
            text = self._vmlinux.value(key)
        return None if text is None else (text, FILE)

    def _release(self) -> str | None:
        """The kernel's release, from VMCOREINFO or its memory."""
        release = self._info.peek("OSRELEASE")
        if release is None and self._derived is not None:
            with suppress(KernelError, ReadError):
                return self._derived.release()
        return release
