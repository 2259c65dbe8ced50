"""Where C libraries come from: exported by a wheel that is installed, else the system's.

That a wheel's extension module exports the C functions it was built with is an accident of packaging, so every library
is asked for the functions wanted and left if it lacks one. A wheel's file is found without importing its package, which
would cost memory in a crash kernel.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ASKED", "PASSED", "address", "asked", "call_back", "libraries", "wheel_files", "words"]

#: Libraries that were looked at and not taken, each with the reason.
PASSED: Final[dict[str, str]] = {}
#: The provider that was asked for comes last; the empty one is any.
ASKED: Final[list[str]] = [""]
#: Prototype of a page codec in Python, callable from a loop: source, size, out, room -> bytes written, or 0.
_PROTOTYPE: Final = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 4)


def asked(provider: str) -> bool:
    """Whether ``provider`` is one that will do."""
    return provider.replace(" ", "-").startswith(ASKED[-1])


def libraries(wheel: str, sonames: Iterable[str], symbols: Iterable[str]) -> Iterator[tuple[str, ctypes.CDLL]]:
    """Libraries that have all of ``symbols``, each with a name for people.

    Args:
        wheel: Package and beginning of the name of an extension module, such as ``"zstandard/_cffi"``; empty for none.
        sonames: System libraries.
        symbols: Functions wanted.
    """
    wanted = list(symbols)
    for name, path in [*_in_wheel(wheel), *((soname, soname) for soname in sonames)]:
        if not asked(name):
            continue
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            PASSED[name] = str(error).removeprefix(f"{path}: ")
            continue
        missing = [symbol for symbol in wanted if not hasattr(library, symbol)]
        if missing:
            PASSED[name] = f"it lacks {', '.join(missing)}"
        else:
            yield name, library


def _in_wheel(wheel: str) -> list[tuple[str, str]]:
    package, _, start = wheel.partition("/")
    if not package:
        return []
    found = wheel_files(package, start)
    if not found:
        PASSED[f"{package} (wheel)"] = f"there is no {wheel}*.so"
    return found


def wheel_files(package: str, start: str) -> list[tuple[str, str]]:
    """Libraries of an installed package whose names begin so, each after a name for people; it is not imported."""
    if sys.modules.get(package, sys) is None:  # forbidden, as import understands it
        return []
    found = []
    for folder in (os.path.join(path, package) for path in sys.path):
        if os.path.isdir(folder):
            names = sorted(name for name in os.listdir(folder) if name.startswith(start) and name.endswith(".so"))
            found += [(f"{package} (wheel)", os.path.join(folder, name)) for name in names]
    return found


def address(library: ctypes.CDLL, symbol: str) -> int:
    """Address of a function, for loops to call."""
    return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0


def words(*values: int) -> ctypes.Array[ctypes.c_uint64]:
    """A codec's state of these 64-bit words."""
    return (ctypes.c_uint64 * len(values))(*values)


def call_back(function: Callable[[bytes, int], bytes]) -> tuple[int, Any]:
    """A Python function as a C function that loops can call, for where no library is found.

    Args:
        function: Takes the bytes and the room there is for the result; raises any error when it can't do it.

    Returns:
        The address of a C function ``(source, size, out, room)`` that returns how many bytes it wrote, 0 when it
        failed; and the object to keep while it may be called.
    """

    def run(source: int, size: int, out: int, room: int) -> int:
        # The caller is machine code, which knows no exceptions. Nor must an interruption end this half-way: the page
        # would be taken for packed.
        try:
            result = function(ctypes.string_at(source, size), room)
            if len(result) > room:
                return 0
            ctypes.memmove(out, result, len(result))
            return len(result)
        except BaseException:
            return 0

    bound = _PROTOTYPE(run)
    return ctypes.cast(bound, ctypes.c_void_p).value or 0, bound
