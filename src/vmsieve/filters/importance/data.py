"""The kernel's variables: everything behind its constants, up to the end of its image."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    return kernel.between("__end_rodata", "_end")


CLASS: Final = Importance("data", "the kernel's variables", 60, _find, ("__end_rodata", "_end"), without=("orc",)
)  # fmt: skip
