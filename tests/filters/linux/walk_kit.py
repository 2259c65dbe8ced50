"""What tests of page tables do alike: hold a translation against a walk in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from vmsieve.formats.errors import KernelError, ReadError

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory


def assert_translates(memory: VirtualMemory, vaddr: int, walk: Callable[[int], int | None]) -> None:
    """``memory`` finds the same physical address for ``vaddr`` as ``walk``, or none as well."""
    try:
        expected = walk(vaddr)
    except ReadError:
        expected = None
    try:
        found: int | None = memory.translate(vaddr)[0]
    except (KernelError, ReadError):
        found = None
    assert found == expected
