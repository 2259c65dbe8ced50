"""Zlib streams that each hold many pages, and a cache of the last unpacked ones."""

from __future__ import annotations

import struct
import threading
import zlib

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.codecs._pack import unpack_pages
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vmsieve.formats.codecs import State

#: Cached units; there are more only while more threads than that use units.
_KEPT: Final = 8
K = TypeVar("K", bound="Hashable")


class Inflater:
    """Unpacks zlib streams with the fastest available library. Thread-safe."""

    def __init__(self) -> None:
        self._which = codec_number("zlib")
        #: One for each thread: the library's state, and a buffer for packed data, which is cheaper to reuse.
        self._idle: list[tuple[State, bytearray]] = []

    def unpack(self, size: int, read: Callable[[memoryview], None], out: memoryview) -> bool:
        """Fill ``out`` from a stream; returns False if it is damaged or too short. A longer stream is valid.

        ``read`` fills a buffer with ``size`` bytes, the stream and perhaps more.
        """
        try:
            state, buffer = self._idle.pop()
        except IndexError:
            state, buffer = codec("zlib").open_decompressor(len(out)), bytearray()
        if len(buffer) < size:
            buffer = bytearray(size)
        try:
            with memoryview(buffer)[:size] as packed:
                read(packed)
                table = bytearray(struct.pack("=QII", 0, size, 1))
                addresses = address_of(table), address_of(packed), address_of(out)
                if unpack_pages(self._which, state.address, 1, addresses[0], addresses[1], len(out), addresses[2]):
                    return True
                return _inflate(packed, out)
        finally:
            self._idle.append((state, buffer))

    def close(self) -> None:
        """Free the library's states."""
        while self._idle:
            self._idle.pop()[0].close()


def _inflate(packed: memoryview, out: memoryview) -> bool:
    """As :meth:`Inflater.unpack`, for streams that are longer than ``out``."""
    try:
        content = zlib.decompressobj().decompress(packed, len(out))
    except zlib.error:
        return False
    if len(content) < len(out):
        return False
    out[:] = content
    return True


class _Slot:
    """Buffer for one unit. The holder of the lock fills it; it is not reused while it has users."""

    def __init__(self, size: int) -> None:
        self.lock = threading.Lock()
        self.content = memoryview(bytearray(size))
        self.filled = False
        self.users = 0


class Units(Generic[K]):
    """Cache of unpacked units by key. Thread-safe."""

    def __init__(self, size: int, fill: Callable[[K, memoryview], None]) -> None:
        """Cache units of up to ``size`` bytes; ``fill`` unpacks one, or raises ReadError."""
        self._size, self._fill = size, fill
        self._lock = threading.Lock()
        #: Least recently used first.
        self._slots: dict[K, _Slot] = {}

    def copy(self, key: K, first: int, out: memoryview) -> None:
        """Fill ``out`` from byte ``first`` of the unit ``key``; raises ReadError as ``fill`` does."""
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
