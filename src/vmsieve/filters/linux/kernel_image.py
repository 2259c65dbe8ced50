"""The kernel image: text and data, contiguous in memory, readable before the page tables are known.

Its physical address follows from VMCOREINFO and the dump's headers, or from a symbol table found in memory: only at one
load offset does ``init_uts_ns`` lie a few bytes before "Linux".
"""

from __future__ import annotations

from vmsieve.filters.linux.arch import header_offsets
from vmsieve.filters.linux.candidates import SEARCHED, SEARCHED_PACKED
from vmsieve.filters.linux.identity import BEFORE_NAME, FIELD_SIZE
from vmsieve.filters.linux.kallsyms import Kallsyms, open_kallsyms
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.candidates import Candidates
    from vmsieve.filters.linux.kallsyms import Read
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import Source

_LINUX: Final = b"Linux".ljust(FIELD_SIZE, b"\0")
#: Alignments of a kernel's load address; largest kernel image.
_STEPS: Final = (2 << 20, 64 << 10, 4096)
_IMAGE_MOST: Final = 256 << 20
_NAMES: Final = ("init_uts_ns", "_stext", "_etext")
_TRIES: Final = 64
#: Bytes to read while symbol tables are verified; a kernel's own takes up to 10 MB.
_READ_MOST: Final = 128 << 20


@record(frozen=True)
class KernelImage:
    """A kernel image, read by virtual address.

    ``delta``: physical minus virtual address. ``shift``: virtual address minus the symbol's, as some tables give
    physical addresses.
    """

    memory: PhysicalMemory
    delta: int
    symbols: Kallsyms
    shift: int = 0

    def read(self, vaddr: int, size: int) -> bytes:
        """Read ``size`` bytes at ``vaddr``. Raises as :meth:`PhysicalMemory.read`."""
        return self.memory.read(vaddr + self.delta, size)

    def addresses(self, names: Collection[str]) -> dict[str, int]:
        """Virtual addresses of those symbols of ``names`` that exist."""
        return {name: address + self.shift for name, address in self.symbols.addresses(names).items()}


def find_image(memory: PhysicalMemory, info: VmcoreInfo, arch: Arch, candidates: Candidates) -> KernelImage:
    """Find the kernel image by VMCOREINFO, else by ``candidates`` for its symbol table."""
    for delta in _deltas(memory, info):
        try:
            symbols = open_kallsyms(_shifted(memory, delta), memory.byte_order, info)
            image = KernelImage(memory, delta, symbols)
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
    raise KernelError("the kernel's symbol table is not in memory")


def _shifted(memory: PhysicalMemory, delta: int) -> Read:
    return lambda vaddr, size: memory.read(vaddr + delta, size)


def _deltas(memory: PhysicalMemory, info: VmcoreInfo) -> Iterator[int]:
    """Physical minus virtual address of the kernel image, according to the dump's headers and VMCOREINFO."""
    vaddr = info.symbol("kallsyms_names")
    if vaddr is None:
        return
    yield from (-offset for offset in header_offsets(memory, vaddr))
    phys_base = info.number("phys_base")
    if phys_base is not None:
        # x86_64: __START_KERNEL_map, arch/x86/include/asm/page_64_types.h.
        yield phys_base - 0xFFFFFFFF80000000


def _holds_name(read: Read, paddr: int) -> bool:
    """True if a UTS namespace is there: the first string is "Linux", the third begins with a digit."""
    try:
        data = read(paddr, BEFORE_NAME + 3 * FIELD_SIZE)
    except (KernelError, ReadError):
        return False
    at = data.find(_LINUX)
    return 0 <= at <= BEFORE_NAME and data[at + 2 * FIELD_SIZE : at + 2 * FIELD_SIZE + 1].isdigit()


class _Bounded:
    """A read function with one budget for all candidates: memory full of false ones must not cost hours."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._left = _READ_MOST
        self.found = False

    def __call__(self, address: int, size: int) -> bytes:
        self._left -= size
        if self._left < 0 and not self.found:
            raise KernelError("too much memory looks like symbol tables", expected=_READ_MOST)
        return self._read(address, size)


def _image_at(memory: PhysicalMemory, read: Read, arch: Arch, digits: int) -> KernelImage | None:
    from vmsieve.filters.linux.kallsyms_search import open_by_tokens

    try:
        symbols = open_by_tokens(read, memory.byte_order, digits)
        found = symbols.addresses(_NAMES)
        if "init_uts_ns" not in found:
            return None
        if not symbols.relative:
            delta = _delta(read, found, digits)
            return None if delta is None else KernelImage(memory, delta, symbols)
        if arch.virtual is None or not _holds_name(read, found["init_uts_ns"]):
            return None
        shift = arch.virtual(memory, symbols.addresses(arch.roots), found["_stext"])
        return None if shift is None else KernelImage(memory, -shift, symbols, shift)
    except (KernelError, ReadError):
        return None


def _delta(read: Read, symbols: dict[str, int], digits: int) -> int | None:
    """Try load offsets: the tokens, at physical address ``digits``, follow the kernel's text within _IMAGE_MOST."""
    low, high = digits - symbols["_etext"] - _IMAGE_MOST, digits - symbols["_stext"]
    for step in _STEPS:
        for delta in range(high // step * step, low, -step):
            if _holds_name(read, symbols["init_uts_ns"] + delta):
                return delta
    return None


def relocate(memory: PhysicalMemory, info: VmcoreInfo, arch: Arch) -> bytes | None:
    """Move VMCOREINFO made from a vmlinux file to the addresses that KASLR chose; None if the kernel is not found.

    The kernel's name in memory locates its image, and page tables that map themselves prove it.
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
        derived = DerivedKeys(moved, _shifted(memory, -shift), None, memory.byte_order)
        lines = [f"SYMBOL({name})={at:x}" for name, at in moved.items()]
        for key in (f"NUMBER({name})" for name in VARIABLES):
            value, _ = derived.derive(key, info.release)
            lines += [f"{key}={value}"] if value is not None else []
        rest = [line for line in info.text.decode("ascii", "replace").splitlines() if not line.startswith("SYMBOL(")]
        return "".join(f"{line}\n" for line in (*rest, *lines)).encode("ascii", "replace")
    return None


def _named(source: Source, release: bytes) -> Iterator[int]:
    """Yield physical addresses of UTS names with this release."""
    from vmsieve.filters.linux.memory_scan import scan_memory

    left = SEARCHED_PACKED if source.compressed else SEARCHED
    tries = _TRIES
    wanted = release + b"\0"
    for at, data in scan_memory(source, 0, source.end(), keep=3 * FIELD_SIZE):
        found = data.find(_LINUX)
        while found >= 0 and tries:
            if data.startswith(wanted, found + 2 * FIELD_SIZE):
                yield at + found
                tries -= 1
            found = data.find(_LINUX, found + 1)
        left -= len(data)
        if left < 0 or not tries:
            return
