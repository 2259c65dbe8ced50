"""The kernel log in its three layouts: intact, damaged and hostile."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import DIRECT, PAGE, FakeKernel
from tests.build.log import Record, add_characters, add_records, add_ring, damaged, lines, log, some
from tests.outcome import result_or_error
from vmsieve.filters.linux import printk as module
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.errors import KernelError, ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The end of the ids of the ring's records, which have 62 bits, and of its positions, which have 64.
IDS, POSITIONS = 1 << 62, 1 << 64


def ring(records: Sequence[Record], **options: int) -> tuple[FakeKernel, dict[str, int]]:
    kernel = FakeKernel()
    return kernel, add_ring(kernel, records, **options)


LAYOUTS: dict[str, Callable[[FakeKernel, Sequence[Record]], object]] = {
    "ring": lambda kernel, records: add_ring(kernel, records, count_bits=6, text_bits=14),
    "printk_log": lambda kernel, records: add_records(kernel, records, size=1 << 14),
    "log": lambda kernel, records: add_records(kernel, records, size=1 << 14, name="log"),
    "printk_log with callers": lambda kernel, records: add_records(kernel, records, size=1 << 14, caller=True),
}
ALL = pytest.mark.parametrize("add", list(LAYOUTS.values()), ids=list(LAYOUTS))


@ALL
def test_records_come_in_order(add: Callable[[FakeKernel, Sequence[Record]], object]) -> None:
    kernel = FakeKernel()
    add(kernel, some(12))
    has_caller = any("caller_id" in key for key in kernel.keys)
    assert log(kernel) == lines(12, caller=has_caller)


@ALL
def test_an_empty_log_has_no_lines(add: Callable[[FakeKernel, Sequence[Record]], object]) -> None:
    kernel = FakeKernel()
    add(kernel, [])
    assert log(kernel) == b""


@ALL
def test_further_lines_of_a_record_are_indented(add: Callable[[FakeKernel, Sequence[Record]], object]) -> None:
    kernel = FakeKernel()
    add(kernel, [Record(b"one\ntwo\n\nfour\n", 5_000_001_999, 1 << 31 | 3)])
    head = b"[    5.000001] "
    if any("caller_id" in key for key in kernel.keys):
        head += b"[      C3] "
    pad = b" " * len(head)
    assert log(kernel) == head + b"one\n" + pad + b"two\n" + pad + b"\n" + pad + b"four\n" + pad + b"\n"
    assert all(line.count(b"\n") == 1 for line in kernel_log(kernel.memory(), kernel.info()))


@ALL
def test_bytes_that_are_not_text_are_escaped(add: Callable[[FakeKernel, Sequence[Record]], object]) -> None:
    kernel = FakeKernel()
    add(kernel, [Record(b"a\x1b[1m\0\x7f\xc3\xa9\\x\t\v\f\r~ !")])
    assert log(kernel).endswith(b"] a\\x1b[1m\\x00\\x7f\\xc3\\xa9\\x\t\v\f\r~ !\n")


@ALL
def test_wide_numbers_widen_the_line(add: Callable[[FakeKernel, Sequence[Record]], object]) -> None:
    kernel = FakeKernel()
    add(kernel, [Record(b"x", (1 << 64) - 1, 0x7FFFFFFF)])
    expected = b"[18446744073.709551] "
    assert log(kernel) in {expected + b"x\n", expected + b"[T2147483647] x\n"}


def test_a_full_ring_has_its_newest_records() -> None:
    kernel, _ = ring(some(50), count_bits=4, text_bits=12)
    assert log(kernel) == lines(50, 34)


@pytest.mark.parametrize("first_id", [0, 5, IDS - 5, IDS - 16])
@pytest.mark.parametrize("first_lpos", [0, 4096 - 64, POSITIONS - 40, POSITIONS - 4096])
def test_ids_and_positions_wrap(first_id: int, first_lpos: int) -> None:
    kernel, _ = ring(some(12), text_bits=12, first_id=first_id, first_lpos=first_lpos)
    assert log(kernel) == lines(12)


def test_a_block_that_ends_with_the_ring_is_in_its_place() -> None:
    """Since v6.18 a block may end exactly at the end of the ring; before, it was wrapped."""
    kernel, where = ring([Record(b"x" * 24)], text_bits=9)
    desc = where["descs"] - DIRECT + (-16 % 16) * 24
    kernel.poke(desc + 8, 512 - 32)
    kernel.poke(desc + 16, 512)
    kernel.source.write(where["text"] - DIRECT + 512 - 24, b"y" * 24)
    assert log(kernel).endswith(b"] " + b"y" * 24 + b"\n")


@pytest.mark.parametrize(("state", "shown"), [(0, False), (1, True), (2, True), (3, False)])
def test_only_committed_and_finalized_records_are_shown(state: int, shown: bool) -> None:
    kernel, _ = ring([Record(b"before"), Record(b"this", state=state), Record(b"after")])
    text = log(kernel)
    assert (b"this" in text) is shown
    assert b"before" in text
    assert b"after" in text


def test_records_without_text_and_with_others_ids_are_passed_over() -> None:
    kernel, where = ring([Record(b"zero"), Record(b""), Record(b"two"), Record(b"three")])
    desc = where["descs"] - DIRECT
    kernel.poke(desc + 2 * 24, kernel.peek(desc + 2 * 24) + 16)
    assert [line.split()[-1] for line in log(kernel).splitlines()] == [b"zero", b"three"]


def test_text_is_cut_to_its_block() -> None:
    kernel, where = ring([Record(b"abcdefgh"), Record(b"next")])
    kernel.source.write(where["infos"] - DIRECT + 16, struct.pack("<H", 0xFFFF))
    assert [line.split()[-1] for line in log(kernel).splitlines()] == [b"abcdefgh", b"next"]


def test_the_log_since_it_was_cleared() -> None:
    kernel, _ = ring(some(50), count_bits=4, text_bits=12, cleared=47)
    assert log(kernel, since_clear=True) == lines(50, 47)
    assert log(kernel) == lines(50, 34)
    kernel, _ = ring(some(3), cleared=3)
    assert log(kernel, since_clear=True) == b""
    kernel, _ = ring(some(3))
    kernel.static("clear_seq", struct.pack("<Q", 2))
    assert log(kernel, since_clear=True) == lines(3, 2)
    del kernel.keys["SYMBOL(clear_seq)"]
    assert log(kernel, since_clear=True) == lines(3)


def test_a_ring_without_caller_ids_has_none_in_its_lines() -> None:
    kernel, _ = ring(some(2))
    del kernel.keys["OFFSET(printk_info.caller_id)"]
    assert log(kernel) == lines(2, caller=False)


def test_oldest_and_newest_too_far_apart_give_the_newest_and_an_error() -> None:
    kernel, where = ring(some(16), text_bits=12)
    kernel.poke(kernel.image_physical(where["prb"]) + 32, 7)
    text, error = damaged(kernel)
    assert text == lines(16)
    assert "too far apart" in error


def test_a_block_outside_of_the_ring_loses_only_its_record() -> None:
    kernel, where = ring(some(5))
    kernel.poke(where["descs"] - DIRECT + 2 * 24 + 16, 1 << 40)
    text, error = damaged(kernel)
    assert text == lines(2) + lines(5, 3)
    assert "outside of the log" in error


def test_records_that_all_claim_the_same_text_do_not_fill_the_disk() -> None:
    kernel, where = ring([Record(b"x" * 400)] * 16, text_bits=14)
    for place in range(16):
        kernel.poke(where["descs"] - DIRECT + place * 24 + 8, 0)
        kernel.poke(where["descs"] - DIRECT + place * 24 + 16, 1 << 13)
    text, error = damaged(kernel)
    assert text.count(b"\n") == 2
    assert "more text than there is" in error


def test_descriptors_that_are_not_in_the_dump_cost_their_records_only() -> None:
    kernel, where = ring(some(256), count_bits=8, text_bits=13)
    del kernel.source.pages[(where["descs"] - DIRECT) // PAGE]
    text, error = damaged(kernel)
    # A page holds 170 descriptors of 24 bytes; the next one crosses its end.
    assert text == lines(256, 171)
    assert "171 places" in error


def test_unreadable_records_are_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GIVE_UP", 10)
    kernel, where = ring(some(256), count_bits=8, text_bits=13)
    del kernel.source.pages[(where["descs"] - DIRECT) // PAGE]
    text, error = damaged(kernel)
    assert text == b""
    assert "10 places" in error


@pytest.mark.parametrize("bits", [0, 3, 25, 32, 0xFFFFFFFF])
def test_sizes_of_rings_that_no_kernel_has_are_errors(bits: int) -> None:
    kernel, where = ring(some(3))
    base = kernel.image_physical(where["prb"])
    kernel.poke(base + 48, bits)
    if bits in (0, 3, 32, 0xFFFFFFFF):
        with pytest.raises(KernelError, match="size of the kernel's log"):
            log(kernel)
    kernel.poke(base + 48, 9)
    kernel.poke(base, bits)
    if bits > 24:
        with pytest.raises(KernelError, match="size of the kernel's log"):
            log(kernel)


def test_no_log_is_an_error_before_the_first_line() -> None:
    kernel = FakeKernel()
    with pytest.raises(KernelError, match=r"the address of the kernel's log"):
        log(kernel)


@pytest.mark.parametrize("key", ["OFFSET(printk_info.ts_nsec)", "SIZE(prb_desc)", "OFFSET(prb_desc_ring.descs)"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    kernel, _ = ring(some(2))
    del kernel.keys[key]
    with pytest.raises(KernelError) as caught:
        log(kernel)
    assert key in str(caught.value)


def test_a_ring_that_is_not_in_the_dump_is_an_error() -> None:
    kernel, _ = ring(some(2))
    kernel.static("prb", struct.pack("<Q", DIRECT + (1 << 29)))
    with pytest.raises(ReadError):
        log(kernel)


_TEXTS = st.lists(st.binary(min_size=1, max_size=60), max_size=30)


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(_TEXTS, st.integers(0, 4095), st.integers(0, IDS - 1))
def test_any_text_in_a_ring_is_shown_once(texts: list[bytes], lpos: int, first_id: int) -> None:
    kernel, _ = ring([Record(text) for text in texts], count_bits=5, text_bits=12,
                     first_lpos=lpos // 8 * 8, first_id=first_id)  # fmt: skip
    expected = "".join(
        "[    1.234567] [      T1] "
        + "".join(chr(c) if 32 <= c < 127 or 9 <= c < 14 else f"\\x{c:02x}" for c in text).replace(
            "\n", "\n" + " " * 26
        )
        + "\n"
        for text in texts
    )
    assert log(kernel) == expected.encode()


@pytest.mark.fuzz
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*LAYOUTS, "characters"]),
    st.lists(st.tuples(st.integers(0, (1 << 14) - 1), st.integers(0, 255)), max_size=12),
    st.lists(st.tuples(st.integers(0, 511), st.sampled_from([0, 1, 7, 0x7F, 0x80, 0xFF])), max_size=4),
)
def test_damage_gives_lines_and_typed_errors_only(
    layout: str, inside: list[tuple[int, int]], fields: list[tuple[int, int]]
) -> None:
    kernel = FakeKernel(release="2.6.32" if layout == "characters" else "6.1.0")
    used = set(kernel.source.pages)
    statics = kernel.image_physical(kernel._next_static)
    if layout == "characters":
        add_characters(kernel, b"some text\n" * 500, size=4096)
    else:
        LAYOUTS[layout](kernel, some(40))
    bodies = sorted(set(kernel.source.pages) - used)
    for at, value in inside:
        kernel.source.pages[bodies[at // PAGE % len(bodies)]][at % PAGE] = value
    for at, value in fields:
        kernel.source.write(statics + at, bytes([value]))
    shown: list[bytes] = []
    result_or_error(lambda: shown.extend(kernel_log(kernel.memory(), kernel.info())))
    # Each byte of text is shown at most once: 16 KiB, each at most "\\xNN" wide or on its own line.
    assert sum(map(len, shown)) < (1 << 14) * 64
