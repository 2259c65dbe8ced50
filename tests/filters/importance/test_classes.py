"""Classes of importance on a real kernel: what each must have for its readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.memory_file import bits
from tests.dumps import dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.importance._finder import find_importance
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAGE = 4096


class Found:
    """The classes of a dump."""

    def __init__(self, path: Path) -> None:
        self.source = open_source(str(path))
        self.knowledge = gather_knowledge(self.source)
        self.pages = {name: bits(pages(0)) for name, _, pages in find_importance(self.knowledge)}

    def data(self, name: str) -> bytes:
        """Return the contents of the pages of a class."""
        page = bytearray(_PAGE)
        out = bytearray()
        for pfn in sorted(self.pages[name]):
            self.source.read_into(pfn * _PAGE, memoryview(page))
            out += page
        return bytes(out)


@pytest.fixture(scope="module")
def demo(scratch: Path) -> Iterator[Found]:
    found = Found(dump("demo.elf", scratch))
    yield found
    found.source.close()


def test_tasks_have_the_idle_task_of_each_cpu(demo: Found) -> None:
    """CPU 1's, with its stack: the second CPU ran init, and the list of tasks lacks idle tasks but the first."""
    assert b"swapper/1\0" in demo.data("tasks")
    assert {0x1FE, 0x1EB, 0x1EC, 0x1ED, 0x1EE} <= demo.pages["tasks"]
