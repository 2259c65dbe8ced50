"""What can be known of the crashed kernel, as far as it goes.

Nothing here raises for a kernel that can't be understood: each step that fails leaves a sentence, and what depends on
it stays None. Whoever asks keeps every page then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.constants import hold_against_known
from vmsieve.filters.linux.identity import Identity, identify
from vmsieve.filters.linux.log_buffer import log_blocks
from vmsieve.filters.linux.memmap import open_memmap
from vmsieve.filters.linux.memory import PhysicalMemory, VirtualMemory
from vmsieve.filters.linux.resolver import MEMORY, SYMBOLS, TYPES, WAYS, Resolver
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.formats.notes import without_vmcoreinfo
from vmsieve.formats.slim.records import field, record

if TYPE_CHECKING:
    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.formats.inputs import Source

__all__ = ["DEFAULT_PAGE_SIZE", "FACTS", "Knowledge", "learn", "learn_from"]

#: What may be believed of a kernel, the most usual first.
FACTS: Final = {
    "note": "what the dump's VMCOREINFO note tells",
    "memory": "VMCOREINFO as a search of memory finds it, whatever the note tells",
    "symbols": "the kernel's own symbols and types, whatever VMCOREINFO tells",
    "headers": "no more than the dump's headers tell: of no page is known what it is",
}

#: Pages that kernels of a machine may have, where these are not all of the others.
_PAGE_SIZES: Final = {"x86_64": (4096,), "s390x": (4096,), "riscv64": (4096,)}
_LARGER: Final = (4096, 8192, 16384, 65536)

#: Page size of a machine that does not tell; every architecture that has more than one exports PAGESIZE.
DEFAULT_PAGE_SIZE = 4096


@record
class Knowledge:
    """A kernel, as far as it is known.

    Attributes:
        page_size: Bytes.
        identity: Names and crash time, from whatever source had them.
        info: VMCOREINFO, if there is any.
        memory: Virtual memory, if addresses can be translated.
        memmap: The struct pages, if they can be found.
        problem: Why ``memmap`` is None; None if it is not.
        notes: Sentences on what was found odd on the way.
        phys_base: What a kdump sub-header calls so; 0 where there is none.
        uncut: The kernel's last struct page may not be where its memory ends: see :meth:`covered_end`.
        doubtful: There may be another kernel: less is left out than was asked for.
    """

    page_size: int
    identity: Identity
    info: VmcoreInfo | None = None
    memory: VirtualMemory | None = None
    memmap: MemMap | None = None
    problem: str | None = None
    notes: list[str] = field(default_factory=list)
    phys_base: int = 0
    uncut: bool = False
    doubtful: bool = False

    def max_pfn(self, end: int) -> int:
        """One above the highest page frame of memory that ends at physical address ``end``."""
        return -(-end // self.page_size)

    def covered_end(self, end: int) -> int:
        """The end of the memory that makedumpfile looks at, as :meth:`max_pfn`: it cuts at the last memory section.

        Memory above has no struct pages: it was left out by ``mem=``, is firmware or a device that a hypervisor dumps
        too, or is another kernel's.
        """
        top = self.max_pfn(end)
        if self.memmap is None or self.memmap.damaged or not self.memmap.end_pfn or self.uncut:
            return top
        return min(top, self.memmap.end_pfn)


def learn(
    source: Source, text: bytes | None = None, *, ways: tuple[str, ...] = WAYS, vmlinux: bytes | None = None,
    moved: bool = False,
) -> Knowledge:  # fmt: skip
    """Find out about the kernel in ``source``; ``text``: VMCOREINFO to use instead of what the dump carries.

    ``ways``: where in the dump to look for what it lacks; ``vmlinux``: VMCOREINFO made of the kernel's file, for what
    is not found there; ``moved``: ``text`` has the addresses that the kernel runs at, whatever it was linked for.

    Raises:
        UsageError: One of several kernels was selected, and there is one only.
    """
    if source.selected == "all":
        return _of_headers(source, "memory of two kernels together can't be filtered")
    if source.mixed or MEMORY not in ways:
        return _learn(source, text, source.vmcoreinfo if text is None else text, ways, vmlinux, moved=moved)
    from vmsieve.filters.choice import choose, hold_against_memory

    if text is not None:
        return hold_against_memory(_learn(source, text, text, ways, vmlinux, moved=moved))
    return choose(source, lambda told: _learn(source, None, told, ways, vmlinux))


def _learn(
    source: Source, text: bytes | None, found: bytes | None, ways: tuple[str, ...], vmlinux: bytes | None, *,
    moved: bool = False,
) -> Knowledge:  # fmt: skip
    """What is known of the kernel that VMCOREINFO ``found`` tells of; ``text``: the same if a user gave it."""
    notes: list[str] = []
    info = VmcoreInfo.parse(found or b"")
    whole = info.looks_valid()
    if found is not None and not whole:
        notes.append("VMCOREINFO is garbled: " + ("OSRELEASE is missing" if info.keys else "no key in it is known"))
    knowledge = Knowledge(_page_size(source, info, notes), _identity(source, info, None), notes=notes)
    try:
        arch, physical = find(source.machine), PhysicalMemory(source)
        vmlinux = _of_the_same(vmlinux, info, notes)
        resolver = Resolver(
            physical, arch, info, thorough=text is not None or vmlinux is not None or not whole, ways=ways,
            vmlinux=VmcoreInfo.parse(vmlinux) if vmlinux is not None else None,
        )  # fmt: skip
        if not source.mixed:
            info.beyond = resolver
        try:
            translator = arch.open(physical, info)
        except VmsieveError:
            made = vmlinux if vmlinux is not None else text
            if made is None or source.mixed or moved or (right := _relocated(physical, arch, made, notes)) is None:
                raise
            return _told_before(notes, learn(source, right, ways=ways, moved=True))
        _learn_memory(knowledge, source, info, arch, VirtualMemory(physical, translator), resolver)
    except VmsieveError as error:
        knowledge.problem = str(error)
    if whole:
        knowledge.info = info
    elif knowledge.info is None:
        knowledge.problem = "no VMCOREINFO tells about the kernel"
        return knowledge
    knowledge.identity = _identity(source, info, knowledge.memory)
    notes.extend(knowledge.identity.notes)
    return knowledge


def _of_the_same(vmlinux: bytes | None, info: VmcoreInfo, notes: list[str]) -> bytes | None:
    """What was made of a vmlinux file, if it can be of the kernel that ``info`` tells of."""
    if vmlinux is None:
        return None
    release, told = VmcoreInfo.parse(vmlinux).release, info.told("OSRELEASE")
    if told in (None, release):
        return vmlinux
    notes.append(f"the vmlinux file is not used: it is of another kernel, {release}; the dump is of {told}")
    return None


def learn_from(facts: str, source: Source, text: bytes | None = None, *, vmlinux: bytes | None = None) -> Knowledge:
    """What is known of the kernel in ``source`` if ``facts``, one of :data:`FACTS`, are what is believed first.

    ``text`` and ``vmlinux`` as of :func:`learn`; a text that was given is believed whatever ``facts`` says.
    """
    if facts == "headers":
        return _of_headers(source, "nothing but the dump's headers is believed")
    if facts == "note" or text is not None:
        return learn(source, text, vmlinux=vmlinux)
    if facts == "symbols":
        return learn(source, b"", ways=(SYMBOLS, TYPES), vmlinux=vmlinux)
    # Whoever reads the dump later must not meet the note that is not believed.
    source.notes, source.vmcoreinfo = without_vmcoreinfo(source.notes, source.byte_order), None
    return learn(source, vmlinux=vmlinux)


def _of_headers(source: Source, problem: str) -> Knowledge:
    info = VmcoreInfo.parse(source.vmcoreinfo or b"")
    return Knowledge(_page_size(source, info, []), _identity(source, info, None), problem=problem)


def _learn_memory(
    knowledge: Knowledge, source: Source, info: VmcoreInfo, arch: Arch, memory: VirtualMemory, resolver: Resolver
) -> None:
    knowledge.info = info
    memory.physical.begin_noting()
    memory.physical.blocks |= log_blocks(memory, info)
    knowledge.memory = resolver.memory = memory
    knowledge.notes.extend(hold_against_known(info))
    knowledge.phys_base = memory.translator.phys_base or 0
    if _page_size(source, info, []) != knowledge.page_size:
        knowledge.page_size = _page_size(source, info, knowledge.notes)
    if source.mixed:
        raise KernelError("memory of several kernels can't be filtered by what one of them says")
    stop = -(-source.end() // knowledge.page_size)
    knowledge.memmap = open_memmap(memory, info, arch, stop)
    knowledge.notes.extend(knowledge.memmap.notes)
    ends = _end_of_nodes(memory, info)
    # Sections behind the dump's last page are not asked for: the end of a block that virtio-mem has not plugged in.
    if min(ends, stop) > knowledge.memmap.end_pfn:
        knowledge.uncut = True
        knowledge.notes.append("memory sections are missing: the kernel's nodes reach further; their pages are kept")
    elif not ends and _goes_on(memory, knowledge.memmap, stop):
        knowledge.uncut = True
        knowledge.notes.append("memory sections are missing: struct pages go on behind the last; their pages are kept")


def _end_of_nodes(memory: VirtualMemory, info: VmcoreInfo) -> int:
    """One above the kernel's last page frame by what its nodes say; 0 if that can't be told."""
    from vmsieve.filters.linux.zones import end_of_nodes

    try:
        return end_of_nodes(memory, info)
    except VmsieveError:
        return 0


def _goes_on(memory: VirtualMemory, memmap: MemMap, end: int) -> bool:
    """Whether a struct page follows that of the last page frame of ``memmap``, below ``end``: it is not the last then.

    Virtual memory of struct pages is there for whole sections, and what is not in use of it is zeros or ones.
    """
    last = next(memmap.runs(memmap.end_pfn - 1, end), None)
    if last is None or memmap.end_pfn >= end:
        return False
    flags = bytearray(8)
    try:
        # Not noted: none of the kernel's tables.
        memory.read_into(last.vaddr + memmap.struct_page_size, memoryview(flags))
        return any(flags) and any(byte != 0xFF for byte in flags)
    except VmsieveError:
        return False


def _told_before(notes: list[str], knowledge: Knowledge) -> Knowledge:
    knowledge.notes[:0] = notes
    return knowledge


def _relocated(physical: PhysicalMemory, arch: Arch, text: bytes, notes: list[str]) -> bytes | None:
    from vmsieve.filters.linux.image import relocate

    right = relocate(physical, VmcoreInfo.parse(text), arch)
    if right is not None:
        notes.append("the kernel's addresses are those of its vmlinux file, moved to where it is")
    return right


def _identity(source: Source, info: VmcoreInfo | None, memory: VirtualMemory | None) -> Identity:
    """The kernel's name: from its memory, else from the dump's own header, else from VMCOREINFO."""
    told = identify(memory, info if info is not None else VmcoreInfo.parse(b""), source.machine)
    utsname = told.utsname
    if told.notes and any(source.utsname):
        utsname = tuple(own or other for own, other in zip(source.utsname, told.utsname))
    crash_time = told.crash_time if told.crash_time is not None else source.crash_time
    return Identity(utsname, crash_time, () if memory is None else told.notes, told.other)


def _page_size(source: Source, info: VmcoreInfo | None, notes: list[str]) -> int:
    """The kernel's, where the file's blocks can be divided into it or put together to it; else the file's."""
    told, size = info.page_size if info is not None else None, source.page_size
    if size is None or told is None or told == size:
        return size or told or DEFAULT_PAGE_SIZE
    found = f"VMCOREINFO tells of pages of {told} bytes, the file of {size}"
    if told not in _PAGE_SIZES.get(source.machine or "", _LARGER):
        notes.append(f"{found}: the file is right")
        return size
    notes.append(f"{found}: its blocks are {'divided into' if told < size else 'put together to'} the kernel's pages")
    return told
