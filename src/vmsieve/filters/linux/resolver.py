"""Keys that VMCOREINFO lacks, from what else the dump has: its copy in memory, the kernel's symbols and types.

Memory is not searched before a key is asked for that kernels of this version export, or, of a text that a user gave or
that is damaged, any key that is known here. A kernel that tells all it should costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.slim.contexts import suppress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.btf import Btf
    from vmsieve.filters.linux.candidates import Candidates
    from vmsieve.filters.linux.derived_keys import DerivedKeys
    from vmsieve.filters.linux.memory import PhysicalMemory, VirtualMemory

__all__ = ["FILE", "MEMORY", "ORIGINS", "SYMBOLS", "TYPES", "Resolver"]

#: Where keys may be from.
MEMORY, SYMBOLS, TYPES = "VMCOREINFO in memory", "the kernel's symbols", "the kernel's types (BTF)"
FILE: Final = "the vmlinux file"
ORIGINS: Final = (MEMORY, SYMBOLS, TYPES)

#: The first kernels whose types can be asked. Older ones are not searched: they may rightly lack any key.
_SINCE: Final = (5, 3)
_LATEST: Final = (1 << 16, 0)
#: Kernels that export a key, from the first to the last, where that is not all of them; None: not all of any version.
_EXPORTED: Final[dict[str, tuple[tuple[int, int], tuple[int, int]] | None]] = {
    "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)": ((6, 9), _LATEST),
    "NUMBER(PG_hugetlb)": ((6, 6), (6, 8)),
    "NUMBER(HUGETLB_PAGE_DTOR)": (_SINCE, (6, 5)),
    "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)": ((6, 10), _LATEST),
    "NUMBER(PG_slab)": (_SINCE, (6, 9)),
    "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)": None,
    "NUMBER(PG_hwpoison)": None,
    "NUMBER(PG_reserved)": None,
    "NUMBER(KERNEL_IMAGE_SIZE)": None,
    "CRASHTIME": None,
    "SYMBOL(system_utsname)": None,
    "SYMBOL(node_data)": None,
    "SYMBOL(pgdat_list)": None,
    "OFFSET(pglist_data.node_mem_map)": None,
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
#: Keys that a kernel may rightly lack, but whose lack keeps pages: asked for where that costs little.
_MAY_LACK: Final = ("NUMBER(PG_hwpoison)",)
#: Those that kernels write right before and right behind that (kernel/crash_core.c, ``crash_save_vmcoreinfo_init``).
_BEFORE: Final = ("NUMBER(PG_slab)", "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)")
_BEHIND: Final = "NUMBER(PG_head_mask)"
#: How much a key is worth: nothing; a look at symbols where VMCOREINFO tells of them, and at types where these do; a
#: search of memory.
_NOT, _TOLD, _SEARCH = range(3)
#: A structure that every kernel's types have, and modules' do not.
_SURE: Final = "page"
#: From the kernel's text to its last table.
_IMAGE_MOST: Final = 128 << 20
#: Bytes of the copy in memory at most.
_TEXT_MOST: Final = 64 << 10


class Resolver:
    """Answers what VMCOREINFO does not.

    Args:
        physical: The dump's memory.
        arch: Its machine's.
        info: Its VMCOREINFO, whose missing keys are asked for.
        thorough: Keys that a kernel may rightly lack are looked for too.
        origins: Which of :data:`ORIGINS` may be asked.
        vmlinux: VMCOREINFO made of a file that the user gave; asked last, and for no addresses.

    Attributes:
        memory: The kernel's virtual memory, as soon as it is known: spares a search.
        problems: Sentences on what could not be asked.
    """

    def __init__(
        self, physical: PhysicalMemory, arch: Arch, info: VmcoreInfo, *, thorough: bool,
        origins: tuple[str, ...] = ORIGINS, vmlinux: VmcoreInfo | None = None,
    ) -> None:  # fmt: skip
        self.memory: VirtualMemory | None = None
        self.problems: list[str] = []
        self._physical, self._arch, self._info = physical, arch, info
        self._thorough = thorough
        self._origins = origins
        self._vmlinux = vmlinux
        self._busy = False
        self._opened = _NOT
        self._copy: VmcoreInfo | None = None
        self._facts: DerivedKeys | None = None
        self._types_from = TYPES

    def __call__(self, key: str, *, doubted: bool = False) -> tuple[str, str] | None:
        """The value of ``key``, and where it is from; ``doubted``: VMCOREINFO has it, and it can't be right."""
        depth = _NOT if self._busy else self._wanted(key, doubted=doubted)
        if depth == _NOT:
            return None
        self._busy = True
        noted = self._physical.blocks.copy()
        try:
            self._open(depth)
            return self._answer(key)
        except (KernelError, ReadError) as error:
            self.problems.append(f"{key}: {error}")
            return None
        finally:
            self._busy = False
            # What is searched is not the kernel's own for that: a file's pages may hold the same tables.
            self._physical.reset_blocks(noted)

    def _wanted(self, key: str, *, doubted: bool) -> int:
        """How much is ``key`` worth?"""
        # What was opened for a key of _MAY_LACK does not say that the kernel should have others.
        depth = _SEARCH if self._opened == _SEARCH else _NOT
        first, last = _EXPORTED.get(key, (_SINCE, _LATEST)) or (_LATEST, _SINCE)
        if self._thorough or doubted or first <= self._info.version[:2] <= last:
            depth = _SEARCH
        elif key in _MAY_LACK and self._is_told() and not self._never_written():
            depth = max(depth, _TOLD)
        if depth == _NOT:
            return _NOT
        from vmsieve.filters.linux.derived_keys import is_derivable

        return depth if is_derivable(key) else _NOT

    def _is_told(self) -> bool:
        """Does the text say where the symbols are?"""
        return self.memory is not None and self._info.peek("SYMBOL(kallsyms_names)") is not None

    def _never_written(self) -> bool:
        """Is it sure that the kernel did not write the key that it may lack?

        In its crash kernel nobody has taken lines out of the text, and of one that was damaged something would be left
        between its neighbours. To look all the same takes longer there than anything else before the first page.
        """
        file, keys = self._physical.source.file, self._info.keys
        if not isinstance(file, PlainFile) or not file.vmcore or _BEHIND not in keys:
            return False
        return keys[keys.index(_BEHIND) - 1] in _BEFORE and not self._info.skipped

    def _open(self, depth: int) -> None:
        """Find the copy in memory, the symbols and the types, as far as they are there."""
        if self._opened >= depth:
            return
        self._opened = depth
        if not self._origins:
            return
        from vmsieve.filters.linux.candidates import Candidates

        candidates = Candidates(self._physical.source, self._likely()) if depth == _SEARCH else None
        facts = self._facts = self._open_symbols(candidates)
        try:
            self._copy = self._open_copy(facts)
            facts.types = self._open_types(facts, candidates)
        except (KernelError, ReadError) as error:
            self.problems.append(str(error))

    def _likely(self) -> Iterator[tuple[int, int]]:
        """Where the kernel's image may be in physical memory."""
        from vmsieve.filters.linux.candidates import likely

        text = self._info.symbol("_stext")
        if self.memory is not None and text is not None:
            with suppress(KernelError, ReadError):
                start, _ = self.memory.translate(text)
                yield start, start + _IMAGE_MOST
        yield from likely(self._physical, self._arch)

    def _open_symbols(self, candidates: Candidates | None) -> DerivedKeys:
        from vmsieve.filters.linux.derived_keys import SYMBOL_NAMES, DerivedKeys

        order = self._physical.byte_order
        if self.memory is not None:
            from vmsieve.filters.linux.kallsyms import open_kallsyms

            with suppress(KernelError, ReadError):
                table = open_kallsyms(self.memory.read, order, self._info)
                return DerivedKeys(table.addresses(SYMBOL_NAMES), self.memory.read, None, order)
        if candidates is None:
            return DerivedKeys({}, self._physical.read, None, order)
        from vmsieve.filters.linux.kernel_image import find_image

        try:
            image = find_image(self._physical, self._info, self._arch, candidates)
        except (KernelError, ReadError) as error:
            self.problems.append(str(error))
            return DerivedKeys({}, self._physical.read, None, order)
        return DerivedKeys(image.addresses(SYMBOL_NAMES), image.read, None, order)

    def _open_copy(self, facts: DerivedKeys) -> VmcoreInfo | None:
        """The text that the kernel wrote its note from; it lies behind a pointer, which page tables translate."""
        if MEMORY not in self._origins or self.memory is None:
            return None
        try:
            copy = VmcoreInfo.parse(self.memory.string(facts.number_at("vmcoreinfo_data", 8) or 0, _TEXT_MOST))
        except (KernelError, ReadError):
            return None
        return copy if copy.looks_valid() and self._info.release in (None, copy.release) else None

    def _search_copy(self) -> VmcoreInfo:
        """The text out of all memory; an empty one where there is none whose symbols lie where this kernel's do."""
        from vmsieve.formats.vmcoreinfo_search import each_vmcoreinfo

        source = self._physical.source
        for text, order in each_vmcoreinfo(source):
            copy = VmcoreInfo.parse(text)
            shared = [key for key in copy.keys if key.startswith("SYMBOL(") and self._info.peek(key) is not None]
            same = shared and all(copy.peek(key) == self._info.peek(key) for key in shared)
            if same and order == source.byte_order and self._info.release in (None, copy.release):
                return copy
        return VmcoreInfo.parse(b"")

    def _open_types(self, facts: DerivedKeys, candidates: Candidates | None) -> Btf | None:
        """The types: where the symbols say, or else where a search finds them."""
        if TYPES not in self._origins:
            return None
        from vmsieve.filters.linux.btf import Btf, find_btf
        from vmsieve.filters.linux.derived_keys import TYPE_NAMES

        order = self._physical.byte_order
        if "__start_BTF" in facts.symbols:
            start, stop = facts.symbols["__start_BTF"], facts.symbols.get("__stop_BTF")
            with suppress(KernelError, ReadError):
                types = Btf(facts.read, order, start, None if stop is None else stop - start)
                types.load(TYPE_NAMES)
                if types.knows(_SURE):
                    return types
        if candidates is None:
            return None
        found = find_btf(self._physical.read, order, candidates.types(), TYPE_NAMES, _SURE)
        self._types_from = TYPES if found is None else f"{TYPES} that a search of memory found at {found.place:#x}"
        return found

    def _answer(self, key: str) -> tuple[str, str] | None:
        text = self._copy.value(key) if self._copy is not None else None
        if text is not None:
            return text, MEMORY
        if self._facts is not None:
            text, typed = self._facts.answer(key, self._info.value("OSRELEASE"))
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
        """The kernel's, by the dump's own word."""
        told = self._info.peek("OSRELEASE")
        if told is None and self._facts is not None:
            with suppress(KernelError, ReadError):
                return self._facts.release()
        return told
