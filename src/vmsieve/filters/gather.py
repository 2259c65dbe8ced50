"""Gathers knowledge of the kernel in a dump, from VMCOREINFO, its memory, its symbols and its types.

Fails open: nothing here raises for a kernel that can't be understood. A step that fails leaves a sentence; what depends
on it stays None, and every page is kept.
"""

from __future__ import annotations

from vmsieve.filters.knowledge import Knowledge
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.constants import check_constants
from vmsieve.filters.linux.identity import Identity, identify
from vmsieve.filters.linux.log_buffer import log_blocks
from vmsieve.filters.linux.memmap import open_memmap
from vmsieve.filters.linux.memory import PhysicalMemory, VirtualMemory
from vmsieve.filters.linux.resolver import MEMORY, ORIGINS, SYMBOLS, TYPES, Resolver
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import without_note
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.formats.inputs import Source

#: Page sizes of a machine's kernels, where these are fewer than :data:`_ANY_SIZE`.
_PAGE_SIZES: Final = {"x86_64": (4096,), "s390x": (4096,), "riscv64": (4096,)}
_ANY_SIZE: Final = (4096, 8192, 16384, 65536)


def gather_knowledge(
    source: Source, text: bytes | None = None, *, origins: tuple[str, ...] = ORIGINS, vmlinux: bytes | None = None,
    moved: bool = False,
) -> Knowledge:  # fmt: skip
    """Gather knowledge of the kernel in ``source``.

    Args:
        text: VMCOREINFO to use instead of the dump's.
        origins: Where in the dump to look for keys that VMCOREINFO lacks.
        vmlinux: VMCOREINFO made from the vmlinux file, for keys that the dump lacks.
        moved: ``text`` has run-time addresses already: KASLR is accounted for.

    Raises:
        UsageError: One of several kernels was selected, and the dump holds one.
    """
    if source.selected == "all":
        return _from_headers(source, "memory of two kernels together can't be filtered")
    if source.mixed or MEMORY not in origins:
        return _gather(source, text, source.vmcoreinfo if text is None else text, origins, vmlinux, moved=moved)
    from vmsieve.filters.choice import check_against_memory, choose_kernel

    if text is not None:
        return check_against_memory(_gather(source, text, text, origins, vmlinux, moved=moved))
    return choose_kernel(source, lambda found: _gather(source, None, found, origins, vmlinux))


def gather_knowledge_from(
    basis: str, source: Source, text: bytes | None = None, *, vmlinux: bytes | None = None
) -> Knowledge:
    """Gather knowledge from one basis; capture falls back to the next when one fails.

    Args:
        basis: ``"note"``: the dump's VMCOREINFO note. ``"memory"``: VMCOREINFO found by a search of memory, the note is
            ignored. ``"symbols"``: the kernel's own symbols and types, VMCOREINFO is ignored. ``"headers"``: the dump's
            headers alone, no page class is known.
        text, vmlinux: As for :func:`gather_knowledge`; ``text`` replaces every basis but ``"headers"``.
    """
    if basis == "headers":
        return _from_headers(source, "only the dump's headers are used")
    if basis == "note" or text is not None:
        return gather_knowledge(source, text, vmlinux=vmlinux)
    if basis == "symbols":
        return gather_knowledge(source, b"", origins=(SYMBOLS, TYPES), vmlinux=vmlinux)
    # The note goes: it would be written to the output, and mislead its readers.
    source.notes, source.vmcoreinfo = without_note(source.notes, source.byte_order, elf.NOTE_VMCOREINFO), None
    return gather_knowledge(source, vmlinux=vmlinux)


def _from_headers(source: Source, problem: str) -> Knowledge:
    info = VmcoreInfo(source.vmcoreinfo or b"")
    return Knowledge(_page_size(source, info, []), _identity(source, info, None), problem=problem)


def _gather(
    source: Source, text: bytes | None, found: bytes | None, origins: tuple[str, ...], vmlinux: bytes | None, *,
    moved: bool = False,
) -> Knowledge:  # fmt: skip
    """Gather from VMCOREINFO ``found``; ``text`` is the same if a user gave it, else None."""
    notes: list[str] = []
    info = VmcoreInfo(found or b"")
    whole = info.looks_valid()
    if found is not None and not whole:
        notes.append("VMCOREINFO is garbled: " + ("OSRELEASE is missing" if info.keys else "no key in it is known"))
    knowledge = Knowledge(_page_size(source, info, notes), _identity(source, info, None), notes=notes)
    try:
        arch, physical = find(source.machine), PhysicalMemory(source)
        vmlinux = _of_same_release(vmlinux, info, notes)
        resolver = Resolver(
            physical, arch, info, thorough=text is not None or vmlinux is not None or not whole, origins=origins,
            vmlinux=VmcoreInfo(vmlinux) if vmlinux is not None else None,
        )  # fmt: skip
        if not source.mixed:
            info.resolver = resolver
        try:
            translator = arch.open(physical, info)
        except VmsieveError:
            # Link-time addresses, of a kernel that KASLR moved?
            linked = vmlinux if vmlinux is not None else text
            if linked is None or source.mixed or moved or (right := _relocated(physical, arch, linked, notes)) is None:
                raise
            knowledge = gather_knowledge(source, right, origins=origins, moved=True)
            knowledge.notes[:0] = notes
            return knowledge
        _add_memory(knowledge, source, info, arch, VirtualMemory(physical, translator), resolver)
    except VmsieveError as error:
        knowledge.problem = str(error)
    if whole:
        knowledge.info = info
    elif knowledge.info is None:
        knowledge.problem = "the dump has no usable VMCOREINFO"
        return knowledge
    knowledge.identity = _identity(source, info, knowledge.memory)
    notes.extend(knowledge.identity.notes)
    return knowledge


def _of_same_release(vmlinux: bytes | None, info: VmcoreInfo, notes: list[str]) -> bytes | None:
    """Return ``vmlinux`` if its release is that of ``info``, or if ``info`` has none."""
    if vmlinux is None:
        return None
    release, told = VmcoreInfo(vmlinux).release, info.peek("OSRELEASE")
    if told in (None, release):
        return vmlinux
    notes.append(f"the vmlinux file is not used: it is of another kernel, {release}; the dump is of {told}")
    return None


def _relocated(physical: PhysicalMemory, arch: Arch, text: bytes, notes: list[str]) -> bytes | None:
    from vmsieve.filters.linux.kernel_image import relocate

    relocated = relocate(physical, VmcoreInfo(text), arch)
    if relocated is not None:
        notes.append("the kernel's addresses are those of its vmlinux file, moved to where it is")
    return relocated


def _add_memory(
    knowledge: Knowledge, source: Source, info: VmcoreInfo, arch: Arch, memory: VirtualMemory, resolver: Resolver
) -> None:
    """Add everything that needs virtual memory.

    Raises:
        VmsieveError: The struct pages are not found; what was added before stays.
    """
    from vmsieve.filters.linux.zones import end_of_nodes

    knowledge.info = info
    memory.physical.reset_blocks()
    memory.physical.blocks |= log_blocks(memory, info)
    knowledge.memory = resolver.memory = memory
    knowledge.notes.extend(check_constants(info))
    knowledge.phys_base = memory.translator.phys_base or 0
    # The resolver may have found PAGESIZE.
    if _page_size(source, info, []) != knowledge.page_size:
        knowledge.page_size = _page_size(source, info, knowledge.notes)
    if source.mixed:
        raise KernelError("memory of several kernels can't be filtered by what one of them says")
    stop = -(-source.end() // knowledge.page_size)
    memmap = knowledge.memmap = open_memmap(memory, info, arch, stop)
    knowledge.notes.extend(memmap.notes)
    nodes_end = end_of_nodes(memory, info)
    # Sections above the dump's last page don't matter: a block that virtio-mem has not plugged in ends with some.
    if min(nodes_end, stop) > memmap.end_pfn:
        reason = "the kernel's nodes reach further"
    elif not nodes_end and _goes_on(memory, memmap, stop):
        reason = "struct pages go on behind the last"
    else:
        return
    knowledge.end_uncertain = True
    knowledge.notes.append(f"memory sections are missing: {reason}; their pages are kept")


def _goes_on(memory: VirtualMemory, memmap: MemMap, end: int) -> bool:
    """True if a struct page follows that of the last page frame of ``memmap``, below ``end``.

    The virtual memory of struct pages is mapped for whole sections; its unused part is all zeros or all ones.
    """
    last = next(memmap.runs(memmap.end_pfn - 1, end), None)
    if last is None or memmap.end_pfn >= end:
        return False
    flags = bytearray(8)
    try:
        # read_into, as it does not note the block: this may be no table of the kernel's.
        memory.read_into(last.vaddr + memmap.struct_page_size, memoryview(flags))
        return any(flags) and any(byte != 0xFF for byte in flags)
    except VmsieveError:
        return False


def _identity(source: Source, info: VmcoreInfo, memory: VirtualMemory | None) -> Identity:
    """Name the kernel: from its memory, else from the dump's header, else from VMCOREINFO."""
    found = identify(memory, info, source.machine)
    utsname = found.utsname
    if found.notes and any(source.utsname):
        utsname = tuple(own or other for own, other in zip(source.utsname, found.utsname))
    crash_time = found.crash_time if found.crash_time is not None else source.crash_time
    return Identity(utsname, crash_time, () if memory is None else found.notes, found.other)


def _page_size(source: Source, info: VmcoreInfo, notes: list[str]) -> int:
    """Return the kernel's page size if the machine has such pages, else the block size of the file."""
    kernel, file = info.page_size, source.page_size
    if file is None or kernel is None or kernel == file:
        return file or kernel or 4096  # machines with several page sizes export PAGESIZE
    differ = f"VMCOREINFO has pages of {kernel} bytes, the file of {file}"
    if kernel not in _PAGE_SIZES.get(source.machine or "", _ANY_SIZE):
        notes.append(f"{differ}: the file is right")
        return file
    notes.append(f"{differ}: its blocks are {'split into' if kernel < file else 'joined to'} the kernel's pages")
    return kernel
