"""Runs steps of the ladder in child processes, which may crash, hang or be killed without harm to the capture."""

from __future__ import annotations

# Not ``signal``, whose enumerations cost a megabyte.
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

#: Values of ``Board.phase``; PHASES names them in messages.
OPENING, LOG, CLASSIFYING, ORDERING, COPYING, FINISHING = range(6)
PHASES = (
    "opening the input", "writing the kernel log", "classifying pages", "ordering pages", "copying pages",
    "finishing the dump",
)  # fmt: skip

#: Largest result in bytes: it must fit into the pipe's buffer, because nobody reads before the child has ended.
_MOST_RESULT = 32 << 10
_GRACE = 30.0  # seconds from SIGTERM, on which a child finalises its dump, to SIGKILL
_GONE = 10.0  # seconds to wait for a process after SIGKILL: one in uninterruptible sleep does not end
_READING = 1 << 20  # a child without heartbeat counts as alive if it reads this many bytes per stall interval
_ASKS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)
_ALL = (*_ASKS, _signal.SIGCHLD)
#: Values of oom_score_adj: never kill, and kill last. If all processes were exempt, the kernel would panic.
_NEVER, _LAST = -1000, -900


def _word(index: int) -> Any:
    """A number on a board."""
    return property(lambda board: board.words[index], lambda board, value: board.words.__setitem__(index, value))


class Board:
    """Progress of a child, in shared memory, so that it survives a crash of the child."""

    #: Heartbeats counted so far.
    beats = _word(0)
    #: Index into :data:`PHASES`.
    phase = _word(1)
    #: Parts of the phase that are done, and in all: pages, or blocks in a plain copy.
    done, total = _word(2), _word(3)
    #: True if the kept dump of an earlier step was deleted.
    freed = _word(4)
    #: Bytes of the kernel log, once it is on disk under its final name; else 0.
    logged = _word(5)

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.words = memoryview(self._memory).cast("Q")

    def clear(self) -> None:
        """Reset all values."""
        self._memory[:] = bytes(mmap.PAGESIZE)

    def tell(self, phase: int, done: int, total: int) -> None:
        """Set phase and progress, and count a heartbeat."""
        self.phase, self.done, self.total = phase, done, total
        self.beats += 1


class Limits:
    """Time limits of a step; 0: none."""

    def __init__(self, *, first: float = 0, end: float = 0, stall: float = 0) -> None:
        self.first = first  # ``time.monotonic`` by which pages must have been classified
        self.end = end  # ``time.monotonic`` at which the child gets SIGTERM and finalises its dump
        self.stall = stall  # seconds without a heartbeat after which it is killed


class Watcher:
    """Runs children one after the other, and passes on requests to stop."""

    def __init__(self) -> None:
        self.asked = 0  # signal that asked this process to stop; 0: no signal
        # An ignored SIGCHLD is inherited, and would make waitpid() fail.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)

    def close(self) -> None:
        """Unblock the signals; pending ones are discarded, as there is nothing left to stop."""
        while _signal.sigtimedwait(_ALL, 0) is not None:
            pass
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)

    def run(self, work: Work, board: Board, limits: Limits, *, calm: bool = False) -> dict[str, Any]:
        """Run ``work`` in a child and return its result.

        If the child fails, ``end`` is ``crashed``, ``stalled``, ``late`` or ``stopped``; ``killed`` is set if it was
        killed because it stalled or ignored SIGTERM. A ``calm`` child keeps signals blocked: it is short and must
        complete.
        """
        board.clear()
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(reader)
            os.close(writer)
            return {"end": "crashed", "error": f"can't start a process: {error.strerror}"}
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
        """Do the child's work and exit."""
        status = 1
        try:
            # Own process group: a terminal's signals reach the first process alone, which passes them on.
            os.setpgid(0, 0)
            # A background process that writes to a terminal may be stopped (termios(3), TOSTOP).
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
        """Wait for the child; returns why it was killed ("": it was not) and its wait status (None: it did not end)."""
        beats, beaten = board.beats, time.monotonic()
        terminated, read = 0.0, 0
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
            if not terminated and (self.asked or (limits.end and now >= limits.end)):
                os.kill(pid, _signal.SIGTERM)
                terminated = now
            if terminated and now >= terminated + _GRACE:
                return "stopped" if self.asked else "late", _kill(pid)
            if limits.first and now >= limits.first and board.phase < ORDERING:
                return "late", _kill(pid)
            if limits.stall and now - beaten >= limits.stall:
                before, read = read, _bytes_read(pid) if board.phase < CLASSIFYING else 0
                if read - before < _READING:
                    return "stalled", _kill(pid)
                # A search of memory for the kernel has no heartbeat; reading shows its progress.
                beaten = now


def _bytes_read(pid: int) -> int:
    """Bytes that a process has read so far (CONFIG_TASK_IO_ACCOUNTING); 0 if unknown."""
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
        return "it can't be killed: it is in uninterruptible sleep"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = {_signal.SIGSEGV: "SIGSEGV", _signal.SIGBUS: "SIGBUS", _signal.SIGILL: "SIGILL",
                 _signal.SIGKILL: "SIGKILL", _signal.SIGABRT: "SIGABRT", _signal.SIGFPE: "SIGFPE"}  # fmt: skip
        return f"ended by {names.get(number, f'signal {number}')}"
    return f"ended with status {os.WEXITSTATUS(status)}"


def _received(reader: int) -> dict[str, Any] | None:
    """The result that the ended child has sent; None if missing or damaged."""
    os.set_blocking(reader, False)
    try:
        data = os.read(reader, _MOST_RESULT)
        result: dict[str, Any] = marshal.loads(data)
    except (OSError, EOFError, ValueError, TypeError):
        return None
    return result if isinstance(result, dict) else None


def protect(score: int = _NEVER) -> None:
    """Set this process's OOM score so that others are killed first; ignored if the kernel refuses."""
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"%d" % score)
    except OSError:
        return
