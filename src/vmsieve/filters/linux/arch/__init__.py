"""Architectures: how a machine's kernel lays out its virtual memory. One file a machine, which ends in ``ARCH``.

Here: page tables, direct maps, and the defaults of numbers that a kernel does not export. Not here: what is in that
memory (:mod:`vmsieve.filters.linux`), and registers and notes of dumps (:mod:`vmsieve.formats`).

An architecture's ``open`` reads what it needs (VMCOREINFO, page tables, the dump's headers) and returns a
:class:`Translator`. Exported values come first; the kernel's version only decides defaults.
"""

from __future__ import annotations

from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memory import PhysicalMemory, Translator
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Mappings of the dump's headers that are tried; a dump has a handful.
HEADERS = 64


@record(frozen=True)
class Arch:
    """An architecture.

    Attributes:
        name: As ``uname -m`` says it; unique, and the name of the plugin's file.
        aliases: Other names of the same machine.
        section_size_bits: SECTION_SIZE_BITS of a kernel that does not export it: a memory section has
            ``1 << bits`` bytes.
        max_physmem_bits: Likewise MAX_PHYSMEM_BITS: physical addresses are below ``1 << bits``.
        open: Prepares translation. Raises KernelError if the kernel does not export enough, ReadError if something
            that is needed is not in the dump.
        roots: Symbols of the top page table, the best first.
        virtual: Given the physical addresses of ``roots``, by name, and of the kernel's text: returns the difference
            of virtual and physical addresses in the kernel image, or None. None: not implemented.
        image: Returns the physical addresses of the kernel image, start and end, by the registers in the dump's notes;
            or None. None: not implemented.
    """

    name: str
    aliases: tuple[str, ...]
    section_size_bits: Callable[[VmcoreInfo], int]
    max_physmem_bits: Callable[[VmcoreInfo], int]
    open: Callable[[PhysicalMemory, VmcoreInfo], Translator]
    roots: tuple[str, ...] = ()
    virtual: Callable[[PhysicalMemory, dict[str, int], int], int | None] | None = None
    image: Callable[[PhysicalMemory], tuple[int, int] | None] | None = None


def arches() -> list[Arch]:
    """Return all architectures, by name."""
    from vmsieve.filters.linux import arch
    from vmsieve.formats.plugins import scan

    return scan(arch, "ARCH", Arch)


def find(machine: str | None) -> Arch:
    """Return the architecture called ``machine``; KernelError, which lists all, for an unknown name."""
    from vmsieve.filters.linux import arch as room
    from vmsieve.formats.plugins import load, names

    if machine in names(room):
        # Importing the others takes a tenth of the time to the first page.
        return load(room, "ARCH", machine, "machine", Arch)
    known = arches()
    for arch in known:
        if machine == arch.name or machine in arch.aliases:
            return arch
    raise KernelError(
        "no knowledge of this machine's kernel",
        expected=", ".join(arch.name for arch in known),
        found=machine or "a dump that does not name its machine",
    )


def page_shift(memory: PhysicalMemory, info: VmcoreInfo, default: int) -> int:
    """Return log2 of the page size of a machine that has pages of 4, 16 and 64 KiB."""
    size = info.page_size or memory.source.page_size or default
    shift = size.bit_length() - 1
    if shift not in (12, 14, 16):
        raise KernelError("not a page size of this machine", expected="4, 16 or 64 KiB", found=size)
    return shift


def header_offsets(memory: PhysicalMemory, vaddr: int) -> Iterator[int]:
    """Yield virtual minus physical address of the dump's headers that map ``vaddr``."""
    for piece in memory.source.virtual[:HEADERS]:
        if piece.vaddr <= vaddr < piece.vaddr + piece.size:
            yield piece.vaddr - piece.paddr


def image_offsets(memory: PhysicalMemory, info: VmcoreInfo, key: str, vaddr: int) -> Iterator[tuple[int, str]]:
    """Yield candidates for virtual minus physical address of the kernel image around ``vaddr``, and their origins."""
    number = info.number_unsigned(key)
    if number is not None:
        yield number, f"NUMBER({key})"
    for offset in header_offsets(memory, vaddr):
        yield offset % (1 << 64), "the dump's headers"


def tables_not_found(root: int, sources: str = "VMCOREINFO and the dump's headers say") -> KernelError:
    """Return the error for page tables that do not map their own address ``root`` to where they are."""
    return KernelError(
        f"the page tables are not where {sources}", expected="page tables that map themselves", found=root
    )
