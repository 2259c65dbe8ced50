"""Text that crash disassembles when it starts, whatever it is asked: without it crash gives up."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_TEXT: Final = (
    "__schedule", "schedule", "asm_exc_nmi", "default_do_nmi", "__switch_to_asm", "vfs_read", "do_futex", "rest_init",
    "kernel_init", "crash_nmi_callback", "__x64_sys_open", "__x64_sys_read", "__ia32_sys_fork",
    "secondary_startup_64",
)  # fmt: skip
#: Bytes of text from the start of each: __schedule has nearly two pages.
_SIZE: Final = 3 * 4096


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    for name in _TEXT:
        if name in kernel.symbols:
            yield from kernel.ranges(kernel.symbols[name], _SIZE)


CLASS: Final = Importance("start_text", "text that crash starts with", 43, _find, _TEXT)
