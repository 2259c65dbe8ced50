"""Dump formats written.

Belongs here: one file per format, ending in ``FORMAT``, an :class:`OutputFormat`, and helpers (``_x``) shared by them.
Does not: I/O. A writer puts bytes at offsets of a *place*, so it serves a file, a flattened stream and a pipe.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from time import monotonic

from vmsieve.formats.notes import padded
from vmsieve.formats.plugins import load, scan
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.bitmap import PageBits
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.source import LargeNote, VirtualRange

#: Bytes of a large note copied at a time.
_STEP: Final = 256 << 10
#: Seconds between syncs at checkpoints, at least.
_SYNC_PERIOD: Final = 1.0


class Place(Protocol):
    """The target of a writer's bytes: a file, a flattened stream, a pipe; see :mod:`vmsieve.formats.places`.

    No byte is put twice. The few bytes that mark a dump as whole or torn are announced with :meth:`hold` and settled
    after the last page. A place whose ``rewrites`` is true settles any bytes.
    """

    def put(self, offset: int, data: bytes | bytearray | memoryview, unit: int = 1) -> None:
        """Store ``data`` at ``offset``. Bytes never put read as zeros.

        ``data`` is a row of records of ``unit`` bytes. If the medium allows, a partially stored record is zeroed.
        OutputError: no space, the medium fails, or the pipe has no reader.
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

    def sync(self) -> None:
        """As :meth:`flush`; where the medium allows, the bytes also outlive a power failure."""

    def finish(self) -> None:
        """Write everything, and the end mark. Raises as :meth:`put`."""


@record(frozen=True)
class Description:
    """Everything that a writer needs before the first page."""

    machine: str  #: As ``uname -m``; empty if unknown.
    byte_order: str  #: Of the crashed machine, and of the headers.
    page_size: int
    max_pfn: int  #: One above the highest page frame.
    exists: PageBits  #: Page frames that the machine had.
    kept: PageBits  #: Page frames to write, including zero pages.
    notes: bytes = b""  #: ELF notes as stored in the input.
    vmcoreinfo: tuple[int, int] | None = None  #: Offset and size of the VMCOREINFO text in ``notes``.
    eraseinfo: tuple[int, int] | None = None  #: Likewise the record of erased data.
    utsname: Sequence[str] = ("", "", "", "", "", "")  #: Six strings; empty if unknown.
    crash_time: int = 0  #: Seconds since 1970; 0 if unknown.
    phys_base: int = 0  #: Physical address that the kernel's text was loaded above (x86_64).
    dump_level: int = 0  #: Page classes left out.
    cpus: int = 0  #: Number of NT_PRSTATUS notes.
    codec: Codec | None = None  #: Of the pages; None for a format that stores them as they are.
    #: For one file of a split dump: its first page frame, and one above the last; only these of ``kept`` come.
    part: tuple[int, int] | None = None
    virtual: Sequence[VirtualRange] = ()  #: Kernel mappings in the input's headers.
    #: ``(address, size)``: bytes of the input's physical memory, None if unreadable.
    read: Callable[[int, int], bytes | None] | None = None
    machine_number: int = 0  #: ``e_machine``; 0 if unknown.
    large_notes: Sequence[LargeNote] = ()  #: Notes behind ``notes`` that are still in the input.
    #: ``(offset, out)``: fills ``out`` from the input's file, for ``large_notes``.
    read_note: Callable[[int, memoryview], None] | None = None
    share_zeros: bool = False  #: Zero pages come without bytes at any level.
    passes: bool = False  #: Batches come in several passes over memory, each ascending; else in one.


@record
class Batch:
    """Pages for a writer, ascending; valid until it returns."""

    count: int
    pfns: memoryview  #: ``count`` page frame numbers, native 64-bit words.
    #: ``count`` native 32-bit words: bytes of each page in ``data``; 0 for a zero page that is not stored (the writer
    #: points at its shared block, or leaves a hole) and for an unreadable page.
    sizes: memoryview
    flags: memoryview  #: Native 32-bit words: the codec's flag, 0 for a page stored as it is, or ``UNREADABLE``.
    data: memoryview  #: The pages' bytes, one after another.


class Writer(ABC):
    """One dump being written. Order of calls: ``begin``, ``pages`` for each batch, ``end``."""

    overhead = 0  # bytes before the data of pages, known after ``begin``

    @abstractmethod
    def begin(self) -> None:
        """Write everything before the first page, marked incomplete."""

    @abstractmethod
    def pages(self, batch: Batch) -> None:
        """Write the next pages; OutputError if the write fails."""

    def checkpoint(self) -> None:  # noqa: B027 - writers of no file need none
        """Write all pages taken so far, after a pass, and sync them soon: a power failure then costs none.

        Raises:
            OutputError: The write fails.
        """

    @abstractmethod
    def end(self, *, complete: bool) -> None:
        """Write the rest; ``complete`` is False if pages are missing.

        After a failed call, ``end(complete=False)`` still makes the dump as usable as possible. OutputError: the write
        fails. AssertionError: ``complete`` is True, but more or fewer pages came than announced.
        """


class FileWriter(Writer):
    """A writer of one file, which counts its pages."""

    def __init__(self, description: Description, place: Place) -> None:
        self._it = description
        self._place = place
        self._order = description.byte_order
        self._pages = 0  # that came
        self._missing = 0  # unreadable ones among them
        self._unsynced, self._next_sync = False, monotonic() + _SYNC_PERIOD

    def _all_came(self, announced: int, *, demanded: bool) -> bool:
        """True if ``announced`` pages came; AssertionError if others did and this is ``demanded``."""
        if demanded and self._pages != announced:
            raise AssertionError(f"{self._pages} pages came, {announced} were announced")
        return self._pages == announced

    def _took(self, pages: int, missing: int) -> None:
        """Count pages that were put."""
        self._pages += pages
        self._missing += missing
        self._sync()

    def checkpoint(self) -> None:
        self._place.flush()
        self._unsynced = True
        self._sync()

    def _sync(self) -> None:
        """Sync what :meth:`checkpoint` flushed, at most once a period: on a slow disk each sync costs a seek."""
        if self._unsynced and (now := monotonic()) >= self._next_sync:
            self._place.sync()
            self._unsynced, self._next_sync = False, now + _SYNC_PERIOD

    def _notes_size(self) -> int:
        """Bytes of all notes."""
        large = self._it.large_notes
        return len(self._it.notes) + sum(len(note.head) + note.size + -note.size % 4 for note in large)

    def _put_notes(self, offset: int) -> None:
        """Put all notes at ``offset``: those in memory, then large ones, copied piece by piece."""
        self._place.put(offset, self._it.notes)
        offset += len(self._it.notes)
        read = self._it.read_note
        for note in self._it.large_notes:
            self._place.put(offset, note.head)
            offset += len(note.head)
            for at in range(0, note.size, _STEP):
                piece = bytearray(min(_STEP, note.size - at))
                if read is not None:
                    read(note.offset + at, memoryview(piece))
                self._place.put(offset + at, padded(bytes(piece)))
            offset += note.size + -note.size % 4


#: Bytes of a file that :attr:`OutputFormat.torn_mark` needs.
MARK_SIZE = 512


@record(frozen=True)
class OutputFormat:
    """A dump format written."""

    name: str  #: Short and unique.
    title: str  #: For people.
    packed: bool  #: Pages are compressed one by one; else they come as they are (codec ``none``).
    sequential: bool  #: Everything is put in ascending order of offset, so a pipe will do.
    #: Runs of fewer dropped pages are stored, as leaving them out costs more; 0 if every page stands for itself.
    bridge: int
    writer: Callable[[Description, Place], Writer]
    #: For the first :data:`MARK_SIZE` bytes of a file of this format: offset and bytes of the mark of an incomplete
    #: dump; else None.
    torn_mark: Callable[[bytes], tuple[int, bytes] | None]
    passes: bool = False  #: Pages may come in several passes over memory.
    marks_absent: bool = True  #: A reader can distinguish left out pages from zeros.


def output_formats() -> list[OutputFormat]:
    """All output formats in order of their modules' names."""
    return scan(sys.modules[__name__], "FORMAT", OutputFormat)


def output_format(name: str) -> OutputFormat:
    """The output format ``name``; UsageError, which lists the known ones, for an unknown name."""
    return load(sys.modules[__name__], "FORMAT", name, "output format", OutputFormat)
