"""kdump-compressed files: the effect of damage to each part, and the errors for invalid headers."""

from __future__ import annotations

import struct

import pytest

from tests.build.kdump_file import Kdump, kdump
from tests.build.memory_file import MemoryFile, page_sets, read, source
from tests.build.notes import ORDERS, prstatus
from tests.build.packing import FLAGS
from tests.build.pages import PAGE, Page, parse, repeat
from vmsieve.formats.errors import CorruptError, FormatError, ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.inputs import open_file

RECIPE = """
    @0x1000 fill 01020304 zlib
    @0x2000 exclude x2
    @0x4000 noise 1 x2
"""


def test_a_page_that_was_not_written_any_more() -> None:
    """A descriptor without data: the page counts as stored, and reading it raises an error with the reason."""
    pages = "@0x1000 fill 01020304\n@0x2000 missing\n@0x3000 fill 05060708"
    opened = source(kdump(pages, status=8))
    assert opened.incomplete
    assert page_sets(opened, PAGE, 8) == ({1, 2, 3}, {1, 2, 3})
    with pytest.raises(ReadError, match="incomplete") as caught:
        read(opened, 0x1000, 0x3000)
    assert caught.value.offset == 0x2000
    assert read(opened, 0x3000, 4) == b"\5\6\7\x08"


def test_missing_pages_are_noticed_without_the_mark() -> None:
    """A killed writer could not set the mark."""
    opened = source(kdump("@0x1000 fill 01020304 x5\n@0x6000 missing x2"))
    assert opened.incomplete
    assert opened.remarks == ["2 of 7 pages were not written"]


def test_status_bits() -> None:
    """INCOMPLETE and EXCLUDED_VMEMMAP have their own remarks."""
    assert source(kdump(RECIPE, status=8)).remarks == ["the dump is marked incomplete: its writer could not finish"]
    opened = source(kdump(RECIPE, status=0x10))
    assert not opened.incomplete
    assert "makedumpfile -e" in opened.remarks[0]


def test_an_invalid_dump_level_has_a_remark() -> None:
    """It would be combined with another level by OR."""
    opened = source(kdump(RECIPE, dump_level=-5))
    assert opened.dump_level == 0
    assert opened.remarks == ["the dump level -5 is invalid: ignored"]


@pytest.mark.parametrize(
    "fields",
    [
        {"offset_note": 1 << 40}, {"size_note": 1 << 40}, {"offset_note": -8}, {"offset_vmcoreinfo": 1 << 40},
        {"size_vmcoreinfo": (1 << 64) - 1}, {"size_vmcoreinfo": 1 << 30},
    ],
)  # fmt: skip
def test_notes_that_are_not_in_the_file_are_passed_over(fields: dict[str, int]) -> None:
    """The pages are complete; the remark names what is missing."""
    notes = prstatus(1, b"r" * 216)
    opened = source(kdump(RECIPE, notes=notes, vmcoreinfo=b"X=1\n", fields=fields))
    assert len(opened.remarks) == 1
    assert "ignored" in opened.remarks[0]
    assert (notes in opened.notes) != ("note" in next(iter(fields)))
    assert (opened.vmcoreinfo is None) == ("vmcoreinfo" in next(iter(fields)))


def changed(data: bytes, at: int, layout: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(layout, out, at, value)
    return bytes(out)


WHOLE = kdump("@0x1000 fill 01020304 zlib x3")


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"DISKDUMP" + WHOLE[8:], UnsupportedError, "predecessor of kdump"),
        (WHOLE[:463], TruncatedError, "too early"),
        (WHOLE[:4199], TruncatedError, "too early"),
        (WHOLE[: 4 * PAGE - 1], TruncatedError, "within its bitmaps"),
        (changed(WHOLE, 8, "<i", 0), CorruptError, "header version"),
        (changed(WHOLE, 8, "<i", 0x12345678), CorruptError, "header version"),
        (changed(WHOLE, 428, "<i", 2048), CorruptError, "block size"),
        (changed(WHOLE, 428, "<i", 5000), CorruptError, "block size"),
        (changed(WHOLE, 428, "<i", -4096), CorruptError, "block size"),
        (changed(changed(WHOLE, 428, "<i", 3), 416, "<i", 4096), CorruptError, "zero or negative"),
        (changed(WHOLE, 432, "<i", 0), CorruptError, "zero or negative"),
        (changed(WHOLE, 432, "<i", -1), CorruptError, "zero or negative"),
        (changed(WHOLE, 432, "<i", 1 << 30), TruncatedError, "within its bitmaps"),
        (changed(WHOLE, 436, "<i", 0), CorruptError, "zero or negative"),
        (changed(WHOLE, 436, "<I", 1 << 31), TruncatedError, "within its bitmaps"),
        (changed(WHOLE, 4096 + 96, "<Q", 1 << 30), CorruptError, "too small for the page frames"),
        (changed(WHOLE, 4096 + 96, "<Q", 1 << 60), UnsupportedError, "too many page frames"),
        (changed(changed(WHOLE, 4096 + 96, "<Q", 0), 440, "<I", 0), CorruptError, "zero or negative"),
    ],
)  # fmt: skip
def test_invalid_headers_give_the_reason(data: bytes, error: type[FormatError], words: str) -> None:
    """Each cause has its error type; no memory is allocated by invalid sizes."""
    with pytest.raises(error, match=words):
        source(data)


#: Damage to a descriptor: wrong fields, or the difference of its size.
DAMAGE: list[tuple[str, dict[str, int], str]] = [
    ("too long", {"size": PAGE + 1}, "more bytes than a page"),
    ("enormous", {"size": 0xFFFFFFFF}, "more bytes than a page"),
    ("empty", {"size": 0}, "too few bytes"),
    ("plain, not a page", {"flags": 0}, "too few bytes"),
    ("beyond the file", {"place": 1 << 40}, "not in the file"),
    ("negative", {"place": -(1 << 40)}, "not in the file"),
    ("without end", {"place": (1 << 63) - 1}, "not in the file"),
    ("unknown flag", {"flags": 0x40}, "an unknown method"),
    ("other codec", {"flags": 2}, "data are damaged"),
    ("shorter", {"off": -3}, "data are damaged"),
    ("not the page's", {"place": 464}, "data are damaged"),
]


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(("change", "words"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_descriptor_loses_only_its_page(change: dict[str, int], words: str, order: str) -> None:
    """The error has the page's address; its neighbours are read, also by the same reader later."""
    file = Kdump(parse("@0x1000 fill 01020304 zlib x5"), order=order)
    data = bytearray(file.build())
    at, place, size = file.places[3]
    right = {"place": place, "size": size + change.get("off", 0), "flags": FLAGS["zlib"]}
    values = [change.get(name, value) for name, value in right.items()]
    struct.pack_into(ORDERS[order] + "qII", data, at, *values)
    opened = source(bytes(data))
    with pytest.raises(ReadError, match=words) as caught:
        read(opened, 0x3000, PAGE)
    assert caught.value.offset == 0x3000
    with pytest.raises(ReadError, match=words):
        read(opened, 0x1000, 5 * PAGE)
    for pfn in (1, 2, 4, 5):
        assert read(opened, pfn * PAGE, 8) == pfn.to_bytes(8, "little")


@pytest.mark.parametrize("codec", ["zlib", "lzo", "snappy", "zstd"])
def test_damaged_data_never_pass_for_a_page_of_another_length(codec: str) -> None:
    """Packed data that give fewer or more bytes than a page are refused."""
    for size in (PAGE - 8, PAGE + 8, 2 * PAGE):
        page = Page(1, "stored", repeat(b"\1\2\3\4", size), codec)
        with pytest.raises(ReadError, match="damaged") as caught:
            read(source(Kdump([page]).build()), 0x1000, PAGE)
        assert caught.value.offset == 0x1000


def test_a_file_cut_off_in_its_data_or_descriptors() -> None:
    """A truncated file opens, is marked incomplete, and gives the pages in it."""
    file = Kdump(parse("@0x1000 noise 1 x6"))
    data = file.build()
    cut = source(data[: -2 * PAGE - 100])
    assert cut.incomplete
    assert cut.remarks == [f"the file is cut off: at least {2 * PAGE + 100} bytes of page data are missing"]
    assert read(cut, 0x1000, 3 * PAGE) == b"".join(page.data for page in file.pages[:3])
    with pytest.raises(ReadError, match="not in the file") as caught:
        read(cut, 0x1000, 6 * PAGE)
    assert caught.value.offset == 0x4000
    torn = source(data[: file.places[3][0] + 10])
    assert torn.incomplete
    assert "page descriptors and all data are missing" in torn.remarks[0]
    with pytest.raises(ReadError, match="not in the file"):
        read(torn, 0x1000, 8)
    with pytest.raises(ReadError, match="was not written"):
        read(torn, 0x5000, 8)


def test_a_failing_medium_is_a_read_error_at_the_physical_address() -> None:
    """The next read of the same pages succeeds when the medium does."""
    data = kdump("@0x1000 zero\n@0x2000 fill 01020304 zlib x3\n@0x5000 zero")

    class Failing(MemoryFile):
        failing = True

        def read_into(self, offset: int, out: memoryview) -> int:
            if self.failing and offset >= 4 * PAGE + 24 * 5:
                raise ReadError("input/output error", file=self.name, offset=offset)
            return super().read_into(offset, out)

    file = Failing(data)
    opened = open_file(file)
    for _ in range(2):
        with pytest.raises(ReadError, match="input/output error") as caught:
            read(opened, 0x1000, 5 * PAGE)
        assert caught.value.offset == 0x1000
    file.failing = False
    assert read(opened, 0x1000, 5 * PAGE)[PAGE : PAGE + 8] == (2).to_bytes(8, "little")
