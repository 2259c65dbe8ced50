"""Classes of importance on a real kernel: what each must have for its readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import pytest

from tests.build.memory_file import bits
from tests.dumps import dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.importance import importance
from vmsieve.filters.importance._finder import find_importance
from vmsieve.filters.importance._kernel import Kernel
from vmsieve.filters.importance.called_orc import CLASS as CALLED_ORC
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAGE = 4096


class Found:
    """The classes of a dump."""

    def __init__(self, path: Path) -> None:
        self.source = open_source(str(path))
        knowledge = gather_knowledge(self.source)
        assert knowledge.memory is not None
        assert knowledge.info is not None
        assert knowledge.memmap is not None
        self.memory, self.info, self.memmap = knowledge.memory, knowledge.info, knowledge.memmap
        self.pages = {name: bits(pages(0)) for name, _, pages in find_importance(knowledge)}

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


def test_names_that_the_search_read_come_last(demo: Found) -> None:
    """To find a symbol reads kallsyms; debuggers have their own."""
    assert len(demo.pages["variables"] & demo.pages["names"]) < 5


def test_names_have_all_of_kallsyms(demo: Found) -> None:
    """Its last part too, three bytes a symbol: kallsyms_seqs_of_names."""
    kernel = Kernel(demo.memory, demo.info, demo.memmap, _PAGE, ["kallsyms_num_syms", "kallsyms_seqs_of_names"], ())
    last = kernel.symbol("kallsyms_seqs_of_names") + 3 * demo.memory.u32(kernel.symbol("kallsyms_num_syms")) - 1
    assert demo.memory.translate(last)[0] // _PAGE in demo.pages["names"]


def test_variables_have_each_node(demo: Found) -> None:
    nodes = demo.info.need("SYMBOL", "node_data") if demo.info.symbol("contig_page_data") is None else None
    node = demo.memory.u64(nodes) if nodes is not None else demo.info.need("SYMBOL", "contig_page_data")
    last = node + demo.info.need("SIZE", "pglist_data") - 1
    assert {demo.memory.translate(at)[0] // _PAGE for at in (node, last)} <= demo.pages["variables"]


class Unwinding:
    """A kernel with three blocks of text and unwind entries of two, three and one; text at 0x1000 is at 0x9000."""

    symbols: ClassVar = {
        "orc_lookup": 0x100, "__start_orc_unwind_ip": 0x200, "__start_orc_unwind": 0x300, "_stext": 0x1000,
        "_etext": 0x1300,
    }  # fmt: skip
    found: ClassVar = {"called_text": [(0x9100, 0x9200), (0x8000, 0x8100)]}

    def __init__(self) -> None:
        self.memory = self

    def symbol(self, name: str) -> int:
        return self.symbols[name]

    def size(self, _: str) -> int:
        return 6

    def translate(self, vaddr: int) -> tuple[int, int]:
        return vaddr + 0x8000, 0

    def u32(self, vaddr: int) -> int:
        return {0x100: 0, 0x104: 2, 0x108: 5, 0x10C: 6}[vaddr]

    def ranges(self, vaddr: int, size: int) -> Iterator[tuple[int, int]]:
        yield vaddr, vaddr + size


def test_unwind_entries_of_called_text() -> None:
    """Of the second block, with the index and the entry behind; text outside the image has none."""
    assert CALLED_ORC.find is not None
    found = list(CALLED_ORC.find(cast("Kernel", Unwinding())))
    assert found == [(0x104, 0x10C), (0x200 + 2 * 4, 0x200 + 6 * 4), (0x300 + 2 * 6, 0x300 + 6 * 6)]


def test_text_comes_after_all_that_drgn_needs() -> None:
    """Kernels without names of variables have per-CPU areas, stacks and modules in boot's memory and in vmalloc's."""
    names = [one.name for one in importance()]
    needed = ["log", "variables", "tasks", "modules", "unnamed", "vmalloc", "boot", "called_text", "called_orc", "data"]
    assert [name for name in names if name in needed] == needed
