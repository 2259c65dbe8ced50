"""Primitives of loops beyond arithmetic: memory access, bit search, byte swap, calls of C functions by address.

These are the interpreter's versions; :mod:`~vmsieve.formats.compiler.numba_backend` has the compiled ones. Loads and
stores take a base address and a byte offset, need no alignment and use the machine's byte order.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Callable, Final

_U64 = ctypes.c_uint64
#: Numbers of arguments of C functions that loops may call.
CALLS: Final = (1, 2, 3, 4, 5, 6)
_OWN: Final = _U64()
_PROTOTYPES: Final = {n: ctypes.CFUNCTYPE(_U64, *[_U64] * n) for n in CALLS}


def load8(base: int, offset: int) -> int:
    """Load the byte at ``base + offset``."""
    return ctypes.c_uint8.from_address(base + offset).value


def load16(base: int, offset: int) -> int:
    """Load two bytes, zero-extended."""
    return ctypes.c_uint16.from_address(base + offset).value


def load32(base: int, offset: int) -> int:
    """Load four bytes, zero-extended."""
    return ctypes.c_uint32.from_address(base + offset).value


def load64(base: int, offset: int) -> int:
    """Load eight bytes."""
    return _U64.from_address(base + offset).value


def store8(base: int, offset: int, value: int) -> int:
    """Store the low byte of ``value``; return 0, as every store does."""
    ctypes.c_uint8.from_address(base + offset).value = value
    return 0


def store16(base: int, offset: int, value: int) -> int:
    """Store the low two bytes of ``value``."""
    ctypes.c_uint16.from_address(base + offset).value = value
    return 0


def store32(base: int, offset: int, value: int) -> int:
    """Store the low four bytes of ``value``."""
    ctypes.c_uint32.from_address(base + offset).value = value
    return 0


def store64(base: int, offset: int, value: int) -> int:
    """Store ``value``."""
    _U64.from_address(base + offset).value = value
    return 0


def swap16(value: int) -> int:
    """Swap the low two bytes."""
    return int.from_bytes((value & 0xFFFF).to_bytes(2, "little"), "big")


def swap32(value: int) -> int:
    """Swap the low four bytes."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "big")


def swap64(value: int) -> int:
    """Swap all eight bytes."""
    return int.from_bytes(value.to_bytes(8, "little"), "big")


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


def call1(function: int, a: int) -> int:
    """Call the C function at address ``function``; arguments and result are 64-bit integers.

    For a C function that returns ``int``, only the low 32 bits of the result are defined.
    """
    return int(_PROTOTYPES[1](function)(a))


def call2(function: int, a: int, b: int) -> int:
    """Call with two arguments; see :func:`call1`."""
    return int(_PROTOTYPES[2](function)(a, b))


def call3(function: int, a: int, b: int, c: int) -> int:
    """Call with three arguments."""
    return int(_PROTOTYPES[3](function)(a, b, c))


def call4(function: int, a: int, b: int, c: int, d: int) -> int:
    """Call with four arguments."""
    return int(_PROTOTYPES[4](function)(a, b, c, d))


def call5(function: int, a: int, b: int, c: int, d: int, e: int) -> int:
    """Call with five arguments."""
    return int(_PROTOTYPES[5](function)(a, b, c, d, e))


def call6(function: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """Call with six arguments."""
    return int(_PROTOTYPES[6](function)(a, b, c, d, e, f))


NAMES: Final[dict[Callable[..., int], str]] = {
    f: f.__name__
    for f in (
        load8, load16, load32, load64, store8, store16, store32, store64,
        swap16, swap32, swap64, ctz64, big_endian, prefetch, own_word, call1, call2, call3, call4, call5, call6,
    )
}  # fmt: skip
