"""Loops: the compiled inner loops, and how they come to be machine code.

A *loop* is a plain Python function, marked with :func:`loop`, whose arguments, variables and result are all
unsigned 64-bit integers. Addresses are integers too; memory is reached through the primitives of
:mod:`~vmsieve.formats.compiler.primitives` (``load32(base, offset)`` and the like). Arithmetic wraps at 2**64, shifts
and divisions are unsigned, and an int literal is an unsigned 64-bit constant:
:mod:`~vmsieve.formats.compiler.dialect` sees to it, so that one source means the same on every backend:

``aot``
    The machine code built with the package for this machine, called through ctypes with the GIL released. The default;
    needs neither numba nor numpy.
``jit``
    numba compiles the function when it is first called.
``python``
    The interpreter runs it: slow, but runs everywhere and can be stepped through.

``VMSIEVE_KERNELS`` demands one of them, and a demand that can't be met is an error. Without it the first that exists is
taken, in the order above.

A helper that loops call is marked with :func:`inline`; it becomes part of each caller. A loop checks nothing:
callers own the lengths, once per batch.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, Final, TypeVar, cast

from vmsieve.formats.errors import UsageError

__all__ = ["BACKENDS", "PACKAGES", "backend", "code_address", "inline", "loop"]

F = TypeVar("F", bound=Callable[..., int])

BACKENDS: Final = ("aot", "jit", "python")
#: The packages whose modules hold loops; the build lowers every loop found in them.
PACKAGES: Final = ("vmsieve.formats.loops", "vmsieve.filters.loops")

_chosen: str | None = None


def backend() -> str:
    """The backend in force, one of :data:`BACKENDS`; decided once.

    Raises:
        UsageError: ``VMSIEVE_KERNELS`` names a backend that is unknown or not to be had.
    """
    global _chosen  # noqa: PLW0603 - decided once for the process, so that loops of two backends never mix
    if _chosen is None:
        _chosen = _choose(os.environ.get("VMSIEVE_KERNELS", "auto"))
    return _chosen


def _choose(wish: str) -> str:
    from vmsieve.formats.compiler import native_backend

    if wish == "auto":
        if native_backend.available():
            return "aot"
        return "jit" if _numba_installed() else "python"
    if wish not in BACKENDS:
        raise UsageError("VMSIEVE_KERNELS names no backend", expected="aot, jit, python or auto", found=wish)
    if wish == "aot" and not native_backend.available():
        raise UsageError(
            "VMSIEVE_KERNELS=aot, but this installation has no machine code for this machine",
            expected=native_backend.object_path(),
        )
    if wish == "jit" and not _numba_installed():
        raise UsageError("VMSIEVE_KERNELS=jit, but numba is not installed", hint="pip install 'vmsieve[jit]'")
    return wish


def _numba_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("numba") is not None


def loop(function: F) -> F:
    """Mark ``function`` as a loop; it is bound to the backend in force when first called."""
    return cast("F", Loop(function))


def inline(function: F) -> F:
    """Mark ``function`` as a helper of loops, written in the same dialect; never called on its own."""
    function.__vmsieve_inline__ = True  # type: ignore[attr-defined]
    return function


class Loop:
    """A loop and its binding. ``source`` is the function as written."""

    def __init__(self, source: Callable[..., int]) -> None:
        self.source = source
        self.name = source.__name__
        self.arity = source.__code__.co_argcount
        self.__doc__ = source.__doc__
        self._bound: Callable[..., int] | None = None

    def __call__(self, *arguments: int) -> int:
        return (self._bound or self.bound())(*arguments)

    def bound(self) -> Callable[..., int]:
        """What a call of it calls."""
        if self._bound is None:
            self._bound = bind(self, backend())
        return self._bound

    def __repr__(self) -> str:
        return f"<loop {self.source.__module__}.{self.name}>"


def code_address(a_loop: Callable[..., int]) -> int:
    """Where the machine code of a loop is, for those who call it as a C function; 0: the interpreter runs it."""
    if backend() == "python":
        return 0
    return ctypes.cast(cast("Any", a_loop).bound(), ctypes.c_void_p).value or 0


def bind(a_loop: Loop, which: str) -> Callable[..., int]:
    """The callable of ``a_loop`` on backend ``which``; every argument and the result are unsigned 64-bit.

    Raises:
        UsageError: An image for the crash kernel, which has machine code alone, can't load it.
    """
    module: Any
    if which == "aot":
        from vmsieve.formats.compiler import native_backend as module
    elif which == "jit":
        from vmsieve.formats.compiler import numba_backend as module
    else:
        try:
            from vmsieve.formats.compiler import dialect as module
        except ImportError as error:
            raise UsageError("there is no machine code for this machine, and nothing else that runs loops") from error
    return cast("Callable[..., int]", module.bind(a_loop))
