"""VMCOREINFO texts: well-formed, damaged and hostile."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmsieve.filters.linux.vmcoreinfo import MAX_SIZE, VmcoreInfo
from vmsieve.formats.errors import KernelError

TEXT = b"""OSRELEASE=6.1.0-56-cloud-amd64
BUILD-ID=3b43fad5034874490492495d552c0af6a5fab235
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffffffb35f9b60
OFFSET(page.mapping)=24
SIZE(page)=64
LENGTH(zone.free_area)=11
NUMBER(phys_base)=-694157312
NUMBER(VMALLOC_START)=0xffffd08c00000000
NUMBER(PG_lru)=4
KERNELOFFSET=30a00000
CRASHTIME=1795441151
"""


def test_every_kind_of_key_has_its_number_base() -> None:
    info = VmcoreInfo(TEXT)
    assert info.symbol("init_uts_ns") == 0xFFFFFFFFB35F9B60
    assert (info.offset("page.mapping"), info.size("page"), info.length("zone.free_area")) == (24, 64, 11)
    assert info.number("phys_base") == -694157312
    assert info.number_unsigned("phys_base") == (1 << 64) - 694157312
    assert info.number("VMALLOC_START") == info.number_unsigned("VMALLOC_START") == 0xFFFFD08C00000000
    assert info.kernel_offset == 0x30A00000


def test_plain_keys() -> None:
    info = VmcoreInfo(TEXT)
    assert info.release == info.value("OSRELEASE") == "6.1.0-56-cloud-amd64"
    assert (info.version, info.page_size, info.crash_time) == ((6, 1, 0), 4096, 1795441151)
    assert info.value("BUILD-ID") == "3b43fad5034874490492495d552c0af6a5fab235"
    assert info.keys[:3] == ("OSRELEASE", "BUILD-ID", "PAGESIZE")
    assert info.looks_valid()


def test_missing_keys_are_none() -> None:
    info = VmcoreInfo(b"")
    assert (info.symbol("a"), info.offset("a.b"), info.size("a"), info.length("a"), info.number("a")) == (None,) * 5
    assert (info.release, info.page_size, info.crash_time, info.kernel_offset) == (None,) * 4
    assert info.version == (0, 0, 0)
    assert not info.looks_valid()
    assert (info.skipped, info.used, info.keys) == (0, set(), ())


def test_the_first_of_two_lines_with_one_key_counts() -> None:
    assert VmcoreInfo(b"SIZE(page)=64\nSIZE(page)=56\n").size("page") == 64


def test_a_key_is_taken_whole() -> None:
    info = VmcoreInfo(b"SIZE(page)x=1\nxSIZE(page)=2\nOSRELEASE2=9\nSIZE(page)=64\n")
    assert info.size("page") == 64
    assert info.release is None


@pytest.mark.parametrize("value", ["", "x", "1_0", "12 3", " 1", "1 ", "0x", "--1", "٣", "1" * 21, "f" * 17, "+-1"])
def test_malformed_numbers_are_none_and_reported(value: str) -> None:
    info = VmcoreInfo(f"NUMBER(a)={value}\nSIZE(page)=64\n".encode())
    assert info.number("a") is None
    if value.isascii():
        assert info.unusable == {"NUMBER(a)"}
    assert info.size("page") == 64


@pytest.mark.parametrize(("value", "number"), [("10", 10), ("1f", 31), ("0x10", 16), ("-0x10", -16), ("+7", 7),
                                               ("18446744073709551615", (1 << 64) - 1)])  # fmt: skip
def test_decimal_first_and_hexadecimal_where_that_fails(value: str, number: int) -> None:
    assert VmcoreInfo(f"NUMBER(a)={value}".encode()).number("a") == number


@pytest.mark.parametrize("line", ["SYMBOL(a)=0", "SYMBOL(a)=ffffffffffffffff", "SYMBOL(a)=-1", "SYMBOL(a)=xyz"])
def test_impossible_symbols_are_none(line: str) -> None:
    info = VmcoreInfo(line.encode())
    assert info.symbol("a") is None
    assert info.unusable == {"SYMBOL(a)"}


@pytest.mark.parametrize("kind", ["OFFSET", "SIZE", "LENGTH"])
def test_negative_sizes_are_none(kind: str) -> None:
    info = VmcoreInfo(f"{kind}(a)=-8".encode())
    assert info.lookup(kind, "a") is None
    with pytest.raises(KernelError, match=rf"{kind}\(a\).*-8"):
        info.need(kind, "a")


def test_a_missing_key_that_is_needed_is_named() -> None:
    with pytest.raises(KernelError, match=r"SYMBOL\(prb\)"):
        VmcoreInfo(TEXT).need("SYMBOL", "prb")


def test_garbage_lines_are_skipped_and_counted() -> None:
    info = VmcoreInfo(b"\xff\xfe=1\nno equals sign\n=x\nSIZE(page)=64\r\nA=\x01\n\n" + TEXT + b"\0" * 100)
    assert info.skipped == 4
    assert info.size("page") == 64
    assert info.crash_time == 1795441151


def test_text_is_kept_for_writing_and_reads_back_alike() -> None:
    info = VmcoreInfo(TEXT + b"\0\0")
    assert info.text == TEXT
    assert VmcoreInfo(info.text).keys == info.keys


def test_size_is_bounded() -> None:
    info = VmcoreInfo(b"A=1\n" + b"x" * (2 * MAX_SIZE) + b"\nB=2\n")
    assert len(info.text) == MAX_SIZE
    assert info.keys == ("A",)


@pytest.mark.parametrize("size", ["0", "1", "2048", "4097", "2097152", "-4096", "x"])
def test_page_sizes_no_machine_has_are_none(size: str) -> None:
    assert VmcoreInfo(f"PAGESIZE={size}".encode()).page_size is None


def test_used_keys_are_remembered() -> None:
    info = VmcoreInfo(TEXT)
    info.size("page")
    info.size("folio")
    info.symbol("init_uts_ns")
    assert info.used == {"SIZE(page)", "SYMBOL(init_uts_ns)"}


@pytest.mark.fuzz
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_parse_without_error(text: bytes) -> None:
    info = VmcoreInfo(TEXT[:100] + text)
    for key in info.keys:
        number = info._number(key)
        assert number is None or -(1 << 63) <= number < 1 << 64
    assert VmcoreInfo(info.text).keys == info.keys


_NAMES = st.text(alphabet=string.ascii_letters + "._", min_size=1, max_size=12)


@pytest.mark.fuzz
@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_NAMES, st.integers(-(1 << 63), (1 << 64) - 1), max_size=8))
def test_all_numbers_of_64_bits_read_back(numbers: dict[str, int]) -> None:
    info = VmcoreInfo("".join(f"NUMBER({name})={number}\n" for name, number in numbers.items()).encode())
    assert {name: info.number(name) for name in numbers} == numbers
    assert all(info.number_unsigned(name) == number % (1 << 64) for name, number in numbers.items())
