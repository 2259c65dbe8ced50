"""What a kernel may do beyond arithmetic: reach memory, swap bytes, call a C function by address.

The functions here are the interpreter's versions; :mod:`~vmsieve.formats.kernels.compiled` has the compiled twins.
Loads and stores take a base address and a byte offset, need no alignment and use the machine's own byte order.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Callable, Final

__all__ = [
    "BIG_ENDIAN", "CALLS", "NAMES", "call1", "call3", "call4", "call5", "call6",
    "load8", "load16", "load32", "load64", "store8", "store16", "store32", "store64",
    "swap16", "swap32", "swap64",
]  # fmt: skip

#: What byte order the machine has, for kernels that read a foreign dump: 1 if big-endian.
BIG_ENDIAN: Final = int(sys.byteorder == "big")

_U64 = ctypes.c_uint64
#: C functions that kernels may call, by number of arguments.
CALLS: Final = (1, 3, 4, 5, 6)
_PROTOTYPES: Final = {n: ctypes.CFUNCTYPE(_U64, *[_U64] * n) for n in CALLS}


def load8(base: int, offset: int) -> int:
    """The byte at ``base + offset``."""
    return ctypes.c_uint8.from_address(base + offset).value


def load16(base: int, offset: int) -> int:
    """The two bytes at ``base + offset``, zero-extended."""
    return ctypes.c_uint16.from_address(base + offset).value


def load32(base: int, offset: int) -> int:
    """The four bytes at ``base + offset``, zero-extended."""
    return ctypes.c_uint32.from_address(base + offset).value


def load64(base: int, offset: int) -> int:
    """The eight bytes at ``base + offset``."""
    return _U64.from_address(base + offset).value


def store8(base: int, offset: int, value: int) -> int:
    """Store the low byte of ``value``; returns 0, as every store does."""
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
    """The low two bytes of ``value`` in the other order."""
    return int.from_bytes((value & 0xFFFF).to_bytes(2, "little"), "big")


def swap32(value: int) -> int:
    """The low four bytes of ``value`` in the other order."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "big")


def swap64(value: int) -> int:
    """The eight bytes of ``value`` in the other order."""
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def call1(function: int, a: int) -> int:
    """Call the C function at address ``function``; arguments and result are passed as 64-bit integers."""
    return int(_PROTOTYPES[1](function)(a))


def call3(function: int, a: int, b: int, c: int) -> int:
    """As :func:`call1`, with three arguments."""
    return int(_PROTOTYPES[3](function)(a, b, c))


def call4(function: int, a: int, b: int, c: int, d: int) -> int:
    """As :func:`call1`, with four arguments."""
    return int(_PROTOTYPES[4](function)(a, b, c, d))


def call5(function: int, a: int, b: int, c: int, d: int, e: int) -> int:
    """As :func:`call1`, with five arguments."""
    return int(_PROTOTYPES[5](function)(a, b, c, d, e))


def call6(function: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """As :func:`call1`, with six arguments."""
    return int(_PROTOTYPES[6](function)(a, b, c, d, e, f))


NAMES: Final[dict[Callable[..., int], str]] = {
    f: f.__name__
    for f in (
        load8, load16, load32, load64, store8, store16, store32, store64,
        swap16, swap32, swap64, call1, call3, call4, call5, call6,
    )
}  # fmt: skip
