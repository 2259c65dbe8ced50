"""Windows of memory in which SIGBUS is survived; see :mod:`vmsieve.formats.mapping`.

The handler is a loop. It is installed when the first file is mapped, acts in windows alone, and passes every other
SIGBUS to the previous handler.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.compiler import code_address
from vmsieve.formats.loops import bus_error as layout
from vmsieve.formats.slim.typing import Final

_WINDOWS: Final = 512
_WORD: Final = 8
# struct sigaction of the C libraries: handler, mask, flags. glibc on s390x has the flags first, at 12; offset 136 is
# then in the mask, for signals that do not exist.
_ACTION_SIZE: Final = 152
_FLAGS_AT: Final = (136, 12) if os.uname().machine == "s390x" else (136,)
_SIGINFO: Final = 4


class _Table:
    """The handler's table."""

    def __init__(self) -> None:
        self._code = code_address(layout.handle_bus_error)
        self.memory = (ctypes.c_uint64 * ((layout.FIRST + _WINDOWS * layout.SLOT) // _WORD))()
        self._before = (ctypes.c_uint64 * (_ACTION_SIZE // _WORD))()
        self.free = [(layout.FIRST + number * layout.SLOT) // _WORD for number in range(_WINDOWS)]
        library = ctypes.CDLL(None)
        self._sigaction = library.sigaction
        self._sigaction.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        for place, value in (
            (layout.MMAP, ctypes.cast(library.mmap, ctypes.c_void_p).value or 0),
            (layout.SIGACTION, ctypes.cast(self._sigaction, ctypes.c_void_p).value or 0),
            (layout.RAISE, ctypes.cast(getattr(library, "raise"), ctypes.c_void_p).value or 0),
            (layout.BEFORE, ctypes.addressof(self._before)),
            (layout.PAGE, mmap.PAGESIZE),
            (layout.SLOTS, _WINDOWS),
        ):
            self.memory[place // _WORD] = value

    def arm(self) -> bool:
        """Install the handler if it is not; False without machine code."""
        if self.memory[layout.ARMED // _WORD]:
            return True
        if not self._code:
            return False
        layout.handle_bus_error(0, ctypes.addressof(self.memory), 0)
        action, before = bytearray(_ACTION_SIZE), type(self._before)()
        ctypes.c_uint64.from_buffer(action).value = self._code
        for at in _FLAGS_AT:
            ctypes.c_int.from_buffer(action, at).value = _SIGINFO
        self.memory[layout.ARMED // _WORD] = 1
        if self._sigaction(layout.SIGBUS, address_of(action), ctypes.addressof(before)):
            self.memory[layout.ARMED // _WORD] = 0
            return False
        if before[0] != self._code:
            ctypes.memmove(self._before, before, _ACTION_SIZE)
        return True

    def take(self, address: int, size: int) -> Guard | None:
        """Guard a window; None if the table is full."""
        if not self.free:
            return None
        slot = self.free.pop()
        for place, value in ((layout.LOST, 0), (layout.START, address), (layout.END, address + size)):
            self.memory[slot + place // _WORD] = value
        return Guard(self, slot)


class Guard:
    """One guarded window."""

    def __init__(self, table: _Table, slot: int) -> None:
        self._table, self._slot = table, slot

    def armed(self) -> bool:
        """Install the handler if it is not; False if that fails."""
        return self._table.arm()

    def lost(self) -> bool:
        """True if a page was missing when touched, since the last call."""
        at = self._slot + layout.LOST // _WORD
        was, self._table.memory[at] = self._table.memory[at], 0
        return was != 0

    def close(self) -> None:
        """End the guard; the window's memory may be freed."""
        self._table.memory[self._slot + layout.END // _WORD] = 0
        self._table.free.append(self._slot)


_table: _Table | None = None


def guard(address: int, size: int) -> Guard | None:
    """Guard ``size`` bytes of memory at ``address`` as a window; None if there are too many."""
    global _table  # noqa: PLW0603 - one handler per process
    if _table is None:
        _table = _Table()
    return _table.take(address, size)
