"""The compiler of loops: from a Python function to machine code.

Belongs here: the dialect, primitives, backends, the build (lowering, linker). Does not: any loop.

A *loop* is a plain Python function, marked with :func:`loop`, whose arguments, variables and result are unsigned 64-bit
integers. Addresses are integers too; memory is reached through :mod:`~vmsieve.formats.compiler.primitives`
(``load32(base, offset)`` and the like). :mod:`~vmsieve.formats.compiler.dialect` gives one meaning on every backend:
arithmetic wraps at 2**64, shifts and divisions are unsigned, an int literal is an unsigned 64-bit constant.

``aot``
    Machine code built with the package, called through ctypes with the GIL released. The default; needs neither numba
    nor numpy.
``jit``
    numba compiles the function at its first call.
``python``
    The interpreter runs it: slow, but on any machine and in a debugger.

``VMSIEVE_KERNELS`` demands one of them; an unavailable one is an error. By default the first available one is used, in
this order.

A helper of loops is marked with :func:`inline` and becomes part of each caller. A loop checks nothing: callers own the
lengths, once per batch.
"""

from __future__ import annotations

import ctypes
import os

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import Any, Callable, Final, TypeVar, cast

F = TypeVar("F", bound=Callable[..., int])

BACKENDS: Final = ("aot", "jit", "python")
#: Packages with loops; the build lowers every loop in their modules. By name, so that no import points upwards.
PACKAGES: Final = ("vmsieve.formats.loops", "vmsieve.formats.codecs", "vmsieve.filters.loops")

_chosen: str | None = None


def backend() -> str:
    """The backend in use, one of :data:`BACKENDS`; chosen once. UsageError if VMSIEVE_KERNELS demands none of them."""
    global _chosen  # noqa: PLW0603 - once per process, so that loops of two backends never mix
    if _chosen is None:
        _chosen = _choose(os.environ.get("VMSIEVE_KERNELS", "auto"))
    return _chosen


def _choose(requested: str) -> str:
    from vmsieve.formats.compiler import native_backend

    if requested == "auto":
        if native_backend.available():
            return "aot"
        return "jit" if _numba_installed() else "python"
    if requested not in BACKENDS:
        raise UsageError("VMSIEVE_KERNELS names no backend", expected="aot, jit, python or auto", found=requested)
    if requested == "aot" and not native_backend.available():
        raise UsageError(
            "VMSIEVE_KERNELS=aot, but this installation has no machine code for this machine",
            expected=native_backend.object_path(),
        )
    if requested == "jit" and not _numba_installed():
        raise UsageError("VMSIEVE_KERNELS=jit, but numba is not installed", hint="pip install 'vmsieve[jit]'")
    return requested


def _numba_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("numba") is not None


def loop(function: F) -> F:
    """Mark ``function`` as a loop; its first call binds it to the backend in use."""
    return cast("F", Loop(function))


def inline(function: F) -> F:
    """Mark ``function`` as a helper of loops, in the same dialect; never called on its own."""
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
        """The callable on the backend in use."""
        if self._bound is None:
            self._bound = bind(self, backend())
        return self._bound


def code_address(a_loop: Callable[..., int]) -> int:
    """The address of a loop's machine code as a C function; 0 on the ``python`` backend."""
    if backend() == "python":
        return 0
    return ctypes.cast(cast("Any", a_loop).bound(), ctypes.c_void_p).value or 0


def bind(a_loop: Loop, which: str) -> Callable[..., int]:
    """Bind ``a_loop`` to backend ``which``; arguments and result of the callable are unsigned 64-bit.

    Raises UsageError in an image for a crash kernel, which has no other backend, if the machine code can't be loaded.
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
            raise UsageError("there is no machine code for this machine, and no other backend") from error
    return cast("Callable[..., int]", module.bind(a_loop))
