"""The kernel's page tables: without them no address is translated. Those of the linear map alone are left out."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    return kernel.memory.translator.table_pages()


CLASS: Final = Importance("tables", "the kernel's page tables", 10, _find)
