"""Where the processors were: the memory around every kernel address in their registers, their stacks above all."""

from __future__ import annotations

import struct

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_CPUS: Final = 8192
#: Stacks are aligned to their size, THREAD_SIZE, 16 KiB at least: the largest part of one is around a stack pointer.
_AROUND: Final = 16 << 10


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    order = ">" if kernel.memory.physical.byte_order == "big" else "<"
    for cpu in kernel.memory.physical.source.cpus[:_MOST_CPUS]:
        count = len(cpu.registers) // 8
        for word in dict.fromkeys(struct.unpack_from(f"{order}{count}Q", cpu.registers)):
            if kernel.memory.translator.is_kernel(word):
                yield from kernel.ranges(word & -_AROUND, _AROUND)


CLASS: Final = Importance("registers", "memory around the processors' registers", 25, _find)
