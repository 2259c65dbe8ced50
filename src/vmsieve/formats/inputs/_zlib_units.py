"""Zlib streams that each hold many pages: the few that were unpacked last are kept for the next reads."""

from __future__ import annotations

import struct
import threading
import zlib
from typing import TYPE_CHECKING, Callable, Final, Generic, TypeVar

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.loops.pack import unpack_pages

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vmsieve.formats.codecs import State

__all__ = ["Inflater", "Units"]

#: Units that are kept; more only while more threads than that are at it.
_KEPT: Final = 8
K = TypeVar("K", bound="Hashable")


class Inflater:
    """Unpacks zlib streams with the fastest library there is; for several threads at once."""

    def __init__(self) -> None:
        self._which = codec_number("zlib")
        #: What a thread needs: the library's state, and room for packed data, which costs less than new room each time.
        self._idle: list[tuple[State, bytearray]] = []

    def unpack(self, size: int, read: Callable[[memoryview], None], out: memoryview) -> bool:
        """Fill ``out`` from a stream; False if it is damaged or too short. One that would give more is as good.

        Args:
            size: Bytes that hold the stream, and maybe more.
            read: Reads them.
            out: What they unpack to.
        """
        try:
            state, room = self._idle.pop()
        except IndexError:
            state, room = codec("zlib").open_decompressor(len(out)), bytearray()
        if len(room) < size:
            room = bytearray(size)
        try:
            with memoryview(room)[:size] as packed:
                read(packed)
                table = bytearray(struct.pack("=QII", 0, size, 1))
                places = address_of(table), address_of(packed), address_of(out)
                if unpack_pages(self._which, state.address, 1, places[0], places[1], len(out), places[2]):
                    return True
                return _inflate(packed, out)
        finally:
            self._idle.append((state, room))

    def close(self) -> None:
        """Give back what the library holds."""
        while self._idle:
            self._idle.pop()[0].close()


def _inflate(packed: memoryview, out: memoryview) -> bool:
    """As :meth:`Inflater.unpack`, for streams that do not end where they should."""
    try:
        content = zlib.decompressobj().decompress(packed, len(out))
    except zlib.error:
        return False
    if len(content) < len(out):
        return False
    out[:] = content
    return True


class _Slot:
    """Room for one unit. Whoever holds the lock fills it; it is not given to another unit while it has users."""

    def __init__(self, size: int) -> None:
        self.lock = threading.Lock()
        self.content = memoryview(bytearray(size))
        self.filled = False
        self.users = 0


class Units(Generic[K]):
    """Unpacked units by a key; for several threads at once."""

    def __init__(self, size: int, fill: Callable[[K, memoryview], None]) -> None:
        """Room for units of up to ``size`` bytes; ``fill`` unpacks one, or raises ReadError."""
        self._size, self._fill = size, fill
        self._lock = threading.Lock()
        #: The one that was used last at the end.
        self._slots: dict[K, _Slot] = {}

    def copy(self, key: K, first: int, out: memoryview) -> None:
        """Copy the unit called ``key`` from its byte ``first`` on to ``out``.

        Raises:
            ReadError: As ``fill``.
        """
        slot = self._enter(key)
        try:
            with slot.lock:
                if not slot.filled:
                    self._fill(key, slot.content)
                    slot.filled = True
            out[:] = slot.content[first : first + len(out)]
        finally:
            with self._lock:
                slot.users -= 1

    def _enter(self, key: K) -> _Slot:
        with self._lock:
            slot = self._slots.pop(key, None)
            if slot is None:
                idle = next((k for k, one in self._slots.items() if not one.users), None)
                if idle is None or len(self._slots) < _KEPT:
                    slot = _Slot(self._size)
                else:
                    slot = self._slots.pop(idle)
                    slot.filled = False
            self._slots[key] = slot
            slot.users += 1
            return slot
