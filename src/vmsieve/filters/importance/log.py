"""The kernel's log: descriptors, records and text (kernel/printk/printk_ringbuffer.h); a flat buffer before v5.10."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.filters.linux.log_buffer import flat_buffer, text_ring
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_RECORDS: Final = 1 << 20
_MOST_TEXT: Final = 64 << 20


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    memory, info = kernel.memory, kernel.info
    if info.symbol("prb") is None:
        yield from kernel.ranges(info.need("SYMBOL", "log_buf"), 8)
        start, size = flat_buffer(memory, info)
        yield from kernel.ranges(start, min(size, _MOST_TEXT))
        return
    at = info.need("SYMBOL", "prb")
    yield from kernel.ranges(at, 8)
    ring = memory.u64(at)
    yield from kernel.ranges(ring, info.need("SIZE", "printk_ringbuffer"))
    descriptors = ring + info.need("OFFSET", "printk_ringbuffer.desc_ring")
    bits = memory.u32(descriptors + info.need("OFFSET", "prb_desc_ring.count_bits"))
    if 1 << bits > _MOST_RECORDS:
        raise KernelError("the number of records in the log is implausible", found=f"2**{bits}")
    for member, structure in (("descs", "prb_desc"), ("infos", "printk_info")):
        start = memory.u64(descriptors + info.need("OFFSET", f"prb_desc_ring.{member}"))
        yield from kernel.ranges(start, info.need("SIZE", structure) << bits)
    start, size = text_ring(memory, info)
    yield from kernel.ranges(start, min(size, _MOST_TEXT))


CLASS: Final = Importance("log", "the kernel's log", 15, _find)
