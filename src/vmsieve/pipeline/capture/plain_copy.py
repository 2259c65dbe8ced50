"""The last step of a capture: a copy of the input's bytes without interpretation.

Blocks of zeros become holes. Unreadable ranges become zeros, and are listed.
"""

from __future__ import annotations

import os
import stat
import struct

from vmsieve.formats.errors import FormatError, OutputError
from vmsieve.formats.layouts import elf
from vmsieve.formats.outputs import output_format
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.dump.output import DumpOutput
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.process.signals import Interrupted

if TYPE_CHECKING:
    from vmsieve.formats.outputs import Place
    from vmsieve.pipeline.capture.job import Job
    from vmsieve.pipeline.process.progress import Progress

_BLOCK: Final = 64 << 10
_PAGE: Final = 4096
_ZEROS: Final = bytes(_BLOCK)
_FLAGS: Final = slice(48, 52)  # e_flags of an Elf64_Ehdr
_MOST_LISTED: Final = 100


class PlainCopy:
    """One copy."""

    def __init__(self, job: Job) -> None:
        """Open the input; raises FormatError if that fails or it is empty."""
        self._job = job
        self.unreadable = 0  # bytes of the input
        self._listed: list[list[int]] = []  # the first unreadable ranges: start and end offset of each
        self.stopped: OutputError | Interrupted | None = None  # the error that ended the copy early
        self.bytes = 0  # written
        try:
            self._fd = os.open(job.input, os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise FormatError(f"can't open the input: {error.strerror}", file=job.input) from error
        if not self._size or stat.S_ISDIR(os.fstat(self._fd).st_mode):
            raise FormatError("the input is empty or a directory", file=job.input)
        head = self._read(0, min(_BLOCK, self._size))
        # The copy reads the head again, and counts its errors then.
        self.unreadable, self._listed = 0, []
        self._order = ">" if head[elf.EI_DATA : elf.EI_DATA + 1] == bytes([elf.ELFDATA2MSB]) else "<"
        self._flags = head[_FLAGS] if head.startswith(elf.MAGIC) and len(head) >= elf.EHDR.size else b""

    def run(self, progress: Progress) -> None:
        """Copy the input, and close it. Errors after the first byte are not raised but stored in ``stopped``."""
        job = self._job
        plan = Plan(job.input, job.output, 0, flattened=not job.final, size_limit=job.limit, force=not job.final)
        with DumpOutput(plan, output_format("elf")) as target:
            try:
                progress.step("Copying all bytes", -(-self._size // _BLOCK), _BLOCK)
                self._copy(target.place, progress)
            except (OutputError, Interrupted) as stop:
                self.stopped = stop
            progress.close()
            if self.unreadable == self._size:
                raise FormatError("no byte of the input is readable", file=job.input)
            try:
                self._finish(target)
            except OutputError as error:
                self.stopped = self.stopped or error
            self.bytes = target.size()
        os.close(self._fd)

    def _copy(self, place: Place, progress: Progress) -> None:
        if self._flags:
            place.hold(_FLAGS.start, self._marked(), self._flags)
        for at in range(0, self._size, _BLOCK):
            data = self._read(at, min(_BLOCK, self._size - at))
            if at == 0 and self._flags:
                place.put(0, data[: _FLAGS.start])
                place.put(_FLAGS.stop, data[_FLAGS.stop :])
            elif data != _ZEROS[: len(data)]:
                place.put(at, data)
            progress.advance(1)

    def _marked(self) -> bytes:
        """e_flags with the bit that marks an incomplete dump."""
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
        """Read a block of ``size`` bytes at ``at``, page by page after an error; unreadable bytes become zeros."""
        try:
            data = os.pread(self._fd, size, at)
        except OSError:
            data = b""
        if len(data) == size:
            return data
        if size > _PAGE:
            return b"".join(self._read(one, min(_PAGE, at + size - one)) for one in range(at, at + size, _PAGE))
        self._lose(at + len(data), at + size)
        return data.ljust(size, b"\0")

    def _lose(self, start: int, end: int) -> None:
        self.unreadable += end - start
        if self._listed and self._listed[-1][1] == start:
            self._listed[-1][1] = end
        elif len(self._listed) < _MOST_LISTED:
            self._listed.append([start, end])

    def notes(self) -> list[str]:
        """Remarks for the record."""
        notes = []
        if self._listed and self._listed[0][0] < elf.EHDR.size:
            notes = [
                "the input's header is unreadable: the copy holds the memory, but no tool opens it without a repair"
            ]
        notes += [f"bytes {start:#x} to {end - 1:#x} of the input are unreadable: the copy has zeros there"
                for start, end in self._listed]  # fmt: skip
        if self.unreadable > sum(end - start for start, end in self._listed):
            notes.append("further unreadable ranges are not listed")
        return notes
