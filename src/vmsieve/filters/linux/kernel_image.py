"""The kernel's own memory before its page tables are known: text and data, which lie in one piece.

Where its addresses are in physical memory follows from VMCOREINFO and the dump's headers, or from the table of symbols
found in memory: ``init_uts_ns``, which begins a few bytes before "Linux", is in one place only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.candidates import SEARCHED, SEARCHED_PACKED
from vmsieve.filters.linux.kallsyms import Kallsyms, open_kallsyms
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.candidates import Candidates
    from vmsieve.filters.linux.kallsyms import Read
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import Source

__all__ = ["Image", "find_image", "relocate"]

#: Bytes of a string in struct new_utsname; the namespace's reference count may lie before them.
_FIELD: Final = 65
_LINUX: Final = b"Linux".ljust(_FIELD, b"\0")
_BEFORE_NAME: Final = 64
#: How far apart the places are that a kernel may be loaded at, and how large it may be.
_STEPS: Final = (2 << 20, 64 << 10, 4096)
_IMAGE_MOST: Final = 256 << 20
_NAMES: Final = ("init_uts_ns", "_stext", "_etext")
_TRIES: Final = 64
#: Bytes that are read to tell tables of symbols from what looks like them; a kernel's own takes up to 10 MB.
_READ_MOST: Final = 128 << 20
_MAPPINGS: Final = 64


@record(frozen=True)
class Image:
    """A kernel's memory, read by virtual address.

    Attributes:
        memory: Physical memory.
        delta: What a virtual address in the kernel has to be added to give a physical one.
        symbols: The kernel's symbols.
        shift: What their addresses have to be added to be virtual: they are physical in some kernels' tables.
    """

    memory: PhysicalMemory
    delta: int
    symbols: Kallsyms
    shift: int = 0

    def read(self, vaddr: int, size: int) -> bytes:
        """The ``size`` bytes at ``vaddr``. Raises as :meth:`PhysicalMemory.read`."""
        return self.memory.read(vaddr + self.delta, size)

    def addresses(self, names: Collection[str]) -> dict[str, int]:
        """Virtual addresses of the symbols ``names``, those that there are."""
        return {name: address + self.shift for name, address in self.symbols.addresses(names).items()}


def find_image(memory: PhysicalMemory, info: VmcoreInfo, arch: Arch, candidates: Candidates) -> Image:
    """The kernel's memory and symbols: where VMCOREINFO tells, or else where a search for ``candidates`` finds them.

    Raises:
        KernelError: They are not found.
    """
    for delta in _told(memory.source, info):
        try:
            symbols = open_kallsyms(_shifted(memory, delta), memory.byte_order, info)
            image = Image(memory, delta, symbols)
            if _holds_name(memory.read, image.addresses(_NAMES[:1])["init_uts_ns"] + delta):
                return image
        except (KernelError, ReadError, KeyError):
            continue
    read = _Bounded(memory.read)
    for digits in candidates.digits():
        found = _image_at(memory, read, arch, digits)
        if found is not None:
            read.found = True
            return found
    raise KernelError("the kernel's table of symbols is not in memory")


def _shifted(memory: PhysicalMemory, delta: int) -> Read:
    return lambda vaddr, size: memory.read(vaddr + delta, size)


def _told(source: Source, info: VmcoreInfo) -> Iterator[int]:
    """What may be added to a virtual address of the kernel, by what the dump tells."""
    vaddr = info.symbol("kallsyms_names")
    if vaddr is None:
        return
    for piece in source.virtual[:_MAPPINGS]:
        if piece.vaddr <= vaddr < piece.vaddr + piece.size:
            yield piece.paddr - piece.vaddr
    phys_base = info.number("phys_base")
    if phys_base is not None:
        # x86_64: __START_KERNEL_map, arch/x86/include/asm/page_64_types.h.
        yield phys_base - 0xFFFFFFFF80000000


def _holds_name(read: Read, paddr: int) -> bool:
    """Is there a namespace with the kernel's name: of three strings the first is "Linux", the third a release?"""
    try:
        data = read(paddr, _BEFORE_NAME + 3 * _FIELD)
    except (KernelError, ReadError):
        return False
    at = data.find(_LINUX)
    return 0 <= at <= _BEFORE_NAME and data[at + 2 * _FIELD : at + 2 * _FIELD + 1].isdigit()


class _Bounded:
    """Reads for all places where symbols may be, together; memory full of what looks like them must not cost hours."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._left = _READ_MOST
        self.found = False

    def __call__(self, address: int, size: int) -> bytes:
        self._left -= size
        if self._left < 0 and not self.found:
            raise KernelError("too much memory looks like tables of symbols", expected=_READ_MOST)
        return self._read(address, size)


def _image_at(memory: PhysicalMemory, read: Read, arch: Arch, digits: int) -> Image | None:
    from vmsieve.filters.linux.kallsyms_search import open_by_tokens

    try:
        symbols = open_by_tokens(read, memory.byte_order, digits)
        told = symbols.addresses(_NAMES)
        if "init_uts_ns" not in told:
            return None
        if not symbols.relative:
            delta = _delta(read, told, digits)
            return None if delta is None else Image(memory, delta, symbols)
        if arch.virtual is None or not _holds_name(read, told["init_uts_ns"]):
            return None
        shift = arch.virtual(memory, symbols.addresses(arch.roots), told["_stext"])
        return None if shift is None else Image(memory, -shift, symbols, shift)
    except (KernelError, ReadError):
        return None


def _delta(read: Read, told: dict[str, int], digits: int) -> int | None:
    """The tokens, which are at physical address ``digits``, lie behind the kernel's text: as far as there is memory."""
    low, high = digits - told["_etext"] - _IMAGE_MOST, digits - told["_stext"]
    for step in _STEPS:
        for delta in range(high // step * step, low, -step):
            if _holds_name(read, told["init_uts_ns"] + delta):
                return delta
    return None


def relocate(memory: PhysicalMemory, info: VmcoreInfo, arch: Arch) -> bytes | None:
    """VMCOREINFO made of a vmlinux file, with the addresses that KASLR gave the kernel; None where it is not found.

    The kernel's name in memory tells where its image is, and page tables that map themselves are the proof.
    """
    from vmsieve.filters.linux.derived_keys import SYMBOL_NAMES, VARIABLES, DerivedKeys

    linked = {name: at for name in SYMBOL_NAMES if (at := info.symbol(name)) is not None}
    name_at = info.offset("uts_namespace.name")
    if arch.virtual is None or name_at is None or not info.release or not {"init_uts_ns", "_stext"} <= linked.keys():
        return None
    for paddr in _named(memory.source, info.release.encode("ascii", "replace")):
        delta = paddr - name_at - linked["init_uts_ns"]
        roots = {name: linked[name] + delta for name in arch.roots if name in linked}
        shift = arch.virtual(memory, roots, linked["_stext"] + delta)
        if shift is None:
            continue
        moved = {name: at + delta + shift for name, at in linked.items()}
        facts = DerivedKeys(moved, _shifted(memory, -shift), None, memory.byte_order)
        lines = [f"SYMBOL({name})={at:x}" for name, at in moved.items()]
        for key in (f"NUMBER({name})" for name in VARIABLES):
            value, _ = facts.answer(key, info.release)
            lines += [f"{key}={value}"] if value is not None else []
        rest = [line for line in info.text.decode("ascii", "replace").splitlines() if not line.startswith("SYMBOL(")]
        return "".join(f"{line}\n" for line in (*rest, *lines)).encode("ascii", "replace")
    return None


def _named(source: Source, release: bytes) -> Iterator[int]:
    """Physical addresses of names of kernels of this release."""
    from vmsieve.filters.linux.memory_scan import scan_memory

    left = SEARCHED_PACKED if source.compressed else SEARCHED
    tries = _TRIES
    wanted = release + b"\0"
    for at, data in scan_memory(source, 0, source.end(), keep=3 * _FIELD):
        found = data.find(_LINUX)
        while found >= 0 and tries:
            if data.startswith(wanted, found + 2 * _FIELD):
                yield at + found
                tries -= 1
            found = data.find(_LINUX, found + 1)
        left -= len(data)
        if left < 0 or not tries:
            return
