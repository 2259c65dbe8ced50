"""What a loop may do beyond arithmetic: reach memory, look at bits, swap bytes, call a C function by address.

The functions here are the interpreter's versions; :mod:`~vmsieve.formats.compiler.numba_backend` has the compiled twins.
Loads and stores take a base address and a byte offset, need no alignment and use the machine's own byte order.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Callable, Final

__all__ = [
    "CALLS", "NAMES", "big_endian", "call1", "call2", "call3", "call4", "call5", "call6", "ctz64",
    "load8", "load16", "load32", "load64", "own_word", "prefetch", "store8", "store16", "store32", "store64",
    "swap16", "swap32", "swap64",
]  # fmt: skip

_U64 = ctypes.c_uint64
#: C functions that loops may call, by number of arguments.
CALLS: Final = (1, 2, 3, 4, 5, 6)
_OWN: Final = _U64()
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


def ctz64(value: int) -> int:
    """How many low bits of ``value`` are clear before the first set one; ``value`` must not be 0."""
    return (value & -value).bit_length() - 1


def big_endian() -> int:
    """1 on a big-endian machine, else 0: the machine the loop runs on, not the one that built it."""
    return int(sys.byteorder == "big")


def prefetch(base: int, offset: int) -> int:  # noqa: ARG001 - the interpreter has nothing to hurry
    """Say that the memory at ``base + offset`` will be read soon; it need not exist. Returns 0.

    Worth it where reading goes on in a page of memory that was not touched for long: processors that fetch ahead by
    themselves stop at the end of each page.
    """
    return 0


def own_word() -> int:
    """Address of a 64-bit word that is 0 at first and each loop's own: the one thing that lasts between its calls."""
    return ctypes.addressof(_OWN)


def call1(function: int, a: int) -> int:
    """Call the C function at address ``function``; arguments and result are passed as 64-bit integers.

    Of a C function that returns an ``int``, only the low 32 bits of the result mean anything.
    """
    return int(_PROTOTYPES[1](function)(a))


def call2(function: int, a: int, b: int) -> int:
    """As :func:`call1`, with two arguments."""
    return int(_PROTOTYPES[2](function)(a, b))


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
        swap16, swap32, swap64, ctz64, big_endian, prefetch, own_word, call1, call2, call3, call4, call5, call6,
    )
}  # fmt: skip
