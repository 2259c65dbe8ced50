"""The kernel's constants (include/asm-generic/sections.h) without names."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    return kernel.between("__start_rodata", "__end_rodata")


CLASS: Final = Importance(
    "rodata", "the kernel's constants", 65, _find, ("__start_rodata", "__end_rodata"), without=("names",)
)
