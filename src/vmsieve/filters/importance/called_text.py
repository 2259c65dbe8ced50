"""Text that stacks point to: crash disassembles each function that a backtrace goes through."""

from __future__ import annotations

import sys

from vmsieve.filters.importance import Importance
from vmsieve.filters.loops.importance import mark_targets
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.extents import joined
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

#: Bytes of stacks and of tasks that are searched, and of them at once.
_MOST_BYTES: Final = 16 << 20
_AT_ONCE: Final = 64 << 10
_MOST_TEXT: Final = 128 << 20
_SHIFT: Final = 12


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    start, end = kernel.symbol("_stext"), kernel.symbol("_etext")
    if not 0 < end - start <= _MOST_TEXT:
        raise KernelError("the size of the kernel's text is implausible", found=end - start)
    bits = _targets(kernel, start, end)
    # A function begins before the address that a call returns to, and ends after it: a page more on either side.
    bits = (bits | bits << 1 | bits << 2) >> 1
    base, number = start >> _SHIFT, 0
    while bits >> number:
        number += (bits >> number & -(bits >> number)).bit_length() - 1
        pages = (~(bits >> number) & (bits >> number) + 1).bit_length() - 1
        yield from kernel.ranges(base + number << _SHIFT, pages << _SHIFT)
        number += pages


def _targets(kernel: Kernel, start: int, end: int) -> int:
    """Return a number whose bits are the pages of text, from that of ``start`` on, that stacks and tasks point into."""
    out = bytearray((end - start >> _SHIFT + 3) + 2)
    room = memoryview(bytearray(_AT_ONCE))
    swap, left = int(kernel.memory.physical.byte_order != sys.byteorder), _MOST_BYTES
    for low, high in joined([*kernel.found.get("registers", ()), *kernel.found.get("tasks", ())]):
        high = min(high, low + left)
        left -= high - low
        for at in range(low, high, _AT_ONCE):
            part = room[: min(_AT_ONCE, high - at)]
            with suppress(ReadError):
                kernel.memory.physical.source.read_into(at, part)
                mark_targets(address_of(part), len(part) // 8, swap, start, end, _SHIFT, address_of(out))
    return int.from_bytes(out, "little")


CLASS: Final = Importance("called_text", "text that stacks point to", 55, _find, ("_stext", "_etext"))
