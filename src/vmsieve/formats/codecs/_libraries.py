"""C libraries for codecs: exported by an installed wheel, else the system's.

A wheel's extension module exports C functions only by accident of packaging, so each library is checked for the
functions needed. The wheel's file is found without importing its package, which would cost memory in a crash kernel.
"""

from __future__ import annotations

import ctypes
import os
import sys

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Rejected libraries, with reasons.
REJECTED: Final[dict[str, str]] = {}
#: Requested providers, the innermost last; "" accepts any.
REQUESTED: Final[list[str]] = [""]
#: C type of a codec in Python: source, size, out, room -> bytes written, or 0.
_PROTOTYPE: Final = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 4)


def is_requested(provider: str) -> bool:
    """True if ``provider`` meets the request."""
    return provider.replace(" ", "-").startswith(REQUESTED[-1])


def libraries(wheel: str, sonames: Iterable[str], symbols: Iterable[str]) -> Iterator[tuple[str, ctypes.CDLL]]:
    """Yield name and handle of each library that exports all of ``symbols``.

    ``wheel``: package and prefix of an extension module, such as ``"zstandard/_cffi"``; empty for none. ``sonames``:
    system libraries.
    """
    wanted = list(symbols)
    for name, path in [*_in_wheel(wheel), *((soname, soname) for soname in sonames)]:
        if not is_requested(name):
            continue
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            REJECTED[name] = str(error).removeprefix(f"{path}: ")
            continue
        missing = [symbol for symbol in wanted if not hasattr(library, symbol)]
        if missing:
            REJECTED[name] = f"it lacks {', '.join(missing)}"
        else:
            yield name, library


def _in_wheel(wheel: str) -> list[tuple[str, str]]:
    package, _, start = wheel.partition("/")
    if not package:
        return []
    found = wheel_files(package, start)
    if not found:
        REJECTED[f"{package} (wheel)"] = f"there is no {wheel}*.so"
    return found


def wheel_files(package: str, start: str) -> list[tuple[str, str]]:
    """Find libraries of an installed package by prefix, without an import; name for people and path of each."""
    if sys.modules.get(package, sys) is None:  # import of it is blocked
        return []
    found = []
    for folder in (os.path.join(path, package) for path in sys.path):
        if os.path.isdir(folder):
            names = sorted(name for name in os.listdir(folder) if name.startswith(start) and name.endswith(".so"))
            found += [(f"{package} (wheel)", os.path.join(folder, name)) for name in names]
    return found


def address(library: ctypes.CDLL, symbol: str) -> int:
    """The address of a function, for loops to call."""
    return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0


def open_context(library: ctypes.CDLL, create: str, free: str, *values: int) -> tuple[int, Callable[[], None]]:
    """Call a library's ``create(*values)``; return the new context, 0 if that fails, and the call that frees it."""
    make, release = getattr(library, create), getattr(library, free)
    make.restype = ctypes.c_void_p
    release.argtypes = [ctypes.c_void_p]
    context: int = make(*values) or 0
    return context, lambda: release(context)


def words(*values: int) -> ctypes.Array[ctypes.c_uint64]:
    """Make a codec's state of these 64-bit words."""
    return (ctypes.c_uint64 * len(values))(*values)


def call_back(function: Callable[[bytes, int], bytes]) -> tuple[int, Any]:
    """Wrap a Python function of bytes and room for the result, which may raise, as a C function for loops.

    Returns the address of ``(source, size, out, room) -> bytes written or 0``, and an object to keep alive.
    """

    def run(source: int, size: int, out: int, room: int) -> int:
        # The caller is machine code, which knows no exceptions. KeyboardInterrupt is caught too: ctypes would return
        # garbage, and the page would count as packed.
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
