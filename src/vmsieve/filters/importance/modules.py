"""Modules: each ``struct module``, its data and its text (include/linux/module.h)."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_MODULES: Final = 4096
_MOST_BYTES: Final = 64 << 20


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    size, node = kernel.size("module"), kernel.offset("module", "list")
    areas = list(_areas(kernel))
    for at in kernel.each(kernel.symbol("modules"), _MOST_MODULES):
        module = at - node
        yield from kernel.ranges(module, size)
        with suppress(KernelError, ReadError):
            for base, bytes_at in areas:
                length = kernel.memory.u32(module + bytes_at)
                if 0 < length <= _MOST_BYTES:
                    yield from kernel.ranges(kernel.memory.u64(module + base), length)


def _areas(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the offsets of address and size of each area of a module.

    One array since v6.4 (Linux commit ac3b43283923, "module: replace module_layout with module_memory").
    """
    for member in ("core_layout", "init_layout"):
        with suppress(KernelError):
            at = kernel.offset("module", member)
            yield at + kernel.offset("module_layout", "base"), at + kernel.offset("module_layout", "size")
    with suppress(KernelError):
        at, step = kernel.offset("module", "mem"), kernel.size("module_memory")
        assert kernel.types is not None
        for i in range(kernel.types.length("module", "mem") or 0):
            start = at + i * step
            yield start + kernel.offset("module_memory", "base"), start + kernel.offset("module_memory", "size")


CLASS: Final = Importance(
    "modules", "modules", 41, _find, ("modules",), ("module", "module_layout", "module_memory")
)  # fmt: skip
