"""Dump formats written.

A plugin is one file that ends in ``FORMAT``, an :class:`OutputFormat`. A writer does no I/O of its own: it is handed
``put``, which takes bytes for a place in the file, and decides what goes where. The same writer so serves a file, a
flattened stream and a pipe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Callable, Protocol

from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.bitmap import PageBits
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.source import LargeNote, VirtualRange

__all__ = [
    "MARK_SIZE",
    "Batch",
    "Description",
    "OutputFormat",
    "Place",
    "Writer",
    "output_format",
    "output_formats",
]  # fmt: skip


class Place(Protocol):
    """Where a writer's bytes go: a file, a flattened stream, a pipe. :mod:`vmsieve.formats.places` has them.

    No byte is put twice. The few bytes that tell a whole dump from a torn one are announced with :meth:`hold` where
    they belong and settled when the last page is written. A place whose ``rewrites`` is true settles any bytes.
    """

    def put(self, offset: int, data: bytes | bytearray | memoryview, unit: int = 1) -> None:
        """Store ``data`` at ``offset``. What was never put reads as zeros.

        ``data`` is a row of things of ``unit`` bytes each. Where the medium allows, one that only a part of could be
        stored is taken back, so that it reads as zeros too.

        Raises:
            OutputError: No room, or the medium fails, or nobody reads the pipe any more.
        """

    def hold(self, offset: int, torn: bytes, whole: bytes) -> None:
        """Set aside the bytes at ``offset``: ``torn`` if the dump ends before :meth:`settle`, else what that says.

        A plain pipe can't go back: it takes ``whole`` at once, and its reader sees by the length that the dump is torn.
        """

    def settle(self, offset: int, data: bytes) -> None:
        """The final value of bytes announced with :meth:`hold`."""

    def extend(self, size: int) -> None:
        """The file is at least ``size`` bytes long: zeros at its end need not be put."""

    def flush(self) -> None:
        """Hand on what was gathered so far, so that it outlives this process.

        Raises:
            OutputError: As :meth:`put`.
        """

    def finish(self) -> None:
        """The writer has ended: hand on everything, and whatever marks the end.

        Raises:
            OutputError: As :meth:`put`.
        """


@record(frozen=True)
class Description:
    """What a writer has to know before the first page.

    Attributes:
        machine: As ``uname -m``; empty if it is not known.
        machine_number: ``e_machine``; 0 if it is not known.
        byte_order: Of the machine that crashed: headers are written in it.
        page_size: Bytes.
        max_pfn: One above the highest page frame.
        exists: Page frames that the machine had.
        kept: Page frames that will be handed over, zero pages among them.
        notes: ELF notes as stored in the input.
        vmcoreinfo: Where in ``notes`` the VMCOREINFO text is: offset and size; None if it is not there.
        eraseinfo: Likewise the record of what was erased.
        utsname: Six strings; what is not known is empty.
        crash_time: Seconds since 1970; 0 if unknown.
        phys_base: Physical address that the kernel's text was loaded above (x86_64); 0 elsewhere.
        dump_level: What was left out.
        cpus: Number of NT_PRSTATUS notes.
        codec: Of the pages; None for a format that stores them as they are.
        part: Of a dump that is shared out among several files, the page frames of this one: the first, and one above
            the last; None for a whole dump. Of ``kept`` only these are handed over.
        virtual: Kernel mappings the input's headers told.
        read: ``(address, size)``: bytes of the input's physical memory, or None where they can't be had.
        large_notes: Notes that follow ``notes``, and are still in the input.
        read_note: ``(offset, out)``: fills ``out`` from the input's file, for ``large_notes``.
        share_zeros: Zero pages are handed over without bytes whatever the level is.
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
    """Pages on their way out, in ascending order; valid until the writer returns.

    Attributes:
        count: Pages.
        pfns: ``count`` page frame numbers, native 64-bit words.
        sizes: ``count`` native 32-bit words: bytes of each page in ``data``; 0 for a zero page that is not stored (the
            writer points at its shared block, or leaves a hole), and for a page that could not be read.
        flags: ``count`` native 32-bit words: the codec's flag, 0 for a page stored as it is, ``UNREADABLE``.
        data: The pages' bytes, one after another.
    """

    count: int
    pfns: memoryview
    sizes: memoryview
    flags: memoryview
    data: memoryview


class Writer(ABC):
    """One dump being written. Calls come in order: ``begin``, ``pages`` for each batch, ``end``."""

    @abstractmethod
    def begin(self) -> None:
        """Write what comes before the first page, marked incomplete."""

    @abstractmethod
    def pages(self, batch: Batch) -> None:
        """Write the next pages.

        Raises:
            OutputError: They can't be written.
        """

    @abstractmethod
    def end(self, *, complete: bool) -> None:
        """Write what comes last; ``complete`` is False when pages are missing from it.

        When an earlier call failed, this one with ``complete`` False still leaves the best that is to be had.

        Raises:
            OutputError: It can't be written.
            AssertionError: More or fewer pages came than were announced, and ``complete`` is True.
        """


#: What :attr:`OutputFormat.torn_mark` is shown of a file.
MARK_SIZE = 512


@record(frozen=True)
class OutputFormat:
    """A dump format written.

    Attributes:
        name: Short and unique.
        title: For people.
        packed: Pages are compressed one by one; else they are wanted as they are (codec ``none``).
        sequential: Everything is put in ascending order of offset, so a pipe can take it as it is.
        bridge: Dropped pages in a row that are stored nevertheless when fewer, because leaving them out costs more than
            they do; 0 where every page stands for itself.
        writer: ``(description, place) -> Writer``.
        torn_mark: Shown the first :data:`MARK_SIZE` bytes of a file: if it is of this format, the bytes that mark it
            as incomplete, and where they belong; else None.
        tells_absent: Pages that were left out can be told from zeros in it.
    """

    name: str
    title: str
    packed: bool
    sequential: bool
    bridge: int
    writer: Callable[[Description, Place], Writer]
    torn_mark: Callable[[bytes], tuple[int, bytes] | None]
    tells_absent: bool = True


def output_formats() -> list[OutputFormat]:
    """All output formats, in order of their modules' names."""
    from vmsieve.formats import outputs as room
    from vmsieve.formats.plugins import scan

    return scan(room, "FORMAT", OutputFormat)


def output_format(name: str) -> OutputFormat:
    """The output format called ``name``.

    Raises:
        UsageError: There is none; the message names those there are.
    """
    from vmsieve.formats import outputs as room
    from vmsieve.formats.plugins import load

    return load(room, "FORMAT", name, "output format", OutputFormat)
