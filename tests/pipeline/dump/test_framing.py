"""The stream of packed blocks: the same bytes with any number of threads, and never a hole, wherever it stops."""

from __future__ import annotations

import contextlib
import errno
import io
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.memory_file import MemoryFile
from tests.formats.frames.frame_kit import text, whole
from tests.outcome import result_or_error
from vmsieve.formats.errors import FormatError, OutputError, UsageError
from vmsieve.formats.frames import Frame, frame, frames
from vmsieve.formats.frames._index import FramedFile, Index
from vmsieve.formats.inputs.flattened import rebuild
from vmsieve.formats.places import FlattenedPlace, PipePlace, Sender
from vmsieve.formats.slim.records import replace
from vmsieve.pipeline.dump.framing import FramedStream
from vmsieve.pipeline.dump.plan import checked_level

if TYPE_CHECKING:
    from types import FrameType

FRAMES = frames()
each = pytest.mark.parametrize("one", FRAMES, ids=[one.name for one in FRAMES])
CONTENT = text(40_000)


def small(one: Frame, block: int = 1000) -> Frame:
    """The same frame with small blocks, so that there are many."""
    return replace(one, block=block)


def stream(one: Frame, threads: int, write: Callable[[memoryview], int | None]) -> FramedStream:
    return FramedStream(one, one.default_level, threads, Sender(write, "out"))


def packed(one: Frame, threads: int, parts: list[bytes]) -> bytes:
    out = io.BytesIO()
    framed = stream(one, threads, out.write)
    for part in parts:
        framed.write(memoryview(part))
    framed.finish()
    framed.close()
    return out.getvalue()


def content_of(one: Frame, data: bytes) -> bytes:
    """The content that a reader gets; empty before a frame begins."""
    file = MemoryFile(data)
    try:
        return whole(FramedFile(file, one, Index(one, file)))
    except FormatError:
        return b""


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(FRAMES), st.integers(1, 4), st.lists(st.integers(0, 40_000), max_size=12), st.integers(300, 9000)
)
def test_portions_and_threads_make_no_difference(one: Frame, threads: int, cuts: list[int], block: int) -> None:
    """Writes of any size and any number of threads give the same file."""
    edges = sorted({0, *cuts, len(CONTENT)})
    parts = [CONTENT[a:b] for a, b in zip(edges, edges[1:])]
    data = packed(small(one, block), threads, parts)
    assert data == packed(small(one, block), 1, [CONTENT])
    assert content_of(one, data) == CONTENT


@each
def test_nothing_written_is_an_empty_frame(one: Frame) -> None:
    """No blocks, and the end mark."""
    assert content_of(one, packed(one, 1, [])) == b""


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_in_work_are_bounded(threads: int) -> None:
    """However much is written: one block with one thread, else two more than threads."""
    one = small(frame("zstd"))
    framed = stream(one, threads, io.BytesIO().write)
    most = 0
    for at in range(0, len(CONTENT), 100):
        framed.write(memoryview(CONTENT)[at : at + 100])
        most = max(most, len(framed._blocks))
    framed.finish()
    framed.close()
    assert most == (1 if threads == 1 else threads + 2)


def test_threads_that_never_run_hold_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calling thread does their work, and pending blocks hold no content."""
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    framed = stream(small(frame("gzip")), 4, io.BytesIO().write)
    framed.write(memoryview(CONTENT))
    framed.finish()
    waiting = [framed._work.get() for _ in range(framed._work.qsize())]
    assert len(waiting) == len(CONTENT) // 1000
    assert not [block for block in waiting if block is None or block.content or block.packed]


def test_threads_end_when_the_stream_is_closed() -> None:
    """Also if it was never finished."""
    before = threading.active_count()
    framed = stream(small(frame("gzip")), 4, io.BytesIO().write)
    framed.write(memoryview(CONTENT))
    assert threading.active_count() > before
    framed.close()
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(10)
    assert threading.active_count() <= before


def test_threads_that_can_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calling thread packs the blocks that no other thread has packed."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    one = small(frame("lz4"))
    assert content_of(one, packed(one, 4, [CONTENT])) == CONTENT


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_packing_is_raised_where_it_belongs(threads: int) -> None:
    """In the caller, whichever thread raised it; blocks packed before are sent."""
    one, out = small(frame("zstd")), io.BytesIO()

    def packer(level: int) -> Callable[[bytearray], bytes]:
        pack = frame("zstd").packer(level)

        def run(content: bytearray) -> bytes:
            if content == CONTENT[7000:8000]:
                raise MemoryError
            return pack(content)

        return run

    framed = stream(replace(one, packer=packer), threads, out.write)
    with pytest.raises(MemoryError):
        framed.write(memoryview(CONTENT))
    framed.close()
    assert content_of(one, out.getvalue()) == CONTENT[:7000]


class Disk:
    """Accepts so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self.data = bytearray()
        self._room = room

    def write(self, data: memoryview) -> int:
        taken = min(len(data), self._room - len(self.data), 700)
        if taken == 0:
            raise OSError(errno.ENOSPC, "no space")
        self.data += data[:taken]
        return taken


@each
@pytest.mark.parametrize("threads", [1, 3])
def test_a_full_disk_leaves_a_readable_file(one: Frame, threads: int) -> None:
    """At any size: blocks from the first on, then nothing that reads as content."""
    one = small(one)
    size = len(packed(one, 1, [CONTENT]))
    before = 0
    for room in range(0, size, size // 23):
        disk = Disk(room)
        framed = stream(one, threads, disk.write)
        with pytest.raises(OutputError, match="no space"):  # noqa: PT012 - wherever it comes to the end
            framed.write(memoryview(CONTENT))
            framed.finish()
        # The disk has space again: an interrupted frame is not continued.
        disk._room = 1 << 30
        with pytest.raises(OutputError, match="interrupted"):
            framed.finish()
        framed.close()
        assert len(disk.data) == room
        found = content_of(one, bytes(disk.data))
        assert found == CONTENT[: len(found)]
        assert len(found) >= before
        before = len(found)
    assert before > len(CONTENT) * 3 // 4


class Stopped(BaseException):
    """Raised as by a signal."""


@contextlib.contextmanager
def stopped_at(line: int) -> Any:
    """Raise :class:`Stopped` at that line of the code under test, counted from here on; yields a count of lines."""
    count = [0]

    def trace(where: FrameType, event: str, argument: object) -> Any:
        if not where.f_code.co_filename.endswith(("/framing.py", "/places/__init__.py")):
            return None
        if event == "line":
            count[0] += 1
            if count[0] == line:
                raise Stopped
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    except Stopped:
        pass
    finally:
        sys.settrace(before)


def run(
    kind: type[PipePlace | FlattenedPlace],
    full: bytes,
    rounds: list[list[tuple[int, int]]],
    one: Frame | None,
    line: int,
) -> tuple[bytes, int]:
    """Bytes written through a place that is stopped at ``line`` and then finished; and the number of lines.

    ``full``: the final mark at the start. ``rounds``: starts and ends of the pieces, put in turn.
    """
    out = io.BytesIO()
    framed = stream(one, 1, out.write) if one else None
    place = kind(framed.write if framed else out.write, "out")
    place.hold(0, b"torn", full)
    with stopped_at(line) as count:
        for pieces in rounds:
            for start, end in pieces:
                place.put(start, CONTENT[start:end])
            place.flush()
    for finish in (place.finish, *([framed.finish] if framed else [])):
        ended = result_or_error(finish)
        assert ended is None or isinstance(ended, OutputError)
    return out.getvalue(), count[0]


def run_pipe(one: Frame | None, line: int) -> tuple[bytes, int]:
    """Pieces from start to end."""
    return run(PipePlace, CONTENT[:4], [[(at, min(6000, at + 500))] for at in range(4, 6000, 500)], one, line)


@pytest.mark.parametrize("one", [None, *FRAMES], ids=["none", *(one.name for one in FRAMES)])
def test_a_signal_at_any_line_leaves_a_beginning(one: Frame | None) -> None:
    """The bytes from a pipe are a leading part of the bytes written."""
    one = small(one) if one else None
    lines = run_pipe(one, 1 << 30)[1]
    assert lines > 100
    lengths = set()
    for line in range(1, lines + 1):
        data, _ = run_pipe(one, line)
        found = content_of(one, data) if one else data
        assert found == CONTENT[: len(found)], line
        assert len(found) < 6000, line
        lengths.add(len(found))
    assert max(lengths) > 5000


def run_flattened(one: Frame | None, line: int) -> tuple[bytes, int]:
    """The last bytes first, and others between."""
    rounds = [[(9000 - at, 9600 - at), (20_000 + at // 10, 20_060 + at // 10)] for at in range(0, 6000, 600)]
    return run(FlattenedPlace, b"full", rounds, one, line)


@pytest.mark.parametrize("one", [None, *FRAMES], ids=["none", *(one.name for one in FRAMES)])
def test_a_signal_at_any_line_puts_no_byte_in_a_wrong_place(one: Frame | None) -> None:
    """Every byte of a flattened stream is at its offset; a whole stream is still marked torn."""
    one = small(one) if one else None
    lines = run_flattened(one, 1 << 30)[1]
    ends = 0
    for line in range(1, lines + 1, 2):
        data, _ = run_flattened(one, line)
        found = content_of(one, data) if one else data
        pieces: dict[int, bytes] = {}
        ended = result_or_error(rebuild, io.BytesIO(found).read, pieces.__setitem__)
        if isinstance(ended, bool):
            ends += ended
            assert not ended or pieces[0] == b"torn"
        for offset, data in pieces.items():
            assert offset == 0 or data == CONTENT[offset : offset + len(data)], line
    assert ends


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("xz", None, "no frame is called 'xz'"),
        ("gzip", 0, "frame gzip has levels 1 to 9"),
        ("lz4", 13, "frame lz4 has levels 1 to 12"),
        ("zstd", 23, "frame zstd has levels -7 to 22"),
    ],
)
def test_a_frame_that_is_not_there_is_wrong_usage(name: str, level: int | None, words: str) -> None:
    """An unsupported level is a usage error too."""
    with pytest.raises(UsageError, match=words):
        checked_level("frame", frame(name), level)


def test_the_default_level() -> None:
    assert checked_level("frame", frame("zstd"), None) == 3
    assert checked_level("frame", frame("zstd"), -1) == -1
