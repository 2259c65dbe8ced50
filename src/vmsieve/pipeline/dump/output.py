"""The output of a dump: a new file, one that replaces another, a stream, or a device."""

from __future__ import annotations

import os
import stat

from vmsieve.formats.errors import UsageError, VmsieveError, output_error
from vmsieve.formats.inputs import input_paths
from vmsieve.formats.places import FilePlace, FlattenedPlace, PipePlace, Sender
from vmsieve.formats.places.writeback import Writeback
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.plan import checked_level
from vmsieve.pipeline.dump.pool import usable_cores
from vmsieve.pipeline.process.saving import opened_output, standard_output
from vmsieve.pipeline.process.signals import Interrupted
from vmsieve.pipeline.process.writing import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.outputs import Description, OutputFormat, Writer
    from vmsieve.formats.places.device import DeviceStream
    from vmsieve.pipeline.dump.framing import FramedStream
    from vmsieve.pipeline.dump.plan import Plan


class DumpOutput:
    """The opened output of a plan; a context that closes it.

    Output without random access (a pipe, a terminal, standard output, a compressed frame) takes a format that is
    written in ascending order as it is, and any other format flattened.

    A new file has its name from the start, so that a partial dump can be read however it ends. A file that replaces
    another is written beside it until it is finished.
    """

    cuts: Sequence[int] = ()  # page frames that parts begin at; see SplitOutput

    def __init__(self, plan: Plan, form: OutputFormat, *, beside: bool = False) -> None:
        """Open it; ``beside``: a new file, too, gets its name only when it is finished.

        Raises OutputError; UsageError or UnsupportedError if the frame can't be made.
        """
        name = "standard output" if plan.output == "-" else plan.output
        self._stream = self._framed(plan, plan.frame, name) if plan.frame is not None else None
        self._stdout = plan.output == "-"
        inputs = (*input_paths(plan.input), *plan.reads)
        if self._stdout:
            self._output = Output("-", standard_output(inputs))
        else:
            self._output = opened_output(plan.output, inputs, force=plan.force, beside=beside)
        self._fd, mode = self._output.fd, self._output.mode
        # Standard output is a stream even if it is a file: others may append to that file.
        seekable = not (self._stdout or self._stream) and (stat.S_ISREG(mode) or stat.S_ISBLK(mode))
        #: It is a file: removing it undoes the dump.
        self.removable = not self._stdout and stat.S_ISREG(mode)
        self.flattened = plan.flattened or not (seekable or form.sequential)
        #: Pages may be written in any order. A plain pipe can't go back. A size limit counts holes, so that of a file
        #: with pages at fixed places has no room for important pages at high addresses.
        self.any_order = self.flattened or (seekable and (form.packed or plan.size_limit is None))
        self._sent = 0
        self._lost = False
        self._writeback = Writeback(self._fd)
        raw = stat.S_ISBLK(mode) and self.flattened and self._stream is None
        self._device = _device(self._fd) if raw else None
        send = self._send if self._stream is None else self._stream.write
        self.place: FilePlace | FlattenedPlace | PipePlace  # takes the writer's bytes
        if self.flattened:
            self.place = FlattenedPlace(send, name, upward=form.sequential, limit=plan.size_limit)
        elif seekable:
            self.place = FilePlace(self._fd, name, upward=form.sequential, limit=plan.size_limit)
        else:
            self.place = PipePlace(send, name, limit=plan.size_limit)
        self._seekable = seekable and not self.flattened

    def _framed(self, plan: Plan, name: str, target: str) -> FramedStream:
        if plan.size_limit is not None:
            raise UsageError("a compressed frame takes no size limit: cut off, it would lack its end")
        # Imported here: threads and frames take half a megabyte.
        from vmsieve.formats.frames import frame as find_frame
        from vmsieve.pipeline.dump.framing import FramedStream

        frame = find_frame(name)
        level = checked_level("frame", frame, plan.frame_level)
        return FramedStream(frame, level, plan.threads or usable_cores(), Sender(self._send, target))

    def _send(self, data: memoryview) -> int:
        try:
            taken = os.write(self._fd, data) if self._device is None else self._device.write(data)
        except BlockingIOError:
            # The other end made it non-blocking (O_NONBLOCK is shared).
            import select

            select.select([], [self._fd], [])
            return 0
        self._sent += taken
        self._writeback.wrote(taken)
        return taken

    def writer(self, form: OutputFormat, description: Description) -> Writer:
        return form.writer(description, self.place)

    def finish(self) -> None:
        """End the frame, sync the file and give it its name; after OutputError, the file to replace is still there."""
        try:
            if self._stream is not None:
                self._stream.finish()
        finally:
            self._keep()

    def _keep(self) -> None:
        if self._stdout:
            return
        try:
            self._output.keep()
        except OSError as error:
            self._lost = self._output.beside
            raise output_error(error, self._output.path, self._sent) from error

    def space(self) -> int | None:
        """Free bytes of the output's file system; None for a device or stream."""
        if not self.removable:
            return None
        status = os.fstatvfs(self._fd)
        return status.f_bavail * status.f_frsize

    def size(self) -> int:
        """Bytes in the output; holes of a file don't count."""
        if self._lost:
            return 0
        if not self._seekable:
            return self._sent
        status = os.fstat(self._fd)
        return min(status.st_size, status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0

    def __enter__(self) -> DumpOutput:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._stdout:
            return
        output = self._output
        if error is None:
            with suppress(OSError):
                output.keep()
        if output.beside or isinstance(error, (VmsieveError, Interrupted)) or not os.fstat(output.fd).st_size:
            output.drop()
        output.close()


def _device(fd: int) -> DeviceStream:
    from vmsieve.formats.places.device import DeviceStream

    return DeviceStream(fd)
