"""Where the output goes: a new file, a stream, a device; opened with care for what is already there."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from vmsieve.formats.device import DeviceStream
from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.formats.inputs import input_paths
from vmsieve.formats.places import FilePlace, FlattenedPlace, PipePlace, Sender, refused
from vmsieve.formats.writeback import Writeback
from vmsieve.pipeline.descriptors import BUSY
from vmsieve.pipeline.pool import usable_cores
from vmsieve.pipeline.streams import stdout_fd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from vmsieve.formats.outputs import Description, OutputFormat, Writer
    from vmsieve.pipeline.framing import FramedStream
    from vmsieve.pipeline.plan import Plan

__all__ = ["Target", "open_output"]


class Target:
    """The opened output of a plan; a context that closes it.

    What can't be written at chosen positions (a pipe, a terminal, standard output, a compressed frame) gets a format
    that ascends as it is, and any other format flattened.

    Attributes:
        place: What writers write to.
        flattened: The flattened format is used.
        cuts: Where the dump is cut into parts: nowhere.
    """

    cuts: Sequence[int] = ()

    def __init__(self, plan: Plan, form: OutputFormat, inputs: Sequence[str] | None = None) -> None:
        """Open it; ``inputs``: the files that are read, where the plan's input is not all of them.

        Raises:
            OutputError: It exists and overwriting was not asked for, or is the input, or can't be opened.
            UsageError: The frame asked for makes no sense, or a size limit is to go with it.
            UnsupportedError: A package that it needs is missing.
        """
        name = "standard output" if plan.output == "-" else plan.output
        self._stream = self._framed(plan, name) if plan.frame is not None else None
        self._path = plan.output
        self._stdout = plan.output == "-"
        self._created = False
        if self._stdout:
            self._fd = stdout_fd()
        else:
            inputs = input_paths(plan.input) if inputs is None else inputs
            self._fd, self._created = open_output(plan.output, inputs, force=plan.force)
        mode = os.fstat(self._fd).st_mode
        # Standard output may be a file that someone else appends to: it is a stream whatever it is connected to.
        positions = not (self._stdout or self._stream) and (stat.S_ISREG(mode) or stat.S_ISBLK(mode))
        self.flattened = plan.flattened or not (positions or form.sequential)
        self._sent = 0
        self._durable = plan.durable and (stat.S_ISREG(mode) or stat.S_ISBLK(mode))
        self._writeback = Writeback(self._fd)
        raw = stat.S_ISBLK(mode) and self.flattened and self._stream is None
        self._device = DeviceStream(self._fd) if raw else None
        send = self._send if self._stream is None else self._stream.write
        self.place: FilePlace | FlattenedPlace | PipePlace
        if self.flattened:
            self.place = FlattenedPlace(send, name, upward=form.sequential, limit=plan.size_limit)
        elif positions:
            self.place = FilePlace(self._fd, name, durable=self._durable, upward=form.sequential, limit=plan.size_limit)
        else:
            self.place = PipePlace(send, name, limit=plan.size_limit)
        self._seekable = positions and not self.flattened

    def _framed(self, plan: Plan, name: str) -> FramedStream | None:
        if plan.size_limit is not None:
            raise UsageError("a compressed frame has no size limit: cut off, it would lack its end")
        # Not before it is asked for: threads and frames take half a megabyte.
        from vmsieve.pipeline.framing import FramedStream, chosen_frame

        chosen = chosen_frame(plan)
        return FramedStream(*chosen, plan.threads or usable_cores(), Sender(self._send, name)) if chosen else None

    def _send(self, data: memoryview) -> int:
        try:
            taken = os.write(self._fd, data) if self._device is None else self._device.write(data)
        except BlockingIOError:
            # Whoever has the other end told it not to wait.
            self._wait()
            return 0
        self._sent += taken
        self._writeback.wrote(taken)
        return taken

    def _wait(self) -> None:
        import select

        select.select([], [self._fd], [])

    def writer(self, form: OutputFormat, description: Description) -> Writer:
        """What writes a dump of format ``form`` to it."""
        return form.writer(description, self.place)

    def finish(self) -> None:
        """The place has taken its last byte: bring the frame, if there is one, to its end, and all to the medium.

        Raises:
            OutputError: It can't be written.
        """
        if self._stream is not None:
            self._stream.finish()
        if self._durable:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise refused(error, self._path, self._sent) from error

    def size(self) -> int:
        """Bytes written: of a file, those that take up room, so that holes do not count."""
        if not self._seekable:
            return self._sent
        status = os.fstat(self._fd)
        return min(status.st_size, status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._stdout:
            return
        empty = os.fstat(self._fd).st_size == 0
        os.close(self._fd)
        if error is not None and self._created and empty:
            os.unlink(self._path)


def open_output(path: str, inputs: Iterable[str], *, force: bool) -> tuple[int, bool]:
    """Open ``path`` for writing, with care for what is there; returns the descriptor, and whether the file was made.

    Args:
        path: A file to be made, a file that ``force`` allows to empty, or what is no file.
        inputs: The files that are read; ``-``: standard input.
        force: An existing file may be overwritten.

    Raises:
        OutputError: It exists and must not be overwritten, is one of the inputs or a disk in use, or can't be opened.
    """
    flags, made = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, False
    try:
        there = os.stat(path)
    except FileNotFoundError:
        flags, made = flags | os.O_EXCL, True
    except OSError as error:
        raise OutputError(f"can't write the output: {error.strerror}", file=path) from error
    else:
        if stat.S_ISREG(there.st_mode):
            if not force:
                raise OutputError("the output exists already", file=path, hint="-f overwrites it")
            flags |= os.O_TRUNC
        elif stat.S_ISBLK(there.st_mode):
            # Not one that is mounted, or a part of another disk: open(2), O_EXCL.
            flags = os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC
        if any(_is_output(one, there) for one in inputs):
            raise OutputError("the output is the input", file=path)
    try:
        # A dump holds what was in memory: passwords, keys. Only its owner may read it.
        return os.open(path, flags, 0o600), made
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise OutputError(f"the disk is {BUSY}", file=path) from error
        raise refused(error, path, 0) from error


def _is_output(path: str, there: os.stat_result) -> bool:
    """Whether ``path`` is the file, or another name of the disk, that will be written; others are not harmed."""
    try:
        one = os.fstat(0) if path == "-" else os.stat(path)
    except OSError:
        return False
    if stat.S_ISBLK(there.st_mode) and stat.S_ISBLK(one.st_mode):
        return one.st_rdev == there.st_rdev
    return stat.S_ISREG(there.st_mode) and os.path.samestat(one, there)
