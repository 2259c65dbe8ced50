"""Struct pages of big-endian machines: a recipe gives the same pages as on a little-endian machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.log import add_characters, add_records, add_ring, lines, log, some
from tests.build.machine import EVERYTHING, Machine
from tests.build.s390x import FakeS390
from tests.build.s390x_machine import S390Machine
from tests.filters.classify_kit import bits, opened, run
from tests.filters.classify_twin import dropped, everything
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.errors import KernelError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_kernels_pages_are_told_apart(name: str, tmp_path: Path) -> None:
    """All 32 levels equal a plain Python twin that reads the same pages in the other byte order."""
    layout = LAYOUTS[name]
    machine, other = S390Machine(layout, EVERYTHING), Machine(layout, EVERYTHING)
    source, knowledge = opened(machine, tmp_path)
    assert (source.machine, source.byte_order, knowledge.problem) == ("s390x", "big", None)
    truth = everything(layout, {pfn: other.struct_page(pfn) for pfn in other.frames()})
    for level in range(32):
        found = run(source, knowledge, level)
        assert bits(found.kept) == set(machine.frames()) - set(dropped(truth, level)), level
        assert found.notes == []
        assert not found.weaker
    class_counts = count_classes(source, knowledge, Silent())
    assert class_counts.level(31)["pages"] == len(machine.frames()) - len(dropped(truth, 31))
    source.close()


@pytest.mark.parametrize("name", ["6.1", "6.12"])
def test_vmcoreinfo_is_found_in_memory(name: str, tmp_path: Path) -> None:
    """VMCOREINFO found in memory: of a core without it, and of a stand-alone dump, which has no notes."""
    machine = S390Machine(LAYOUTS[name], EVERYTHING)
    for path in (machine.write(tmp_path / "core", b""), machine.write_s390(tmp_path / "dump")):
        source = open_source(str(path))
        knowledge = gather_knowledge(source)
        assert knowledge.identity.utsname[:3] == ("Linux", "testbox", f"{name}.0-test")
        assert knowledge.identity.crash_time == 1700000000
        assert (knowledge.phys_base, knowledge.problem, knowledge.notes) == (0, None, [])
        assert source.vmcoreinfo == machine.vmcoreinfo()
        assert knowledge.memory is not None
        assert knowledge.info is not None
        with pytest.raises(KernelError, match="address of the kernel's log"):
            list(kernel_log(knowledge.memory, knowledge.info))
        source.close()


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("layout", ["ring", "records", "records with callers", "characters"])
def test_the_log_is_read(layout: str, split: bool) -> None:
    """The log in all three layouts, byte for byte."""
    kernel = FakeS390(split=split)
    if layout == "ring":
        add_ring(kernel, some(40), count_bits=6, text_bits=14)
    elif layout == "characters":
        add_characters(kernel, b"<6>some line\n" * 100, size=1024)
    else:
        add_records(kernel, some(40), size=1 << 14, caller=layout != "records")
    expected = lines(40, caller=layout != "records")
    if layout == "characters":
        expected = (b"<6>some line\n" * 100)[-1024:]
    assert log(kernel) == expected


def test_the_log_since_it_was_cleared() -> None:
    """The log after ``dmesg -c``, by the sequence number in the latch that a 32-bit counter selects."""
    kernel = FakeS390()
    add_ring(kernel, some(9), count_bits=4, text_bits=12, cleared=5)
    assert log(kernel, since_clear=True) == lines(9, 5)
