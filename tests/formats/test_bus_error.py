"""Mapped pages that vanish: zeros and a report inside a window, otherwise SIGBUS as usual.

Each trial runs in a separate process, as a failure ends it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.dumps import ROOT
from vmsieve.formats import bus_error
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.files import PlainFile
from vmsieve.formats.loops.compare import zero_pages
from vmsieve.formats.mapping import Window

if TYPE_CHECKING:
    from pathlib import Path

PAGE = mmap.PAGESIZE
COUNT = 64
BACKENDS = ["aot", pytest.param("jit", marks=pytest.mark.skipif(find_spec("numba") is None, reason="no numba"))]


class Whole:
    """A file as physical memory from address 0 on."""

    def __init__(self, path: str) -> None:
        self.file = PlainFile(path)

    def file_pieces(self, paddr: int, size: int) -> list[tuple[int, int, int]] | None:
        return self.file.pieces(paddr, size)

    def shrunk(self) -> bool:
        return self.file.shrunk()


def mapped(path: str) -> tuple[Window, Any]:
    """A window with all of a file in it."""
    window, source = Window(COUNT * PAGE), Whole(path)
    assert window.map(source, [(0, COUNT * PAGE)])
    return window, source


def zeros(window: Window) -> list[int]:
    """Pages of a window that a loop finds to be zero."""
    index, out = (ctypes.c_uint32 * COUNT)(*range(COUNT)), bytearray(COUNT)
    zero_pages(window.address, ctypes.addressof(index), COUNT, PAGE, address_of(out))
    return [k for k in range(COUNT) if out[k]]


def touch_foreign(path: str) -> int:
    """Touch a vanished page of a mapping that is not a window's."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), COUNT * PAGE, prot=mmap.PROT_READ)
    os.truncate(path, 0)
    return memory[5 * PAGE]


def put_in_force(function: Any) -> None:
    """Install a C function as the handler, as a library would."""
    ctypes.CDLL(None).signal(ctypes.c_int(signal.SIGBUS), function)


def child_pages_go(path: str) -> None:
    window, _ = mapped(path)
    assert zeros(window) == []
    assert not window.lost()
    os.truncate(path, 10 * PAGE)
    assert zeros(window) == list(range(10, COUNT))
    assert window.lost()
    room = window.writable()
    room[:4] = b"mine"
    assert not any(room[4:])


def child_pages_fail(path: str) -> None:
    """Like a medium that fails: the file keeps its size."""
    window, source = mapped(path)
    os.truncate(path, 10 * PAGE)
    source.file._at_open = os.stat_result((0,) * 10)
    assert zeros(window) == list(range(10, COUNT))
    assert window.lost()
    assert not window.lost()
    assert window.map(source, [(0, COUNT * PAGE)])
    assert not window.prefault(COUNT * PAGE)
    assert window.map(source, [(PAGE, 9 * PAGE)])
    assert window.prefault(9 * PAGE)
    assert window.raw[:PAGE] == source_bytes(path, PAGE)


def source_bytes(path: str, at: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(at)
        return file.read(PAGE)


def child_part_of_a_page_goes(path: str) -> None:
    window, source = mapped(path)
    os.truncate(path, (COUNT - 1) * PAGE + 100)
    assert zeros(window) == []
    assert not any(window.raw[-PAGE + 100 :])
    assert window.lost()
    assert not window.map(source, [(0, PAGE)])


def child_python_touches(path: str) -> None:
    window, _ = mapped(path)
    os.truncate(path, 10 * PAGE)
    assert bytes(window.raw[10 * PAGE :]) == bytes((COUNT - 10) * PAGE)
    assert window.lost()


def child_others_do_not(path: str) -> None:
    window, _ = mapped(path)
    others, _ = mapped(path)
    os.truncate(path, 10 * PAGE)
    assert zeros(window)
    assert window._guard is not None
    assert others._guard is not None
    assert window._guard.lost()
    assert not others._guard.lost()


def child_foreign(path: str) -> None:
    window, _ = mapped(path)
    assert zeros(window) == []
    touch_foreign(path)


def child_faulthandler(path: str) -> None:
    faulthandler.enable()
    child_foreign(path)


def child_sent(path: str) -> None:
    """Like ``kill -BUS``: the address field means nothing."""
    window, _ = mapped(path)
    assert zeros(window) == []
    os.kill(os.getpid(), signal.SIGBUS)


def child_given_back(path: str) -> None:
    window, _ = mapped(path)
    memory, guard = window.raw, window._guard
    window.__del__()
    window._guard = None
    os.truncate(path, 0)
    assert guard is not None
    sys.stdout.write(str(memory[0]))


def child_handler_from_before(path: str) -> None:
    """A library's handler works as before; after that, windows are handled again."""
    seen = []

    def mend(number: int) -> None:
        seen.append(number)
        os.truncate(path, COUNT * PAGE)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(mend)
    put_in_force(handler)
    window, source = mapped(path)
    assert touch_foreign(path) == 0
    assert seen == [signal.SIGBUS]
    assert window.map(source, [(0, COUNT * PAGE)])
    os.truncate(path, 10 * PAGE)
    assert zeros(window) == list(range(COUNT))
    assert window.lost()
    assert seen == [signal.SIGBUS]


def child_very_many(path: str) -> None:
    source: Any = Whole(path)
    windows = [Window(PAGE) for _ in range(bus_error._WINDOWS)]
    assert all(window.map(source, [(0, PAGE)]) for window in windows)
    assert not Window(PAGE).map(source, [(0, PAGE)])
    del windows[7]
    assert Window(PAGE).map(source, [(0, PAGE)])


def child_no_machine_code(path: str) -> None:
    source: Any = Whole(path)
    assert not Window(PAGE).map(source, [(0, PAGE)])


def run(name: str, path: Path, backend: str = "aot") -> subprocess.CompletedProcess[str]:
    path.write_bytes(b"\xa5" * (COUNT * PAGE))
    code = f"import sys, tests.formats.test_bus_error as t; t.child_{name}(sys.argv[1]); print('done')"
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, env={**os.environ, "VMSIEVE_KERNELS": backend},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name",
    [
        "pages_go",
        "pages_fail",
        "part_of_a_page_goes",
        "python_touches",
        "others_do_not",
        "handler_from_before",
        "very_many",
    ],
)
def test_a_window_outlives_its_file(name: str, backend: str, tmp_path: Path) -> None:
    """Loops and Python code complete over missing pages, and their window reports the loss."""
    done = run(name, tmp_path / "file", backend)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("name", ["foreign", "faulthandler", "sent", "given_back"])
def test_sigbus_outside_windows(name: str, tmp_path: Path) -> None:
    """Other mappings, a signal that was sent, and memory that was a window earlier."""
    done = run(name, tmp_path / "file")
    assert done.returncode == -signal.SIGBUS, done
    assert ("Fatal Python error: Bus error" in done.stderr) == (name == "faulthandler")


def test_without_machine_code_nothing_is_mapped(tmp_path: Path) -> None:
    """The interpreter runs no handler in the middle of an instruction."""
    assert run("no_machine_code", tmp_path / "file", "python").stdout == "done\n"
