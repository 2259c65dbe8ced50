"""``ctypes`` of an image: the part that this package uses, on the same C module ``_ctypes``.

The real module also creates types and functions that are not used here, and imports ``struct`` to check their sizes:
about a tenth of the start-up of a small dump. Sizes are those of 64-bit Linux.
"""

# ruff: noqa: N802, SLF001 - names of ctypes; private names of _ctypes

from __future__ import annotations

import _ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_c: Any = _ctypes
Array, addressof, get_errno = _c.Array, _c.addressof, _c.get_errno


def _simple(code: str) -> Any:
    """Return the type of one value; codes as of ``struct``, plus those of Modules/_ctypes/cfield.c."""
    return type("Simple", (_c._SimpleCData,), {"_type_": code})


c_char, c_uint8, c_uint16 = _simple("c"), _simple("B"), _simple("H")
c_int, c_uint32, c_int64, c_uint64, c_void_p = _simple("i"), _simple("I"), _simple("l"), _simple("L"), _simple("P")
c_uint, c_size_t = c_uint32, c_uint64


def CFUNCTYPE(result: Any, *arguments: Any, flags: int = _c.FUNCFLAG_CDECL) -> Any:
    """See ctypes."""
    return type("Function", (_c.CFuncPtr,), {"_argtypes_": arguments, "_restype_": result, "_flags_": flags})


class CDLL:
    """See ctypes."""

    def __init__(self, name: str | None, *, use_errno: bool = False) -> None:
        self._name = name
        self._handle = _c.dlopen(name, _c.RTLD_LOCAL)
        flags = _c.FUNCFLAG_CDECL | (_c.FUNCFLAG_USE_ERRNO if use_errno else 0)
        self._FuncPtr = type("Function", (_c.CFuncPtr,), {"_flags_": flags, "_restype_": c_int})

    def __getitem__(self, name: str) -> Any:
        function = self._FuncPtr((name, self))
        function.__name__ = name
        return function

    def __getattr__(self, name: str) -> Any:
        function = self[name]
        setattr(self, name, function)
        return function


def create_string_buffer(init: bytes | int, size: int | None = None) -> Any:
    """See ctypes."""
    if isinstance(init, int):
        return (c_char * init)()
    buffer = (c_char * (len(init) + 1 if size is None else size))()
    buffer.value = init
    return buffer


def _string_at() -> Any:
    return CFUNCTYPE(_simple("O"), c_void_p, c_int, flags=_OF_OBJECTS)(_c._string_at_addr)


def _cast() -> Any:
    thing = _simple("O")
    function = CFUNCTYPE(thing, c_void_p, thing, thing, flags=_OF_OBJECTS)(_c._cast_addr)
    return lambda one, kind: function(one, one, kind)


_OF_OBJECTS = _c.FUNCFLAG_CDECL | _c.FUNCFLAG_PYTHONAPI
#: Created on first use: most programs need none of them.
_LATER = {
    "c_char_p": lambda: _simple("z"),
    "memmove": lambda: CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_size_t)(_c._memmove_addr),
    "memset": lambda: CFUNCTYPE(c_void_p, c_void_p, c_int, c_size_t)(_c._memset_addr),
    "string_at": _string_at,
    "cast": _cast,
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    found = globals()[name] = _LATER[name]()
    return found
