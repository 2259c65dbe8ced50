"""Dump formats written.

Belongs here: one file per format, ending in ``FORMAT``, an :class:`OutputFormat`, and helpers (``_x``) shared by them.
Does not: I/O. A writer puts bytes at offsets of a *place*, so it serves a file, a flattened stream and a pipe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Callable, Protocol

from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.bitmap import PageBits
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.source import LargeNote, VirtualRange


class Place(Protocol):
    """The target of a writer's bytes: a file, a flattened stream, a pipe; see :mod:`vmsieve.formats.places`.

    No byte is put twice. The few bytes that mark a dump as whole or torn are announced with :meth:`hold` and settled
    after the last page. A place whose ``rewrites`` is true settles any bytes.
    """

    def put(self, offset: int, data: bytes | bytearray | memoryview, unit: int = 1) -> None:
        """Store ``data`` at ``offset``. Bytes never put read as zeros.

        ``data`` is a row of records of ``unit`` bytes. If the medium allows, a partially stored record is zeroed.

        Raises:
            OutputError: No space, the medium fails, or the pipe has no reader.
        """

    def hold(self, offset: int, torn: bytes, whole: bytes) -> None:
        """Reserve the bytes at ``offset``: ``torn`` if the dump ends before :meth:`settle`, else the settled value.

        A plain pipe can't go back: it sends ``whole`` at once, and its reader sees by the length that the dump is torn.
        """

    def settle(self, offset: int, data: bytes) -> None:
        """Set the final value of bytes announced with :meth:`hold`."""

    def extend(self, size: int) -> None:
        """Make the file at least ``size`` bytes long: zeros at its end need not be put."""

    def flush(self) -> None:
        """Write gathered bytes, so that they outlive this process. Raises as :meth:`put`."""

    def finish(self) -> None:
        """Write everything, and the end mark. Raises as :meth:`put`."""


@record(frozen=True)
class Description:
    """Everything that a writer needs before the first page.

    Attributes:
        machine: As ``uname -m``; empty if unknown.
        machine_number: ``e_machine``; 0 if unknown.
        byte_order: Of the crashed machine, and of the headers.
        page_size: Bytes.
        max_pfn: One above the highest page frame.
        exists: Page frames that the machine had.
        kept: Page frames to write, including zero pages.
        notes: ELF notes as stored in the input.
        vmcoreinfo: Offset and size of the VMCOREINFO text in ``notes``; None without one.
        eraseinfo: Likewise the record of erased data.
        utsname: Six strings; empty if unknown.
        crash_time: Seconds since 1970; 0 if unknown.
        phys_base: Physical address that the kernel's text was loaded above (x86_64); 0 elsewhere.
        dump_level: Page classes left out.
        cpus: Number of NT_PRSTATUS notes.
        codec: Codec of the pages; None for a format that stores them as they are.
        part: For one file of a split dump: its first page frame, and one above the last; only these of ``kept`` come.
            None for a whole dump.
        virtual: Kernel mappings in the input's headers.
        read: ``(address, size)``: bytes of the input's physical memory, None if unreadable.
        large_notes: Notes behind ``notes`` that are still in the input.
        read_note: ``(offset, out)``: fills ``out`` from the input's file, for ``large_notes``.
        share_zeros: Zero pages come without bytes at any level.
    """

    machine: str
    byte_order: str
    page_size: int
    max_pfn: int
    exists: PageBits
    kept: PageBits
    notes: bytes = b""
    vmcoreinfo: tuple[int, int] | None = None
    eraseinfo: tuple[int, int] | None = None
    utsname: Sequence[str] = ("", "", "", "", "", "")
    crash_time: int = 0
    phys_base: int = 0
    dump_level: int = 0
    cpus: int = 0
    codec: Codec | None = None
    part: tuple[int, int] | None = None
    virtual: Sequence[VirtualRange] = ()
    read: Callable[[int, int], bytes | None] | None = None
    machine_number: int = 0
    large_notes: Sequence[LargeNote] = ()
    read_note: Callable[[int, memoryview], None] | None = None
    share_zeros: bool = False


@record
class Batch:
    """Pages for a writer, ascending; valid until it returns.

    Attributes:
        count: Pages.
        pfns: ``count`` page frame numbers, native 64-bit words.
        sizes: ``count`` native 32-bit words: bytes of each page in ``data``; 0 for a zero page that is not stored (the
            writer points at its shared block, or leaves a hole) and for an unreadable page.
        flags: ``count`` native 32-bit words: the codec's flag, 0 for a page stored as it is, or ``UNREADABLE``.
        data: The pages' bytes, one after another.
    """

    count: int
    pfns: memoryview
    sizes: memoryview
    flags: memoryview
    data: memoryview


class Writer(ABC):
    """One dump being written. Order of calls: ``begin``, ``pages`` for each batch, ``end``."""

    @abstractmethod
    def begin(self) -> None:
        """Write everything before the first page, marked incomplete."""

    @abstractmethod
    def pages(self, batch: Batch) -> None:
        """Write the next pages.

        Raises:
            OutputError: The write fails.
        """

    @abstractmethod
    def end(self, *, complete: bool) -> None:
        """Write the rest; ``complete`` is False if pages are missing.

        After a failed call, ``end(complete=False)`` still makes the dump as usable as possible.

        Raises:
            OutputError: The write fails.
            AssertionError: ``complete`` is True, but more or fewer pages came than announced.
        """


#: Bytes of a file that :attr:`OutputFormat.torn_mark` needs.
MARK_SIZE = 512


@record(frozen=True)
class OutputFormat:
    """A dump format written.

    Attributes:
        name: Short and unique.
        title: For people.
        packed: Pages are compressed one by one; else they come as they are (codec ``none``).
        sequential: Everything is put in ascending order of offset, so a pipe will do.
        bridge: Runs of fewer dropped pages are stored, as leaving them out costs more; 0 if every page stands for
            itself.
        writer: ``(description, place) -> Writer``.
        torn_mark: For the first :data:`MARK_SIZE` bytes of a file of this format: offset and bytes of the mark of an
            incomplete dump; else None.
        marks_absent: A reader can distinguish left out pages from zeros.
    """

    name: str
    title: str
    packed: bool
    sequential: bool
    bridge: int
    writer: Callable[[Description, Place], Writer]
    torn_mark: Callable[[bytes], tuple[int, bytes] | None]
    marks_absent: bool = True


def output_formats() -> list[OutputFormat]:
    """All output formats in order of their modules' names."""
    from vmsieve.formats import outputs as room
    from vmsieve.formats.plugins import scan

    return scan(room, "FORMAT", OutputFormat)


def output_format(name: str) -> OutputFormat:
    """The output format ``name``.

    Raises:
        UsageError: Unknown name; the message lists the known ones.
    """
    from vmsieve.formats import outputs as room
    from vmsieve.formats.plugins import load

    return load(room, "FORMAT", name, "output format", OutputFormat)
