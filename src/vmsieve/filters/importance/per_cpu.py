"""Per-CPU areas of the kernel's own variables: run queues, current tasks (``mm/percpu.c``, the first chunk)."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_BYTES: Final = 16 << 20
_WORD: Final = (1 << 64) - 1


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    start, end = kernel.symbol("__per_cpu_start"), kernel.symbol("__per_cpu_end")
    size = end - start
    with suppress(KernelError, ReadError):
        # The unit has room for dynamic variables behind the static ones.
        size = max(size, kernel.memory.u32(kernel.symbol("pcpu_unit_size")))
    if not 0 < size <= _MOST_BYTES:
        raise KernelError("the size of a per-CPU area is implausible", found=size)
    for offset in kernel.per_cpu_offsets():
        at = start + offset & _WORD
        if not kernel.memory.translator.is_kernel(at):
            return
        yield from kernel.ranges(at, size)


CLASS: Final = Importance(
    "per_cpu", "per-CPU areas", 30, _find, ("__per_cpu_start", "__per_cpu_end", "pcpu_unit_size"),
)  # fmt: skip
