"""The last step of a capture: the input's bytes as they are, nothing of them understood.

What holds nothing but zeros becomes a hole; what can't be read becomes zeros, and is listed.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import FormatError, OutputError
from vmsieve.formats.layouts import elf
from vmsieve.formats.outputs import output_format
from vmsieve.pipeline.dump.output import DumpOutput
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.process.signals import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.outputs import Place
    from vmsieve.pipeline.capture.job import Job
    from vmsieve.pipeline.process.progress import Progress

__all__ = ["PlainCopy"]

_STEP: Final = 64 << 10
_PAGE: Final = 4096
_ZEROS: Final = bytes(_STEP)
_FLAGS: Final = slice(48, 52)  # e_flags of an Elf64_Ehdr
_MOST_LISTED: Final = 100


class PlainCopy:
    """One copy.

    Attributes:
        unreadable: Bytes of the input that could not be read.
        listed: Where they are: the first stretches, each the first byte and one above the last.
        stopped: What ended the copy early; None: nothing did.
        bytes: Written.
    """

    def __init__(self, job: Job) -> None:
        """Open the input.

        Raises:
            FormatError: It can't be opened.
        """
        self._job = job
        self.unreadable = 0
        self.listed: list[list[int]] = []
        self.stopped: OutputError | Interrupted | None = None
        self.bytes = 0
        try:
            self._fd = os.open(job.input, os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise FormatError(f"can't open the input: {error.strerror}", file=job.input) from error
        if not self._size or stat.S_ISDIR(os.fstat(self._fd).st_mode):
            raise FormatError("there is nothing in the input that could be copied", file=job.input)
        head = self._read(0, min(_STEP, self._size))
        # What is lost of it is met once more.
        self.unreadable, self.listed = 0, []
        self._order = ">" if head[elf.EI_DATA : elf.EI_DATA + 1] == bytes([elf.ELFDATA2MSB]) else "<"
        self._flags = head[_FLAGS] if head.startswith(elf.MAGIC) and len(head) >= elf.EHDR.size else b""

    def run(self, progress: Progress) -> None:
        """Copy it. Only what comes before the first byte is raised; later errors are in ``stopped``.

        Raises:
            OutputError: The output can't be opened.
            FormatError: Not a byte of the input can be read.
        """
        job = self._job
        plan = Plan(job.input, job.output, 0, flattened=not job.final, size_limit=job.limit, force=not job.final)
        with DumpOutput(plan, output_format("elf")) as target:
            try:
                progress.step("Copying all bytes", -(-self._size // _STEP), _STEP)
                self._copy(target.place, progress)
            except (OutputError, Interrupted) as stop:
                self.stopped = stop
            progress.close()
            if self.unreadable == self._size:
                raise FormatError("nothing of the input can be read", file=job.input)
            try:
                self._finish(target)
            except OutputError as error:
                self.stopped = self.stopped or error
            self.bytes = target.size()

    def _copy(self, place: Place, progress: Progress) -> None:
        if self._flags:
            place.hold(_FLAGS.start, self._marked(), self._flags)
        for at in range(0, self._size, _STEP):
            data = self._read(at, min(_STEP, self._size - at))
            if at == 0 and self._flags:
                place.put(0, data[: _FLAGS.start])
                place.put(_FLAGS.stop, data[_FLAGS.stop :])
            elif data != _ZEROS[: len(data)]:
                place.put(at, data)
            progress.advance(1)

    def _marked(self) -> bytes:
        """The header's flags of an ELF file that is not whole."""
        (flags,) = struct.unpack(self._order + "I", self._flags)
        return struct.pack(self._order + "I", flags | elf.FLAG_INCOMPLETE)

    def _finish(self, target: DumpOutput) -> None:
        whole = not self.unreadable and self.stopped is None
        if self._flags:
            target.place.settle(_FLAGS.start, self._flags if whole else self._marked())
        if self.stopped is None:
            target.place.extend(self._size)
        target.place.finish()
        target.finish()

    def _read(self, at: int, size: int) -> bytes:
        """The bytes from ``at`` on, zeros where they can't be read."""
        try:
            data = os.pread(self._fd, size, at)
        except OSError:
            data = b""
        if len(data) == size:
            return data
        return b"".join(self._page(one, min(_PAGE - one % _PAGE, at + size - one)) for one in self._starts(at, size))

    @staticmethod
    def _starts(at: int, size: int) -> Iterator[int]:
        while size > 0:
            yield at
            step = min(_PAGE - at % _PAGE, size)
            at, size = at + step, size - step

    def _page(self, at: int, size: int) -> bytes:
        try:
            data = os.pread(self._fd, size, at)
        except OSError:
            data = b""
        if len(data) < size:
            self._lose(at + len(data), at + size)
        return data.ljust(size, b"\0")

    def _lose(self, start: int, end: int) -> None:
        self.unreadable += end - start
        if self.listed and self.listed[-1][1] == start:
            self.listed[-1][1] = end
        elif len(self.listed) < _MOST_LISTED:
            self.listed.append([start, end])

    def notes(self) -> list[str]:
        """Sentences for the record."""
        told = []
        if self.listed and self.listed[0][0] < elf.EHDR.size:
            told = ["the input's header can't be read: the copy has its memory, and no tool opens it as it is"]
        told += [f"bytes {start:#x} to {end - 1:#x} of the input can't be read: zeros are in their place"
                for start, end in self.listed]  # fmt: skip
        if self.unreadable > sum(end - start for start, end in self.listed):
            told.append("there are more of them")
        return told

    def close(self) -> None:
        """Give back the input."""
        os.close(self._fd)
