"""Virtual and physical reads, with translators made up for the tests."""

from __future__ import annotations

import pytest

from tests.build.kernel import PAGE, FakeSource, NoFile
from vmsieve.filters.linux.memory import MAX_READ, PhysicalMemory, Translator, VirtualMemory
from vmsieve.formats.errors import KernelError, ReadError

BASE = 0xFFFF800000000000


class Shuffled(Translator):
    """Maps the pages from :data:`BASE` on to the page frames of a list; None is unmapped."""

    def __init__(self, *pfns: int | None) -> None:
        super().__init__()
        self.pfns = pfns

    def translate(self, vaddr: int) -> tuple[int, int]:
        page, at = divmod(vaddr - BASE, PAGE)
        pfn = self.pfns[page] if 0 <= page < len(self.pfns) else None
        if pfn is None:
            raise KernelError("not mapped", offset=vaddr)
        return pfn * PAGE + at, PAGE - at


def source(*pfns: int, byte_order: str = "little") -> FakeSource:
    """Pages filled with their own number as 16-bit words."""
    made = FakeSource(NoFile(), byte_order=byte_order)
    for pfn in pfns:
        made.write(pfn * PAGE, pfn.to_bytes(2, "little") * (PAGE // 2))
    return made


def memory(*pfns: int | None, byte_order: str = "little") -> VirtualMemory:
    made = source(*{pfn for pfn in pfns if pfn is not None}, byte_order=byte_order)
    return VirtualMemory(PhysicalMemory(made), Shuffled(*pfns))


def test_a_read_crosses_pages_that_lie_apart() -> None:
    found = memory(7, 3, 9).read(BASE + PAGE - 2, PAGE + 4)
    assert found == b"\7\0" + b"\3\0" * (PAGE // 2) + b"\t\0"


def test_read_into_fills_a_buffer_from_pages_that_lie_apart() -> None:
    out = bytearray(3 * PAGE)
    memory(7, 3, 9).read_into(BASE, memoryview(out))
    assert out == b"\7\0" * 2048 + b"\3\0" * 2048 + b"\t\0" * 2048


def test_segments_are_as_long_as_possible() -> None:
    assert list(memory(4, 5, 6, 2, 3, 8).segments(BASE + 8, 6 * PAGE - 16)) == [
        (4 * PAGE + 8, 3 * PAGE - 8),
        (2 * PAGE, 2 * PAGE),
        (8 * PAGE, PAGE - 8),
    ]


def test_segments_before_a_gap_come_before_its_error() -> None:
    segments = memory(4, 5, None).segments(BASE, 3 * PAGE)
    assert next(segments) == (4 * PAGE, 2 * PAGE)
    with pytest.raises(KernelError, match="not mapped"):
        next(segments)


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_an_empty_span_has_no_segments(size: int) -> None:
    assert len(list(memory(4).segments(BASE, size))) == (1 if size else 0)


@pytest.mark.parametrize(("byte_order", "swap"), [("little", False), ("big", True)])
def test_numbers_follow_the_byte_order_of_the_dump(byte_order: str, swap: bool) -> None:
    kernel = memory(1, byte_order=byte_order)
    kernel.physical.source.write(PAGE, bytes(range(1, 9)))  # type: ignore[attr-defined]
    expected = [0x0102030405060708, 0x01020304, 0x0102] if swap else [0x0807060504030201, 0x04030201, 0x0201]
    assert [kernel.u64(BASE), kernel.u32(BASE), kernel.u16(BASE)] == expected
    assert kernel.physical.u64(PAGE) == expected[0]


def test_a_number_may_cross_pages() -> None:
    assert memory(7, 3).u32(BASE + PAGE - 2) == 0x00030007


def test_a_string_ends_at_its_nul_before_memory_that_is_not_there() -> None:
    kernel = memory(1, None)
    kernel.physical.source.write(2 * PAGE - 4, b"abc\0")  # type: ignore[attr-defined]
    assert kernel.string(BASE + PAGE - 4, 100) == b"abc"
    assert kernel.string(BASE + PAGE - 4, 2) == b"ab"


def test_a_string_may_cross_pages() -> None:
    kernel = memory(5, 1)
    kernel.physical.source.write(5 * PAGE, b"x" * PAGE)  # type: ignore[attr-defined]
    kernel.physical.source.write(PAGE, b"yz\0")  # type: ignore[attr-defined]
    assert kernel.string(BASE + PAGE - 3, 100) == b"xxxyz"


def test_small_reads_of_one_page_read_the_dump_once() -> None:
    kernel = memory(1)
    for at in range(0, PAGE, 8):
        kernel.u64(BASE + at)
    assert kernel.physical.source.reads == 1  # type: ignore[attr-defined]


def test_the_pages_kept_are_bounded() -> None:
    physical = PhysicalMemory(source(*range(200)))
    for _ in range(2):
        for pfn in range(200):
            physical.read(pfn * PAGE, 8)
    assert 0 < len(physical._block.__self__) <= 32  # type: ignore[attr-defined]
    assert physical.source.reads == 400  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [-1, MAX_READ + 1, 1 << 63])
def test_sizes_beyond_belief_are_errors_before_memory_is_taken(size: int) -> None:
    kernel = memory(1)
    with pytest.raises(KernelError):
        kernel.read(BASE, size)
    with pytest.raises(KernelError):
        kernel.physical.read(PAGE, size)


@pytest.mark.parametrize("vaddr", [-8, 1 << 64, (1 << 64) + BASE])
def test_addresses_beyond_64_bits_are_errors(vaddr: int) -> None:
    with pytest.raises(KernelError):
        memory(1).read(vaddr, 8)
    with pytest.raises(KernelError):
        list(memory(1).segments(vaddr, 8))
    with pytest.raises(KernelError):
        list(memory(1).segments((1 << 64) - 4, 8))


def test_memory_that_the_dump_lacks_is_a_read_error() -> None:
    kernel = VirtualMemory(PhysicalMemory(source(1)), Shuffled(1, 2))
    assert kernel.u16(BASE) == 1
    with pytest.raises(ReadError) as caught:
        kernel.u64(BASE + PAGE)
    assert caught.value.offset == 2 * PAGE


def test_a_failed_read_is_tried_again() -> None:
    physical = PhysicalMemory(source(1))
    with pytest.raises(ReadError):
        physical.u64(2 * PAGE)
    physical.source.write(2 * PAGE, b"\1")  # type: ignore[attr-defined]
    assert physical.u64(2 * PAGE) == 1
