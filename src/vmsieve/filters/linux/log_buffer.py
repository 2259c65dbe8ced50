"""Location of the kernel's log buffer, which belongs to the kernel whatever its struct pages say.

Linux commit 896fbe20b4e2 ("printk: use the lockless ringbuffer"), v5.10, made it a ring behind ``prb``; before, it was
``log_buf``.
"""

from __future__ import annotations

from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_WORD: Final = (1 << 64) - 1
_MAX_TEXT_BITS: Final = 31
_BLOCK: Final = 4096
#: Most bytes of :func:`log_blocks`: 16 times the size that most kernels have.
_MOST: Final = 4 << 20
_RING: Final = (
    "SYMBOL(prb)", "OFFSET(printk_ringbuffer.text_data_ring)", "OFFSET(prb_data_ring.size_bits)",
    "OFFSET(prb_data_ring.data)",
)  # fmt: skip
_FLAT: Final = ("SYMBOL(log_buf)", "SYMBOL(log_buf_len)")


def text_ring(memory: VirtualMemory, info: VmcoreInfo) -> tuple[int, int]:
    """Virtual address and size, in bytes, of the ring of text (v5.10 and later)."""
    texts = memory.u64(info.need("SYMBOL", "prb")) + info.need("OFFSET", "printk_ringbuffer.text_data_ring")
    bits = memory.u32(texts + info.need("OFFSET", "prb_data_ring.size_bits") & _WORD)
    if not 3 < bits <= _MAX_TEXT_BITS:
        raise KernelError("the size of the kernel's log is implausible", found=f"2**{bits}")
    return memory.u64(texts + info.need("OFFSET", "prb_data_ring.data") & _WORD), 1 << bits


def flat_buffer(memory: VirtualMemory, info: VmcoreInfo) -> tuple[int, int]:
    """Virtual address and size, in bytes, of the log before v5.10; the size is unchecked."""
    return memory.u64(info.need("SYMBOL", "log_buf")), memory.u32(info.need("SYMBOL", "log_buf_len"))


def log_blocks(memory: VirtualMemory, info: VmcoreInfo) -> set[int]:
    """Numbers of the 4 KiB blocks of physical memory with the log's text; empty if unknown."""
    try:
        if all(info.peek(key) is not None for key in _RING):
            start, size = text_ring(memory, info)
        elif all(info.peek(key) is not None for key in _FLAT):
            start, size = flat_buffer(memory, info)
        else:
            return set()
        pieces = list(memory.segments(start, min(size, _MOST)))
    except (KernelError, ReadError):
        return set()
    return {block for paddr, length in pieces for block in range(paddr // _BLOCK, -(-(paddr + length) // _BLOCK))}
