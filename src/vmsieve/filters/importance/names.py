"""Names of symbols and types, kallsyms and BTF: debuggers have them from vmlinux."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.contexts import suppress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_KALLSYMS: Final = (
    "kallsyms_names", "kallsyms_num_syms", "kallsyms_markers", "kallsyms_token_table", "kallsyms_token_index",
    "kallsyms_offsets", "kallsyms_relative_base", "kallsyms_seqs_of_names",
)  # fmt: skip


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    # The parts are side by side, in an order that has changed.
    parts = [kernel.symbols[name] for name in _KALLSYMS if name in kernel.symbols]
    if parts:
        yield from kernel.ranges(min(parts), max(parts) - min(parts))
    with suppress(KernelError):
        yield from kernel.between("__start_BTF", "__stop_BTF")


CLASS: Final = Importance("names", "names of symbols and types", 97, _find, _KALLSYMS)
