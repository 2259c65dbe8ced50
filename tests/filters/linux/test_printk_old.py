"""The kernel log before v5.10: records in a buffer; before v3.5, a ring of characters."""

from __future__ import annotations

import struct

import pytest

from tests.build.kernel import DIRECT, PAGE, FakeKernel
from tests.build.log import add_characters, add_records, damaged, lines, log, some
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.errors import KernelError


@pytest.mark.parametrize("caller", [False, True])
def test_a_full_buffer_of_records_has_its_newest(caller: bool) -> None:
    kernel = FakeKernel()
    add_records(kernel, some(100), size=1024, caller=caller)
    text = log(kernel)
    shown = text.count(b"\n")
    assert 10 < shown < 50
    assert text == lines(100, 100 - shown, caller=caller)


def test_records_since_the_log_was_cleared() -> None:
    kernel = FakeKernel()
    add_records(kernel, some(5), size=1024)
    kernel.static("clear_idx", struct.pack("<I", 3 * 32))
    assert log(kernel, since_clear=True) == lines(5, 3, caller=False)
    assert log(kernel) == lines(5, caller=False)


@pytest.mark.parametrize("length", [1, 8, 15, 24, 40, 0xFFFF])
def test_a_damaged_length_keeps_what_precedes_it(length: int) -> None:
    kernel = FakeKernel()
    where = add_records(kernel, some(5), size=1024)
    kernel.source.write(where - DIRECT + 2 * 32 + 8, struct.pack("<H", length))
    text, error = damaged(kernel)
    assert text.startswith(lines(2, caller=False))
    assert "damaged" in error


def test_a_circle_of_records_is_walked_once() -> None:
    kernel = FakeKernel()
    where = add_records(kernel, some(5), size=1024)
    # A jump back to the start, which a walk that began there never needs.
    kernel.source.write(where - DIRECT + 3 * 32 + 8, b"\0\0")
    text, error = damaged(kernel)
    assert text == lines(3, caller=False)
    assert "implausible" in error


def test_an_index_that_is_never_met_ends_with_the_buffer() -> None:
    kernel = FakeKernel()
    where = add_records(kernel, some(5), size=1024)
    kernel.source.write(where - DIRECT + 5 * 32 + 8, struct.pack("<H", 32))
    kernel.static("log_next_idx", struct.pack("<I", 5 * 32 + 4))
    text, error = damaged(kernel)
    assert text.startswith(lines(5, caller=False))
    assert "past its end" in error


@pytest.mark.parametrize("end", [5, 255, 256, 257, 1000])
def test_the_oldest_layout_is_a_ring_of_characters(end: int) -> None:
    text = b"".join(b"<6>line %d\n" % i for i in range(200))[:end]
    kernel = FakeKernel(release="2.6.32")
    add_characters(kernel, text)
    assert log(kernel) == text[-256:]
    assert all(line.count(b"\n") <= 1 for line in kernel_log(kernel.memory(), kernel.info()))


def test_characters_since_the_log_was_cleared() -> None:
    kernel = FakeKernel(release="2.6.32")
    add_characters(kernel, b"old\nnew\n", cleared=4)
    assert log(kernel, since_clear=True) == b"new\n"


def test_a_line_without_end_is_handed_on_in_pieces() -> None:
    kernel = FakeKernel(release="2.6.32")
    add_characters(kernel, b"x" * (1 << 19), size=1 << 19)
    pieces = list(kernel_log(kernel.memory(), kernel.info()))
    assert b"".join(pieces) == b"x" * (1 << 19)
    assert max(map(len, pieces)) <= 1 << 17


def test_characters_that_are_not_text_are_escaped() -> None:
    kernel = FakeKernel(release="2.6.32")
    add_characters(kernel, b"a\x1b\0b\n\xff")
    assert log(kernel) == b"a\\x1b\\x00b\n\\xff"


def test_a_missing_page_of_characters_is_reported() -> None:
    kernel = FakeKernel(release="2.6.32")
    where = add_characters(kernel, b"x" * 79999 + b"\n", size=1 << 17)
    del kernel.source.pages[(where - DIRECT) // PAGE]
    text, error = damaged(kernel)
    assert text == b"x" * (79999 - 65536) + b"\n"
    assert "damaged" in error


@pytest.mark.parametrize("size", [0, 3, 1 << 31])
def test_sizes_of_rings_of_characters_that_no_kernel_has_are_errors(size: int) -> None:
    kernel = FakeKernel(release="2.6.32")
    add_characters(kernel, b"text\n")
    kernel.static("log_buf_len", struct.pack("<I", size))
    with pytest.raises(KernelError, match="size of the kernel's log"):
        log(kernel)


def test_a_buffer_of_records_that_no_kernel_has_is_an_error() -> None:
    kernel = FakeKernel()
    add_records(kernel, some(2))
    kernel.static("log_buf_len", struct.pack("<I", 1 << 31))
    with pytest.raises(KernelError, match="size of the kernel's log"):
        log(kernel)
