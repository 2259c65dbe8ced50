"""Unwind tables of the text that stacks point to: crash's backtraces need no others (arch/x86/kernel/unwind_orc.c)."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

#: Bytes of text of an element of ``orc_lookup``, the index of its first entry: LOOKUP_BLOCK_SIZE.
_LOOKUP: Final = 256
#: Bytes of an address of an entry, and of an index.
_WORD: Final = 4
_MOST_ENTRIES: Final = 1 << 16


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    lookup, entry = kernel.symbol("orc_lookup"), kernel.size("orc_entry")
    places, entries = kernel.symbol("__start_orc_unwind_ip"), kernel.symbol("__start_orc_unwind")
    first, size = kernel.symbol("_stext"), kernel.symbol("_etext") - kernel.symbol("_stext")
    text, _ = kernel.memory.translate(first)
    for start, end in kernel.found.get("called_text", ()):
        if not text <= start < end <= text + size:
            continue
        # The search for an address ends at the index behind its own.
        low, high = (start - text) // _LOOKUP, -((text - end) // _LOOKUP)
        yield from kernel.ranges(lookup + low * _WORD, (high - low + 1) * _WORD)
        with suppress(KernelError, ReadError):
            begin, last = (kernel.memory.u32(lookup + at * _WORD) for at in (low, high))
            count = min(max(last - begin, 0) + 1, _MOST_ENTRIES)
            yield from kernel.ranges(places + begin * _WORD, count * _WORD)
            yield from kernel.ranges(entries + begin * entry, count * entry)


CLASS: Final = Importance(
    "called_orc", "unwind tables of called text", 56, _find,
    ("orc_lookup", "__start_orc_unwind_ip", "__start_orc_unwind", "_stext", "_etext"), ("orc_entry",),
)  # fmt: skip
