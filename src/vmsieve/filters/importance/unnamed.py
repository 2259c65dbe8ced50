"""The kernel's variables if nothing names them (no CONFIG_KALLSYMS_ALL): readers start from some of them."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    return kernel.between("__end_rodata", "_end")


CLASS: Final = Importance("unnamed", "the kernel's variables, which have no names", 42, _find, unless="modules")
