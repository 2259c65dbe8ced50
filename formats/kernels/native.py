"""The ``aot`` backend: machine code that came with the package, called through ctypes."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Callable, cast

if TYPE_CHECKING:
    from vmsieve.formats.kernels import Kernel

__all__ = ["available", "bind", "object_path"]

_library: ctypes.CDLL | None = None


def object_path() -> str:
    """Where the machine code of this machine is, if it is there at all."""
    machine = os.uname().machine
    return os.path.join(os.path.dirname(__file__), "objects", f"{machine}.so")


def available() -> bool:
    """Whether there is machine code for this machine."""
    return os.path.exists(object_path())


def _load() -> ctypes.CDLL:
    global _library  # noqa: PLW0603 - one mapping of the code serves the process
    if _library is None:
        _library = ctypes.CDLL(object_path())
    return _library


def bind(a_kernel: Kernel) -> Callable[..., int]:
    """``a_kernel`` as a foreign function; ctypes releases the GIL for the whole call."""
    function = _load()[a_kernel.name]
    function.argtypes = [ctypes.c_uint64] * a_kernel.arity
    function.restype = ctypes.c_uint64
    return cast("Callable[..., int]", function)
