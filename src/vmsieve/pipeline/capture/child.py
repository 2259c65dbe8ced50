"""A step of the ladder in a process of its own, which may crash, hang or be killed without harm to the capture."""

from __future__ import annotations

# What ``signal`` wraps, without its enumerations, which take a megabyte.
import _signal  # type: ignore[import-not-found]
import marshal
import mmap
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Work = Callable[["Board"], dict[str, Any]]

__all__ = ["CLASSIFYING", "COPYING", "FINISHING", "LOG", "OPENING", "PHASES", "Board", "Limits", "Watcher", "protect"]

#: How far a step is; what a board's ``phase`` says.
OPENING, LOG, CLASSIFYING, COPYING, FINISHING = range(5)
PHASES = ("opening the input", "writing the kernel log", "classifying pages", "copying pages", "finishing the dump")

_WORD = 8
_BEATS, _PHASE, _DONE, _TOTAL, _FREED, _LOGGED = range(6)
#: Bytes that come through the pipe at most: what it takes without a reader.
_MOST_RESULT = 32 << 10
#: Seconds that a child that was told to stop has to bring its dump to an end.
_GRACE = 30.0
#: Seconds to wait for the end of a process that was killed: one that sleeps in the kernel has none.
_GONE = 10.0
#: Bytes that a process that goes on reads until it is given up for stalled.
_READING = 1 << 20
_ASKS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)
_ALL = (*_ASKS, _signal.SIGCHLD)
#: Of /proc/PID/oom_score_adj: never, and after everybody else. If nobody could be killed, the kernel would give up.
_NEVER, _LAST = -1000, -900


class Board:
    """What a child tells while it works, in memory that both see: it outlives any end."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._words = memoryview(self._memory).cast("Q")

    def clear(self) -> None:
        """Nothing is done yet."""
        for place in range(_LOGGED + 1):
            self._words[place] = 0

    def tell(self, phase: int, done: int, total: int) -> None:
        """Say how far the work is."""
        self._words[_PHASE], self._words[_DONE], self._words[_TOTAL] = phase, done, total
        self._words[_BEATS] += 1

    def free(self) -> None:
        """Say that what earlier steps left was removed, to make room."""
        self._words[_FREED] = 1

    def log(self, size: int) -> None:
        """Say that the kernel log, of ``size`` bytes, is on its medium under its own name."""
        self._words[_LOGGED] = size

    @property
    def logged(self) -> int:
        """Bytes of the kernel log if it is whole; else 0."""
        return self._words[_LOGGED]

    @property
    def beats(self) -> int:
        """Goes up as long as there is progress."""
        return self._words[_BEATS]

    @property
    def phase(self) -> int:
        """One of :data:`PHASES`."""
        return self._words[_PHASE]

    @property
    def done(self) -> int:
        """Parts of the phase that are done: pages, but for a plain copy, which counts blocks."""
        return self._words[_DONE]

    @property
    def total(self) -> int:
        """Parts of the phase in all."""
        return self._words[_TOTAL]

    @property
    def freed(self) -> bool:
        """What earlier steps left was removed, to make room."""
        return bool(self._words[_FREED])


class Limits:
    """When a step is over, in seconds of ``time.monotonic``; 0: never.

    Attributes:
        first: By then the first page must be on its way.
        end: Then the child is told to bring its dump to an end.
        stall: Seconds without progress after which it is killed.
    """

    def __init__(self, *, first: float = 0, end: float = 0, stall: float = 0) -> None:
        self.first, self.end, self.stall = first, end, stall


class Watcher:
    """Runs children, one after the other, and listens to whoever wants the capture to stop.

    Attributes:
        asked: Number of the signal that asked this process to stop; 0: none did.
    """

    def __init__(self) -> None:
        self.asked = 0
        # Whoever started this may not have wanted to hear of its children; we must.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)

    def close(self) -> None:
        """Let signals through again, but for those that came while there was nothing left to stop."""
        while _signal.sigtimedwait(_ALL, 0) is not None:
            pass
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)

    def run(self, work: Work, board: Board, limits: Limits, *, calm: bool = False) -> dict[str, Any]:
        """What ``work`` returns in a child, or what became of it: ``end`` is ``crashed``, ``stalled`` or ``late``.

        ``killed`` is set then if the child had to be killed: it stalled, or ignored SIGTERM. A ``calm`` child hears no
        signal: it does little, and has to do it.
        """
        board.clear()
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(reader)
            os.close(writer)
            return {"end": "crashed", "error": f"no process can be had: {error.strerror}"}
        if pid == 0:
            os.close(reader)
            self._work(work, board, writer, calm=calm)
        os.close(writer)
        try:
            verdict, status = self._watch(pid, board, limits)
            result = _received(reader)
        finally:
            os.close(reader)
        if status is not None and os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and result is not None:
            return result
        what = verdict if verdict and status is not None else _ended(status)
        sentence = f"{what} while {PHASES[board.phase]}"
        return {"end": verdict or "crashed", "error": sentence, "killed": bool(verdict)}

    def _work(self, work: Work, board: Board, writer: int, *, calm: bool) -> NoReturn:
        """The child's life."""
        status = 1
        try:
            # Its own group: what a terminal sends goes to the first process, which passes it on.
            os.setpgid(0, 0)
            # What a terminal would do to those who write to it from behind: stop them (termios(3), TOSTOP).
            _signal.signal(_signal.SIGTTOU, _signal.SIG_IGN)
            protect(_LAST)
            if not calm:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)
            data = marshal.dumps(work(board))
            if len(data) <= _MOST_RESULT:
                os.write(writer, data)
                status = 0
        finally:
            os._exit(status)

    def _watch(self, pid: int, board: Board, limits: Limits) -> tuple[str, int | None]:
        """Wait for the child's end; returns why it was killed, if it was, and its status, if it has one."""
        beats, beaten = board.beats, time.monotonic()
        told, read = 0.0, 0
        while True:
            came = _signal.sigtimedwait(_ALL, 1.0)
            again = self.asked
            if came is not None and came.si_signo in _ASKS:
                self.asked = came.si_signo
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return "", status
            if again and came is not None and came.si_signo in _ASKS:
                return "stopped", _kill(pid)
            now = time.monotonic()
            if board.beats != beats:
                beats, beaten = board.beats, now
            if not told and (self.asked or (limits.end and now >= limits.end)):
                os.kill(pid, _signal.SIGTERM)
                told = now
            if told and now >= told + _GRACE:
                return "stopped" if self.asked else "late", _kill(pid)
            if limits.first and now >= limits.first and board.phase < COPYING:
                return "late", _kill(pid)
            if limits.stall and now - beaten >= limits.stall:
                before, read = read, _bytes_read(pid) if board.phase < CLASSIFYING else 0
                if read - before < _READING:
                    return "stalled", _kill(pid)
                # It searches memory for the kernel, which it does not tell of.
                beaten = now


def _bytes_read(pid: int) -> int:
    """Bytes that a process has read so far; 0 where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            return int(file.readline().split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _kill(pid: int) -> int | None:
    os.kill(pid, _signal.SIGKILL)
    until = time.monotonic() + _GONE
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.02)
    return None


def _ended(status: int | None) -> str:
    if status is None:
        return "it can't be killed: it sleeps in the kernel"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = {_signal.SIGSEGV: "SIGSEGV", _signal.SIGBUS: "SIGBUS", _signal.SIGILL: "SIGILL",
                 _signal.SIGKILL: "SIGKILL", _signal.SIGABRT: "SIGABRT", _signal.SIGFPE: "SIGFPE"}  # fmt: skip
        return f"ended by {names.get(number, f'signal {number}')}"
    return f"ended with status {os.WEXITSTATUS(status)}"


def _received(reader: int) -> dict[str, Any] | None:
    """What the child, which is gone, has sent; None if that is nothing whole."""
    os.set_blocking(reader, False)
    try:
        data = os.read(reader, _MOST_RESULT)
        result: dict[str, Any] = marshal.loads(data)
    except (OSError, EOFError, ValueError, TypeError):
        return None
    return result if isinstance(result, dict) else None


def protect(score: int = _NEVER) -> None:
    """Let the kernel, when memory runs out, end everybody else first; where it does not allow that, nothing happens."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(fd, str(score).encode())
    except OSError:
        pass
    finally:
        os.close(fd)
