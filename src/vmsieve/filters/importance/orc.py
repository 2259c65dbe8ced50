"""Unwind tables of x86_64 (arch/x86/kernel/unwind_orc.c): a backtrace needs them."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    return kernel.between("__start_orc_unwind_ip", "__stop_orc_unwind")


CLASS: Final = Importance("orc", "unwind tables", 70, _find, ("__start_orc_unwind_ip", "__stop_orc_unwind"))
