"""Source: an open dump of any format. It has physical memory, notes and byte order, and knows nothing of kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vmsieve.formats.errors import ReadError
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.mapping import FilePiece


@record(frozen=True)
class MemoryRange:
    """Physical memory ``start <= paddr < end`` of the machine, which the dump stores up to ``stored_end``."""

    start: int
    end: int
    stored_end: int


def join_ranges(pieces: Iterable[tuple[int, int, int]]) -> Iterator[MemoryRange]:
    """Make ranges of ``start, end, stored_end``, ascending, as long as possible."""
    start = end = stored_end = 0
    for first, last, stored in pieces:
        whole = stored_end == end
        if first == end and (whole or stored == first):
            end, stored_end = last, stored if whole else stored_end
            continue
        if start < end:
            yield MemoryRange(start, end, stored_end)
        start, end, stored_end = first, last, stored
    if start < end:
        yield MemoryRange(start, end, stored_end)


@record(frozen=True)
class LeftOut:
    """Stored memory that is left out although the dump level does not exclude it."""

    start: int  # lowest physical address
    end: int  # one above the highest
    size: int  # bytes left out, which may be only parts of the range
    reason: str  # a clause for messages

    def __str__(self) -> str:
        return f"{self.size} bytes in {self.start:#x} - {self.end - 1:#x} are left out: {self.reason}"


@record(frozen=True)
class VirtualRange:
    """Kernel virtual memory ``vaddr .. vaddr + size``, which the dump's headers map to ``paddr``."""

    vaddr: int
    paddr: int
    size: int


@record(frozen=True)
class Cpu:
    """One processor's NT_PRSTATUS note: ordinal from 0, ``pr_pid``, and ``pr_reg`` as stored.

    Registers are in the dump's byte order and the architecture's layout.
    """

    index: int
    pid: int
    registers: bytes


@record(frozen=True)
class LargeNote:
    """A note too large for memory, left in the file: a device dump."""

    head: bytes  # header and name as stored, padding included
    offset: int  # byte offset of the descriptor in the file
    size: int  # bytes of the descriptor, without padding


@record
class Source(ABC):
    """An open dump."""

    file: ByteFile
    format: str = ""  # name and version of the format, for messages
    #: As ``uname -m``, such as ``"x86_64"``; None: the format does not say, and ``inputs/_machine.py`` finds no
    #: evidence in memory.
    machine: str | None = None
    byte_order: str = "little"  # ``"little"`` or ``"big"``
    page_size: int | None = None  # bytes per page in this format; None: the format does not say (ELF)
    #: The ELF notes as stored (name, type, descriptor; 4-byte aligned). VMCOREINFO and the record of erased data, if
    #: another header points to them, are in front, each as a note.
    notes: bytes = b""
    vmcoreinfo: bytes | None = None  # text of the VMCOREINFO note as stored, or None
    virtual: tuple[VirtualRange, ...] = ()  # kernel mappings in the headers, in header order
    cpus: tuple[Cpu, ...] = ()  # the processors' registers
    dump_level: int = 0  # dump level of the writer, as makedumpfile's bit mask; 0: nothing was excluded
    incomplete: bool = False  # the dump is marked incomplete, or truncated
    mixed: bool = False  # memory of several kernels, none of which describes all of it
    #: Which of several kernels to read (:data:`vmsieve.formats.systems.SYSTEMS`); None: unspecified.
    selected: str | None = None
    written: int | None = None  # pages that a torn dump has; None: its format does not tell
    described: int | None = None  # pages that it would have, whole
    cut: bool = False  # the file lost its end after it was written: ``written`` is a lower bound
    compressed: bool = False  # pages are stored packed: reading an unneeded page costs as much as a needed one
    sparse: bool = False  # most of memory is zeros that the file does not store: an output need not store them either
    header: dict[str, object] = field(default_factory=dict)  # header values for ``info``, by name
    remarks: list[str] = field(default_factory=list)  # for the user
    passed_over: list[LeftOut] = field(default_factory=list)  # stored memory that this reader can't use
    utsname: tuple[str, ...] = ()  # sysname, nodename, release, version, machine, domainname, if the header has them
    crash_time: int | None = None  # seconds since 1970, if the header has it
    machine_number: int = 0  # ``e_machine`` of the ELF header; 0 without one
    large_notes: tuple[LargeNote, ...] = ()  # notes too large for memory
    narrow: bool = False  # the headers are those of a 32-bit machine
    #: Physical addresses of the lowcores of an s390x machine's processors, if the header has them.
    prefixes: tuple[int, ...] = ()

    @abstractmethod
    def end(self) -> int:
        """One above the highest physical address of any range, in bytes."""

    @abstractmethod
    def ranges(self) -> Iterator[MemoryRange]:
        """Yield the memory ranges: ascending, disjoint, each as long as possible. There may be very many.

        Ranges touch where stored memory follows memory that is not stored.
        """

    def next_memory(self, paddr: int) -> int:
        """Address, or a lower bound, of the next memory at or above ``paddr``; at most :meth:`end`.

        Scans use it: a range may lie millions of gibibytes above the one before.
        """
        return paddr

    def next_data(self, paddr: int) -> int:
        """Address, or a lower bound, of the next stored memory at or above ``paddr`` that is not known to be zero.

        At most :meth:`end`. Searches use it to skip zeros that a dump does not store.
        """
        return paddr

    @abstractmethod
    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        """Bitmaps of existing and of stored page frames ``first_pfn .. first_pfn + count``.

        One bit per page, least significant first, ``count // 8`` bytes each; ``first_pfn`` and ``count`` are multiples
        of 8. A page exists if a range has any byte of it, and is stored if the dump has any byte of it: the rest reads
        as zeros. Pages that were excluded, or lie behind the end of the file, exist and are not stored.
        """

    def knows_zeros(self) -> bool:
        """True if :meth:`zero_bits` may know of any page."""
        return False

    def zero_bits(self, first_pfn: int, count: int, page_size: int) -> bytearray | None:  # noqa: ARG002
        """Bitmap of stored page frames that are zeros, as far as that is known without reading them; None: of no page.

        The numbers are as for :meth:`memory_bits`. Bits of pages that are not stored mean nothing.
        """
        return None

    def will_read(self, spans: list[tuple[int, int]]) -> bool:  # noqa: ARG002
        """Prepare for reads of ``spans`` of physical memory (address, size), which will follow in this order.

        Called again and again, some MiB ahead of the reads; returns at once, without an error. False: the source has no
        use for it, now or later.
        """
        return False

    @abstractmethod
    def read_into(self, paddr: int, out: memoryview) -> None:
        """Fill all of ``out`` with physical memory from ``paddr`` on. May run in several threads at once.

        Existing pages that are not stored read as zeros if any page of the span is stored (:meth:`memory_bits` shows
        them); so do bytes of a stored page behind the end of its range.

        Raises:
            ReadError: A page of the span does not exist or is damaged, or none is stored; ``offset`` is its physical
                address.
        """

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None:  # noqa: ARG002 - most formats have none
        """The pieces of plain files that hold ``size`` bytes of physical memory; None if :meth:`read_into` must do it.

        May run in several threads at once. The pieces need not be readable: reading gives the reason.
        """
        return None

    def find_stored(self, paddr: int, size: int) -> tuple[int, int] | None:  # noqa: ARG002 - most formats have none
        """Find ``size`` bytes of physical memory in a plain file: file descriptor and offset, to read with pread.

        None if they are stored otherwise, or if mapping is faster, as of ``/proc/vmcore``.
        """
        return None

    def shrunk(self) -> bool:
        """True if the file has become shorter since it was opened."""
        return bool(getattr(self.file, "shrunk", bool)())

    def note_shrinking(self) -> list[str]:
        """Set ``incomplete`` if the file has become shorter since it was opened; returns remarks."""
        if not self.shrunk():
            return []
        self.incomplete = True
        return [f"{self.file.name}: the file has become shorter while it was read"]

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def read_bytes(source: Source, paddr: int, size: int) -> bytes | None:
    """``size`` bytes of physical memory, or None if the dump lacks any of them."""
    if not 0 <= paddr <= source.end() - size:
        return None
    out = bytearray(size)
    try:
        source.read_into(paddr, memoryview(out))
    except ReadError:
        return None
    return bytes(out)
