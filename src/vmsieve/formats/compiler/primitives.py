"""Primitives of loops beyond arithmetic: memory access, bit search, byte swap, calls of C functions by address.

These are the interpreter's versions; :mod:`~vmsieve.formats.compiler.numba_backend` has the compiled ones. Loads and
stores take a base address and a byte offset, need no alignment and use the machine's byte order.
"""

from __future__ import annotations

import ctypes
import sys

from vmsieve.formats.slim.typing import Any, Callable, Final

_U64: Final = ctypes.c_uint64
_WORDS: Final = (ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, _U64)
#: Numbers of arguments of C functions that loops may call.
CALLS: Final = (1, 2, 3, 4, 5, 6)
_OWN: Final = _U64()


def _load(kind: Any) -> Callable[[int, int], int]:
    """Make ``(base, offset) -> value``, zero-extended."""
    return lambda base, offset: kind.from_address(base + offset).value


def _store(kind: Any) -> Callable[[int, int, int], int]:
    """Make ``(base, offset, value) -> 0``, which stores the low bytes of ``value``."""

    def store(base: int, offset: int, value: int) -> int:
        kind.from_address(base + offset).value = value
        return 0

    return store


def _swap(size: int) -> Callable[[int], int]:
    """Make ``(value) -> value`` with its low ``size`` bytes swapped, and no others."""
    mask = (1 << 8 * size) - 1
    return lambda value: int.from_bytes((value & mask).to_bytes(size, "little"), "big")


def _call(count: int) -> Callable[..., int]:
    """Make ``(function, *arguments) -> result``: a call of the C function at an address, with 64-bit integers.

    For a C function that returns ``int``, only the low 32 bits of the result are defined.
    """
    # The prototype is made by each call: six at import would take 0.3 ms of every start, and machine code calls none.
    return lambda function, *arguments: int(ctypes.CFUNCTYPE(_U64, *[_U64] * count)(function)(*arguments))


load8, load16, load32, load64 = map(_load, _WORDS)
store8, store16, store32, store64 = map(_store, _WORDS)
swap16, swap32, swap64 = map(_swap, (2, 4, 8))
call1, call2, call3, call4, call5, call6 = map(_call, CALLS)


def ctz64(value: int) -> int:
    """Count trailing zero bits; ``value`` must not be 0."""
    return (value & -value).bit_length() - 1


def big_endian() -> int:
    """Return 1 on a big-endian machine, else 0: the machine that runs the loop, not the building one."""
    return int(sys.byteorder == "big")


def prefetch(base: int, offset: int) -> int:  # noqa: ARG001 - no effect in the interpreter
    """Prefetch memory that need not exist; return 0.

    Helps when a read moves on to a page not touched for long: hardware prefetchers stop at page boundaries.
    """
    return 0


def own_word() -> int:
    """Address of a 64-bit word, 0 at first, private to each loop: its only state between calls."""
    return ctypes.addressof(_OWN)


NAMES: Final[dict[Callable[..., int], str]] = {
    globals()[name]: name
    for name in (
        "load8", "load16", "load32", "load64", "store8", "store16", "store32", "store64", "swap16", "swap32", "swap64",
        "ctz64", "big_endian", "prefetch", "own_word", *(f"call{count}" for count in CALLS),
    )
}  # fmt: skip
