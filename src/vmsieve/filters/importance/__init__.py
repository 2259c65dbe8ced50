"""Classes of importance: what a reader needs first. One file a class, which ends in ``CLASS``, an :class:`Importance`.

Belongs here: where the memory of a class is, from VMCOREINFO, kallsyms and BTF. Does not: which pages are kept
(:mod:`vmsieve.filters.rules`), and how a dump in this order is written (:mod:`vmsieve.pipeline.dump.order`).

A class that can't find its memory costs the order, never a page: its pages come with another class, or with the rest.
"""

from __future__ import annotations

from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.filters.importance._kernel import Kernel


@record(frozen=True)
class Importance:
    """A class of importance.

    Attributes:
        name: Short and unique.
        title: For people.
        order: Classes are written in ascending order; a page of several belongs to the first.
        find: Yields physical address ranges (start, end). It may stop with a KernelError or a ReadError: what it
            yielded before counts.
        symbols: Names of kernel symbols that ``find`` reads in :attr:`Kernel.symbols`.
        types: Structures that it looks up in :attr:`Kernel.types`.
        mark: Bit of :func:`vmsieve.filters.loops.importance.mark_pages` that the class's struct pages have; 0: none.
        without: Classes whose pages are none of this class, though they come later.
        unless: A symbol; the class is empty if the kernel has it.
    """

    name: str
    title: str
    order: int
    find: Callable[[Kernel], Iterable[tuple[int, int]]] | None = None
    symbols: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    mark: int = 0
    without: tuple[str, ...] = ()
    unless: str = ""


def importance() -> list[Importance]:
    """Return all classes, the most important first."""
    from vmsieve.filters import importance as room
    from vmsieve.formats.plugins import scan

    return sorted(scan(room, "CLASS", Importance), key=lambda one: (one.order, one.name))
