"""States of the codecs that are loops themselves: scratch memory to pack, nothing to unpack."""

from __future__ import annotations

import ctypes
from typing import Callable

from vmsieve.formats.codecs import State
from vmsieve.formats.codecs._libraries import words


def opener(scratch: int) -> Callable[[int, int], State]:
    """Make an ``open_compressor`` whose state is the address of ``scratch`` bytes."""

    def open_compressor(level: int, page_size: int) -> State:
        del level, page_size
        table = ctypes.create_string_buffer(scratch)
        return State("built in", words(ctypes.addressof(table)), [table])

    return open_compressor


def open_decompressor(page_size: int) -> State:
    """Make an empty state."""
    del page_size
    return State("built in", words(0))
