"""``classes --map``: a map of memory as a picture, and as an HTML page."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from array import array
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, PAGE, Machine
from tests.filters.classify_kit import opened
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import Damaged, machine
from vmsieve.filters.rules import struct_page_rules
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.inputs import MemoryRange
from vmsieve.pipeline.inspect.cells import COLUMNS, Cells, MapLayout, categories
from vmsieve.pipeline.inspect.classes import ClassCounts, count_classes
from vmsieve.pipeline.inspect.map import write_map
from vmsieve.pipeline.inspect.picture import COLOURS, binary_size
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIB = 1 << 40
#: Page frames of the tests' machine, and their classes.
KNOWN = {
    0x110: "kept", 0x185: "zero", 0x210: "cache", 0x250: "cache_private", 0x270: "user", 0x350: "free",
    0x450: "user", 0x825: "offline", 0x831: "hwpoison", 0x872: "user", 0x10500: "free",
}  # fmt: skip


class Image:
    """A PNG file, decoded by hand; raises if a checksum is wrong."""

    def __init__(self, data: bytes) -> None:
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        chunks, at = {}, 8
        while at < len(data):
            (size,) = struct.unpack_from(">I", data, at)
            kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
            assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + body)
            chunks[kind] = body
            at += 12 + size
        assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
        self.width, self.height, *how = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        assert how == [8, 3, 0, 0, 0]
        self._palette, self._rows = chunks[b"PLTE"], zlib.decompress(chunks[b"IDAT"])
        assert len(self._rows) == (self.width + 1) * self.height
        assert max(self._rows) < len(self._palette) // 3

    def pixel(self, x: int, y: int) -> int:
        assert self._rows[y * (self.width + 1)] == 0
        number = self._rows[y * (self.width + 1) + 1 + x]
        return int.from_bytes(self._palette[3 * number : 3 * number + 3], "big")


class Page(HTMLParser):
    """An HTML file as a browser parses it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.image = b""
        self.texts: list[str] = []
        self.data: Any = None
        self.outside: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                assert value is not None
                assert value.startswith("data:image/png;base64,")
                self.image = base64.b64decode(value.partition(",")[2], validate=True)
            self.outside += [name] if name in ("href", "srcset", "action") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open[-1:] == ["script"] and data.startswith("{"):
            self.data = json.loads(data)

    def at(self, pfn: int, page_size: int = PAGE) -> tuple[str, str]:
        """Return the category of a page frame's cell, and the cell's shares."""
        cell = pfn * page_size // int(self.data["cell"])
        for place in self.data["places"]:
            left = cell - place["first"] * self.data["columns"]
            if 0 <= left < place["rows"] * self.data["columns"]:
                for count, kind, *parts in place["runs"]:
                    if left < count:
                        return list(categories())[kind], "".join(parts)
                    left -= count
        raise AssertionError(hex(pfn))


def taken(built: Machine, folder: Path, bad: set[int] | None = None) -> tuple[ClassCounts, Cells]:
    source, knowledge = opened(built, folder)
    cells = Cells(MapLayout.fit(source.ranges(), PAGE), struct_page_rules())
    class_counts = count_classes(Damaged(source, bad) if bad else source, knowledge, Silent(), cells)
    source.close()
    return class_counts, cells


@pytest.mark.parametrize("name", ["4.4", "6.12", "7.2"])
def test_cells_and_counts_agree(name: str, tmp_path: Path) -> None:
    """With one page per cell, each known page is in its cell, and the sums equal class_counts's."""
    built = Machine(LAYOUTS[name], EVERYTHING)
    class_counts, cells = taken(built, tmp_path, {0x100, 0x10300})
    assert cells.layout.shift == 0
    names = list(categories())
    for pfn, expected in {**KNOWN, 0x100: "unreadable", 0x9000: "hole"}.items():
        if expected != "offline" or "offline" in LAYOUTS[name].types:
            counts = cells.counts(pfn)
            assert sum(counts) == 1
            assert names[counts.index(1)] == expected, hex(pfn)
    frames = built.frames()
    sums = [sum(column) for column in zip(*(cells.counts(pfn) for pfn in frames))]
    expected_counts = {**class_counts.pages(31), "absent": 0, "unreadable": 2, "hole": 0}
    assert dict(zip(names, sums)) == {one: expected_counts[one] for one in names}


def test_the_picture_has_the_colours_of_known_pages(tmp_path: Path) -> None:
    """The PNG's checksums are right, and a known page frame's pixels have the colour of its class."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING, ram=((0, 24 << 20), (256 << 20, (264 << 20) - 8 * PAGE)))
    for pfn in range(0x107F8, 0x10800):
        del built.memory[pfn]
    class_counts, cells = taken(built, tmp_path)
    write_map(str(tmp_path / "map.png"), "machine.elf", class_counts, cells)
    write_map(str(tmp_path / "map.html"), "machine.elf", class_counts, cells)
    image, page = Image((tmp_path / "map.png").read_bytes()), Page((tmp_path / "map.html").read_text())
    assert page.image == (tmp_path / "map.png").read_bytes()
    left, side = page.data["left"], page.data["side"]
    for pfn, expected in {**KNOWN, 0x107FA: "hole"}.items():
        row, column = divmod(pfn, COLUMNS)
        place = next(p for p in page.data["places"] if p["first"] <= row < p["first"] + p["rows"])
        x, y = left + column * side, place["top"] + (row - place["first"]) * side
        found = {image.pixel(x + dx, y + dy) for dx in range(side) for dy in range(side)}
        assert found == {COLOURS[expected]}, hex(pfn)


def test_the_page_describes_the_cell_under_the_pointer(tmp_path: Path) -> None:
    """It parses, loads nothing external, and has each page frame's class; hostile names are escaped."""
    class_counts, cells = taken(machine(), tmp_path)
    write_map(str(tmp_path / "map.html"), "<script>alert(1)</script>&", class_counts, cells)
    text = (tmp_path / "map.html").read_text()
    page = Page(text)
    assert page.outside == []
    assert "http" not in text
    assert "alert(1)" in "".join(page.texts)
    assert "<script>alert" not in text
    for pfn, expected in KNOWN.items():
        assert page.at(pfn) == (expected, "")
    assert all(sum(run[0] for run in p["runs"]) == p["rows"] * COLUMNS for p in page.data["places"])
    for title in categories().values():
        assert title in page.texts


def test_maps_are_the_same_each_time(tmp_path: Path) -> None:
    class_counts, cells = taken(machine(), tmp_path)
    for name in ("a.png", "b.png", "a.html", "b.html"):
        write_map(str(tmp_path / name), "x", class_counts, cells)
    for kind in ("png", "html"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def _ranges(seed: int) -> Iterator[MemoryRange]:
    dice, at = random.Random(seed), 0
    for _ in range(dice.choice([1, 3, 50, 20_000])):
        at += dice.choice([0, 1, 256, 1 << 20, 1 << 30]) * PAGE
        size = dice.choice([1, 7, 300, 1 << 18, 1 << 24]) * PAGE
        yield MemoryRange(at, at + size, at + size)
        at += size


@pytest.mark.parametrize("seed", range(12))
def test_every_machine_fits_on_a_map(seed: int) -> None:
    """For any ranges: all of them are on the map, in order, within the limit of rows."""
    layout = MapLayout.fit(_ranges(seed), PAGE)
    span = COLUMNS * PAGE << layout.shift
    assert sum(band.end - band.first + 1 for band in layout.bands) <= 288
    assert all(one.end < two.first for one, two in zip(layout.bands, layout.bands[1:]))
    for one in _ranges(seed):
        first, end = one.start // span, -(-one.end // span)
        assert any(band.first <= first and end <= band.end for band in layout.bands)


@pytest.mark.parametrize(
    ("size", "shift"), [(32 << 20, 0), (256 << 20, 0), (1 << 30, 2), (64 << 30, 8), (12 * TIB, 16), (64 * TIB, 18)]
)
def test_cells_grow_with_memory(size: int, shift: int) -> None:
    """From one page per cell to gibibytes."""
    layout = MapLayout.fit([MemoryRange(0, size, size)], PAGE)
    assert layout.shift == shift
    assert 30 < sum(band.end - band.first for band in layout.bands) < 288


@pytest.mark.parametrize("size", [12 * TIB, 300 * TIB])
def test_large_memory_gives_a_small_file(size: int, tmp_path: Path) -> None:
    """12 TiB and more, of all classes: the picture and the page stay small, and cells have shares."""
    cells = Cells(MapLayout.fit([MemoryRange(0, size, size)], PAGE), struct_page_rules())
    dice, full = random.Random(1), bytearray(b"\xff" * BLOCK_BYTES)
    classes = bytearray(dice.choice([0, 1, 4, 8, 16]) for _ in range(512)) + bytes(BLOCK - 512)
    zeros = bytearray(dice.randrange(2) for _ in range(512))
    total = size // PAGE
    class_counts = ClassCounts(PAGE, total=total, existing=total, stored=total)
    for first in range(0, total, BLOCK * 8):
        some = dice.randrange(1, 512)
        pfns = array("Q", range(first, first + some))
        cells.pages(first, classes, address_of(memoryview(pfns).cast("B")), zeros, some)
        if first == 0:
            cells.block(0, full, full)
    for name in ("map.png", "map.html"):
        write_map(str(tmp_path / name), "big", class_counts, cells)
    assert Image((tmp_path / "map.png").read_bytes()).height < 2000
    assert (tmp_path / "map.png").stat().st_size < 300_000
    assert (tmp_path / "map.html").stat().st_size < 3_000_000
    kind, parts = Page((tmp_path / "map.html").read_text()).at(0)
    assert kind
    assert sum(int(digit, 16) > 0 for digit in parts) > 3


def test_sizes_are_exact() -> None:
    assert [binary_size(n) for n in (0, 4096, 5000, 3 << 20, 1 << 40, 5 << 50)] == [
        "0 B", "4 KiB", "5,000 B", "3 MiB", "1 TiB", "5,120 TiB",
    ]  # fmt: skip


def test_the_command_line(tmp_path: Path) -> None:
    """The map is drawn in addition to the counts; its name selects the format."""
    original = machine().write(tmp_path / "machine.elf")
    plain = vmsieve("classes", original).out
    for name in ("map.png", "map.html"):
        run = vmsieve("classes", original, "--map", tmp_path / name)
        assert (run.status, run.out) == (0, plain)
    Image((tmp_path / "map.png").read_bytes())
    assert "machine.elf" in "".join(Page((tmp_path / "map.html").read_text()).texts)
    assert vmsieve("classes", original, "--map", tmp_path / "map.gif").status == 2
    failed(vmsieve("classes", "--json", original, "--map", tmp_path / "no" / "map.png"), "can't write the map")
