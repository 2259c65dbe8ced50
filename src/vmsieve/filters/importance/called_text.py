"""Text that stacks point to: crash disassembles each function that a backtrace goes through."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import ReadError
from vmsieve.formats.slim.contexts import suppress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

#: Bytes of stacks and of tasks that are searched.
_MOST_BYTES: Final = 16 << 20
_PAGE: Final = 4096
#: Pages around each: a function begins before the address that a call returns to, and ends after it.
_AROUND: Final = (-1, 0, 1)


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    start, end = kernel.symbol("_stext"), kernel.symbol("_etext")
    order = ">" if kernel.memory.physical.byte_order == "big" else "<"
    pages: set[int] = set()
    left = _MOST_BYTES
    for low, high in (*kernel.found.get("registers", ()), *kernel.found.get("tasks", ())):
        size = min(high - low, left) // 8 * 8
        left -= size
        data = bytearray(size)
        with suppress(ReadError):
            kernel.memory.physical.source.read_into(low, memoryview(data))
            pages.update(word // _PAGE for word in struct.unpack(f"{order}{size // 8}Q", data) if start <= word < end)
    for page in sorted({number + near for number in pages for near in _AROUND}):
        yield from kernel.ranges(page * _PAGE, _PAGE)


CLASS: Final = Importance("called_text", "text that stacks point to", 55, _find, ("_stext", "_etext"))
