"""Helpers of the page table tests: compare a translation with a plain walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from vmsieve.formats.errors import KernelError, ReadError

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory


def assert_translates(memory: VirtualMemory, vaddr: int, walk: Callable[[int], int | None]) -> None:
    """Check that ``memory`` translates ``vaddr`` as ``walk`` does, or that both fail."""
    try:
        expected = walk(vaddr)
    except ReadError:
        expected = None
    try:
        found: int | None = memory.translate(vaddr)[0]
    except (KernelError, ReadError):
        found = None
    assert found == expected
