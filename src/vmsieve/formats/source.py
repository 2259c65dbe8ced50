"""What a dump holds, whatever its format: bytes of physical memory, notes, byte order. It knows nothing of kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from vmsieve.formats.slim.records import field, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

__all__ = ["Cpu", "LargeNote", "LeftOut", "MemoryRange", "Source", "VirtualRange"]


@record(frozen=True)
class MemoryRange:
    """Physical memory ``start <= paddr < end`` that the machine had.

    All of it up to ``stored_end`` is in the dump, and nothing from there on.
    """

    start: int
    end: int
    stored_end: int


@record(frozen=True)
class LeftOut:
    """Stored memory that is left out though no dump level asked for it.

    Attributes:
        start: Its lowest physical address.
        end: One above its highest.
        size: Bytes; less than the range where only parts of that are meant.
        reason: Why, for a sentence that begins with the range.
    """

    start: int
    end: int
    size: int
    reason: str

    def __str__(self) -> str:
        return f"{self.size} bytes in {self.start:#x} - {self.end - 1:#x} are left out: {self.reason}"


@record(frozen=True)
class VirtualRange:
    """Kernel virtual memory ``vaddr .. vaddr + size`` that the dump's headers map to ``paddr``."""

    vaddr: int
    paddr: int
    size: int


@record(frozen=True)
class Cpu:
    """One processor's NT_PRSTATUS note.

    Attributes:
        index: Ordinal of the note, from 0.
        pid: ``pr_pid``.
        registers: ``pr_reg`` as stored: raw bytes in the dump's byte order; what they mean is the architecture's.
    """

    index: int
    pid: int
    registers: bytes


@record(frozen=True)
class LargeNote:
    """A note that stays in the file.

    Attributes:
        head: Its header and name as stored, padding included.
        offset: Byte offset of the descriptor in the input's file.
        size: Bytes of the descriptor, without padding.
    """

    head: bytes
    offset: int
    size: int


@record
class Source(ABC):
    """An open dump.

    Attributes:
        file: The bytes it is read from.
        format: Name of the format, with its version where it has one, for people.
        machine: The machine's name as ``uname -m`` says it, such as ``"x86_64"``; None when the format does not say.
        byte_order: ``"little"`` or ``"big"``.
        page_size: Bytes a page in this format, or None when the format does not say (ELF).
        notes: The ELF notes as stored (name, type, descriptor; 4-byte aligned). VMCOREINFO and the record of erased
            data that another header names are in front, each as a note.
        vmcoreinfo: Text of the VMCOREINFO note as stored, or None.
        virtual: Kernel mappings that the headers tell, in header order.
        cpus: The processors' registers.
        dump_level: What was left out when the dump was written, as makedumpfile's bit mask; 0 when nothing.
        incomplete: The dump says or shows that it is not whole.
        mixed: Memory of several kernels: none may speak for all of it.
        selected: Which of several kernels in it is meant (:data:`vmsieve.formats.systems.SYSTEMS`); None: not said.
        compressed: Pages are stored packed, so that reading a page that is not needed costs as much as one that is.
        sparse: Most of memory is zeros that the file does not store: a dump need not store them either.
        header: Facts of the format's own header, for people (``info``): name and value.
        oddities: Sentences on what is unusual about the file.
        passed_over: Memory that the file stores and that this reader can't take.
        utsname: sysname, nodename, release, version, machine, domainname, if the format's header has them.
        crash_time: Seconds since 1970, if the format's header has it.
        machine_number: ``e_machine`` of the input's ELF header; 0 without one.
        large_notes: Notes too large to be held in memory: devices' dumps.
    """

    file: ByteFile
    format: str = ""
    machine: str | None = None
    byte_order: str = "little"
    page_size: int | None = None
    notes: bytes = b""
    vmcoreinfo: bytes | None = None
    virtual: tuple[VirtualRange, ...] = ()
    cpus: tuple[Cpu, ...] = ()
    dump_level: int = 0
    incomplete: bool = False
    mixed: bool = False
    selected: str | None = None
    compressed: bool = False
    sparse: bool = False
    header: dict[str, object] = field(default_factory=dict)
    oddities: list[str] = field(default_factory=list)
    passed_over: list[LeftOut] = field(default_factory=list)
    utsname: tuple[str, ...] = ()
    crash_time: int | None = None
    machine_number: int = 0
    large_notes: tuple[LargeNote, ...] = ()

    @abstractmethod
    def end(self) -> int:
        """One above the highest physical address of any range, in bytes."""

    @abstractmethod
    def ranges(self) -> Iterator[MemoryRange]:
        """The memory ranges: ascending, disjoint, each as long as possible. May be many; not held in memory.

        Two ranges may touch: where stored memory follows memory that was left out.
        """

    def next_memory(self, paddr: int) -> int:
        """Where memory begins or goes on at or above ``paddr``, or a lower bound of that; at most :meth:`end`.

        For those who look at all memory: a range may lie millions of gibibytes above the one before.
        """
        return paddr

    def next_data(self, paddr: int) -> int:
        """Where stored memory goes on at or above ``paddr`` that is not known to be zero, or a lower bound of that.

        At most :meth:`end`. For those who look for something: a dump may leave out what is zero.
        """
        return paddr

    @abstractmethod
    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        """Two bitmaps of the page frames ``first_pfn .. first_pfn + count``: which exist, and which are stored.

        One bit a page, least significant first, ``count // 8`` bytes each; ``first_pfn`` and ``count`` are multiples
        of 8. A page exists if a range holds any byte of it, and is stored if the dump has any byte of it: what it lacks
        reads as zeros. A page exists and is not stored when the dump left it out or ends before it.
        """

    @abstractmethod
    def read_into(self, paddr: int, out: memoryview) -> None:
        """Fill all of ``out`` with physical memory from ``paddr`` on. May run in several threads at once.

        A page within the span that exists but was left out reads as zeros when other pages are wanted (the caller
        knows from :meth:`memory_bits`); bytes of a stored page past its range's end read as zeros.

        Raises:
            ReadError: A page of the span is not there, or is damaged; ``offset`` is its physical address.
        """

    def map_at(self, address: int, paddr: int, size: int) -> bool:  # noqa: ARG002 - most formats can't
        """Map ``size`` bytes of physical memory to ``address``, to be read only; False where that can't be done.

        ``address`` is in a :class:`vmsieve.formats.mapping.Window`, whose memory is replaced. May run in several
        threads at once. A caller who is told False reads, and learns why if there is a reason.
        """
        return False

    def shrunk(self) -> bool:
        """Whether the file has become shorter since it was opened."""
        shrunk = getattr(self.file, "shrunk", None)
        return shrunk is not None and shrunk()

    def note_shrinking(self) -> list[str]:
        """A sentence if the file has become shorter since it was opened: it is incomplete then."""
        if not self.shrunk():
            return []
        self.incomplete = True
        return [f"{self.file.name}: the file has become shorter while it was read"]

    def close(self) -> None:
        """Give back what was opened."""
        self.file.close()
