"""Poisoned pages: memory that the hardware reported as broken. Reading it may kill the crash kernel.

``PG_hwpoison`` (``include/linux/page-flags.h``, with CONFIG_MEMORY_FAILURE), exported since v3.10 ("kexec: export
PG_hwpoison flag into vmcoreinfo"). Dropped at every level.
"""

from __future__ import annotations

from vmsieve.filters.rules import Rule, RuleOff
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return flags & load64(words, 0) != 0


def _prepare(layout: PageLayout) -> list[int]:
    poisoned = layout.flag("PG_hwpoison")
    if not poisoned:
        doubted = "NUMBER(PG_hwpoison)" in layout.info.rejected
        raise RuleOff("poisoned pages are kept: NUMBER(PG_hwpoison) is implausible" if doubted else None)
    return [poisoned]


RULE: Final = Rule("hwpoison", "Hwpoison pages", 60, 0, _matches, _prepare, poison=True, may_be_reserved=True)
