"""The kernel's text. It comes late, as vmlinux has it too."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    return kernel.between("_stext", "_etext")


CLASS: Final = Importance("text", "the kernel's text", 95, _find, ("_stext", "_etext"))
