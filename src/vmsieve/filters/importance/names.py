"""Names of symbols and types, kallsyms and BTF: debuggers have them from vmlinux."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

#: Parts of kallsyms, side by side in an order that has changed, and bytes of each a symbol: for the last one's end.
_KALLSYMS: Final = {
    "kallsyms_names": 0, "kallsyms_num_syms": 0, "kallsyms_markers": 0, "kallsyms_token_table": 0,
    "kallsyms_token_index": 0, "kallsyms_offsets": 4, "kallsyms_relative_base": 0, "kallsyms_seqs_of_names": 3,
}  # fmt: skip
_MOST_SYMBOLS: Final = 1 << 20


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    parts = {kernel.symbols[name]: size for name, size in _KALLSYMS.items() if name in kernel.symbols}
    if parts:
        start, last = min(parts), max(parts)
        yield from kernel.ranges(start, last - start)
        with suppress(KernelError, ReadError):
            count = kernel.memory.u32(kernel.symbol("kallsyms_num_syms"))
            yield from kernel.ranges(last, parts[last] * min(count, _MOST_SYMBOLS))
    with suppress(KernelError):
        yield from kernel.between("__start_BTF", "__stop_BTF")


CLASS: Final = Importance("names", "names of symbols and types", 97, _find, tuple(_KALLSYMS))
