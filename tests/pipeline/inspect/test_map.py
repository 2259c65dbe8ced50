"""``classes --map``: a map of memory as a picture, and as an HTML page."""

from __future__ import annotations

import base64
import json
import math
import random
import re
import struct
import zlib
from array import array
from collections import Counter
from html.parser import HTMLParser
from itertools import combinations
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, PAGE, Machine
from tests.filters.classify_kit import opened
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import Damaged, machine
from vmsieve.filters.linux.zones import Zone
from vmsieve.filters.loops.cells import CATEGORIES
from vmsieve.filters.rules import struct_page_rules
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.inputs import MemoryRange
from vmsieve.pipeline.inspect import mixtures, picture
from vmsieve.pipeline.inspect.cells import ALWAYS, COLUMNS, FINE_ROWS, Cells, MapLayout, categories
from vmsieve.pipeline.inspect.classes import ClassCounts, count_classes
from vmsieve.pipeline.inspect.figure import COLOURS, DARK, LEFT, SIDE, TOP, Figure, binary_size, rounded_size
from vmsieve.pipeline.inspect.map import write_map
from vmsieve.pipeline.inspect.map_page import Subject
from vmsieve.pipeline.inspect.mixtures import SHARES, shares
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
    """An HTML file as a browser parses it, and its data read by hand."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.data: Any = {}
        self.outside: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self._table: list[dict[int, int]] = []
        at = 0
        packed = base64.b64decode(self.data["mixtures"], validate=True)
        while at < len(packed):
            end = at + 1 + 2 * packed[at]
            self._table.append(dict(zip(packed[at + 1 : end : 2], packed[at + 2 : end : 2])))
            at = end
        numbers = list(_numbers(base64.b64decode(self.data["runs"], validate=True)))
        self.runs = list(zip(numbers[::2], numbers[1::2]))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        self.outside += [name for name, _ in attrs if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open[-1:] == ["script"] and data.startswith("{"):
            self.data = json.loads(data)

    def cells(self) -> Iterator[tuple[int, dict[int, int]]]:
        """Yield the number of each cell, and its kinds with their shares."""
        places = (cell for first, count in self.data["spans"] for cell in range(first, first + count))
        mixtures = (mixture for mixture, count in self.runs for _ in range(count))
        for cell, mixture in zip(places, mixtures):
            yield cell, self._table[mixture]

    def at(self, pfn: int) -> dict[str, int]:
        """Return the categories of a page frame's cell, with their shares."""
        for cell, mixture in self.cells():
            if cell == pfn >> self.data["shift"]:
                found: dict[str, int] = {}
                for kind, share in mixture.items():
                    name = self.data["categories"][self.data["kinds"][kind][0]]["name"]
                    found[name] = found.get(name, 0) + share
                return found
        raise AssertionError(hex(pfn))


def _numbers(packed: bytes) -> Iterator[int]:
    value = bits = 0
    for byte in packed:
        value |= (byte & 0x7F) << bits
        bits += 7
        if byte < 0x80:
            yield value
            value = bits = 0


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


def holed(folder: Path) -> tuple[ClassCounts, Cells]:
    built = Machine(LAYOUTS["6.12"], EVERYTHING, ram=((0, 24 << 20), (256 << 20, (264 << 20) - 8 * PAGE)))
    for pfn in range(0x107F8, 0x10800):
        del built.memory[pfn]
    return taken(built, folder)


def test_the_pictures_have_the_colours_of_known_pages(tmp_path: Path) -> None:
    """The PNG's checksums are right, and a known page frame's pixels have the colour of its class; SVG has the same."""
    class_counts, cells = holed(tmp_path)
    for name in ("map.png", "map.svg"):
        write_map(str(tmp_path / name), Subject("machine.elf"), class_counts, cells)
    image = Image((tmp_path / "map.png").read_bytes())
    drawn = rectangles((tmp_path / "map.svg").read_text())
    tops = Figure(cells, PAGE, []).tops
    for pfn, expected in {**KNOWN, 0x107FA: "hole"}.items():
        row, column = divmod(pfn, COLUMNS)
        band, top = next((b, t) for b, t in zip(cells.layout.bands, tops) if b.first <= row < b.end)
        x, y = LEFT + column * SIDE, top + (row - band.first) * SIDE
        found = {image.pixel(x + dx, y + dy) for dx in range(SIDE) for dy in range(SIDE)}
        assert found == {COLOURS[expected]}, hex(pfn)
        assert [colour for colour, (a, b, w, h) in drawn if a <= x < a + w and b <= y < b + h] == [COLOURS[expected]]


def rectangles(svg: str) -> list[tuple[int, tuple[int, ...]]]:
    """Return the colour of each rectangle of a picture, and its left, top, width and height."""
    paths = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
    return [
        (int(path.attrib["fill"][1:], 16), tuple(map(int, shape)))
        for path in paths
        for shape in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\3z", path.attrib["d"])
    ]


def test_zones_and_titles_are_drawn(tmp_path: Path) -> None:
    """SVG and page name kernel, time and zones; zones alternate their colours in the strip; hostile text is escaped."""
    class_counts, cells = taken(machine(), tmp_path)
    zones = [Zone(0, "DMA", 1, 0x1000), Zone(1, "<b>&", 0x1000, 0x10800)]
    subject = Subject("a<i>\x1b.elf", "6.12.1</script><script>", 1_700_000_000, zones)
    for name in ("map.svg", "map.html", "map.png"):
        write_map(str(tmp_path / name), subject, class_counts, cells)
    svg, text = (tmp_path / "map.svg").read_text(), (tmp_path / "map.html").read_text()
    texts = [one.text for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "Linux 6.12.1</script><script>, crashed 2023-11-14 22:13:20 UTC: a<i>\\x1b.elf" in texts
    assert "Node 1, zone <b>&: 1000000 - 107FFFFF" in texts
    strips = {colour for colour, (x, _, w, _) in rectangles(svg) if (x, w) == (LEFT - 8, 6)}
    assert len(strips) == 2
    page = Page(text)
    assert "Linux 6.12.1</script><script>" in page.texts
    assert [(one["node"], one["first"], one["end"]) for one in page.data["nodes"]] == [
        (0, 1, 0x1000),
        (1, 0x1000, 0x10800),
    ]
    assert page.data["zones"][1]["zone"] == "<b>&"
    assert text.count("<script") == 2


def test_letters_need_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PNG has the same size and cells with Pillow's letters and with our own; both are drawn."""
    pytest.importorskip("PIL", reason="Pillow draws the letters")
    class_counts, cells = taken(machine(), tmp_path)
    images = []
    for name in ("pillow.png", "own.png"):
        write_map(str(tmp_path / name), Subject("machine.elf"), class_counts, cells)
        images.append(Image((tmp_path / name).read_bytes()))
        monkeypatch.setattr(picture, "_font", lambda: None)
    areas = [
        [image.pixel(x, y) for y in range(*lines) for x in range(LEFT, image.width)]
        for lines in ((0, 20), (TOP, TOP + 90)) for image in images
    ]  # fmt: skip
    assert areas[0] != areas[1]
    assert len(set(areas[0])) > len(set(areas[1])) == 2
    assert areas[2] == areas[3]


def test_the_page_has_the_kinds_of_each_cell(tmp_path: Path) -> None:
    """It parses, loads nothing external, and has each page frame's class; hostile names are escaped."""
    class_counts, cells = taken(machine(), tmp_path)
    write_map(str(tmp_path / "map.html"), Subject("<script>alert(1)</script>&"), class_counts, cells)
    text = (tmp_path / "map.html").read_text()
    page = Page(text)
    assert page.outside == []
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text
    assert "alert(1)" in "".join(page.texts)
    assert "<script>alert" not in text
    for pfn, expected in KNOWN.items():
        assert page.at(pfn) == {expected: SHARES}
    assert sum(count for _, count in page.runs) == sum(count for _, count in page.data["spans"])
    for title in categories().values():
        assert title in page.texts


@pytest.mark.parametrize("name", ["4.4", "6.12", "7.2"])
def test_levels_keep_what_they_count(name: str, tmp_path: Path) -> None:
    """At each dump level, the cells that the page shows as kept are as many as the pages counted by level."""
    class_counts, cells = taken(Machine(LAYOUTS[name], EVERYTHING), tmp_path)
    write_map(str(tmp_path / "map.html"), Subject("x"), class_counts, cells)
    page = Page((tmp_path / "map.html").read_text())
    kinds = Counter(kind for _, mixture in page.cells() for kind in mixture)
    for level in range(32):
        kept = {**class_counts.pages(level)}["kept"]
        shown = sum(count for kind, count in kinds.items() if is_kept(page.data, kind, level))
        assert shown == kept, level
    assert [pages for pages, _ in page.data["levels"]] == [class_counts.level(level)["pages"] for level in range(32)]


def is_kept(data: Any, kind: int, level: int) -> bool:
    """Twin of the script's leftOut, for pages with memory."""
    if kind >= len(data["kinds"]) - 3:
        return False
    drops = data["kinds"][kind][1]
    return not drops & (level | 32 if level > 1 or data["always"] else level & 1)


def test_pages_of_several_classes_have_kinds_of_their_own() -> None:
    """A poisoned free page is dropped at every level; with no counter left, it counts as its first class."""
    cells = Cells(MapLayout.fit([MemoryRange(0, 1 << 20, 1 << 20)], PAGE), struct_page_rules())
    bit = {rule.name: 1 << i for i, rule in enumerate(struct_page_rules())}
    both = bit["free"] | bit["hwpoison"]
    zeros = bytearray(3)
    for first, classes in ((0, bytearray([both, 0, 0])), (BLOCK, bytearray([*range(127, 0, -1)]))):
        pfns = array("Q", range(first, first + 3))
        cells.pages(first, classes + bytes(BLOCK - len(classes)), address_of(memoryview(pfns).cast("B")), zeros, 3)
    rows = [next(cells.rows(cell, cell + 1)) for cell in (0, BLOCK + 2)]
    kinds = [next(kind for kind, n in cells.kinds_in(row).items() if n > 0) for row in rows]
    assert cells.kinds[kinds[0]] == (number("free"), 16 | ALWAYS)
    assert cells.kinds[kinds[1]][0] == number("free")
    assert len(cells.kinds) == 30


def number(name: str) -> int:
    return list(categories()).index(name)


def test_shares_add_up() -> None:
    """Shares are sixteenths, rounded; a kind that is too rare for one stays, with 0."""
    dice = random.Random(3)
    for _ in range(500):
        pages = {kind: dice.choice([1, 2, 30, 4000]) for kind in dice.sample(range(30), dice.randrange(1, 9))}
        found = dict(shares(pages))
        assert sum(found.values()) == SHARES
        assert all(abs(found[kind] - count * SHARES / sum(pages.values())) < 1 for kind, count in pages.items())
    assert shares({0: 10_000, 3: 1}) == ((0, 16), (3, 0))


def test_mixtures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more mixtures than a page can hold, cells have their most frequent kind."""
    monkeypatch.setattr(mixtures, "MOST", 2)
    cells = Cells(MapLayout.fit([MemoryRange(0, 1 << 30, 1 << 30)], PAGE), struct_page_rules())
    assert cells.layout.shift == 2
    pfns, zeros = array("Q", [0, 4, 5, 8, 9, 10, 12]), bytearray(7)
    cells.block(0, bytearray(b"\xff" * BLOCK_BYTES), bytearray(b"\xff\x1f" + bytes(BLOCK_BYTES - 2)))
    classes = bytearray([0, 0, 0, 0, 1, 2, 0, 0, 1, 1, 2]) + bytes(BLOCK - 11)
    cells.pages(0, classes, address_of(memoryview(pfns).cast("B")), zeros, 7)
    found = mixtures.Mixtures(cells, [(0, 5)])
    assert len(found.table) <= 2 + len(cells.kinds)
    assert sum(count for _, count in found.runs) == 5


def test_no_machine_makes_a_large_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """If each cell has a mixture of its own, of as many kinds as there are, a page still takes less than 5 MB."""
    count, kinds = 20_000, CATEGORIES + 1
    cells = Cells(MapLayout.fit([MemoryRange(0, 12 * TIB, 12 * TIB)], PAGE, FINE_ROWS), struct_page_rules())
    dice = random.Random(1)
    monkeypatch.setattr(cells, "rows", lambda first, end: (dice.randbytes(16) for _ in range(first, end)))
    monkeypatch.setattr(cells, "kinds_in", lambda row: {kind: 1 + byte for kind, byte in enumerate(row)})
    found = mixtures.Mixtures(cells, [(0, count)])
    assert len(found.table) >= mixtures.MOST
    assert len(found.packed_table()) <= (mixtures.MOST + kinds) * (1 + 2 * 16)
    assert len(found.packed_runs()) <= 4 * count
    largest = (mixtures.MOST + kinds) * (1 + 2 * kinds) + 4 * FINE_ROWS * COLUMNS
    assert largest * 4 / 3 < 4_800_000


def _lab(colour: int, matrix: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """CIE L*a*b* of a colour as someone sees it whose vision ``matrix`` describes."""
    parts = [(colour >> shift & 255) / 255 for shift in (16, 8, 0)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    r, g, b = (min(1.0, max(0.0, sum(a * x for a, x in zip(row, linear)))) for row in matrix)
    white = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047, 0.2126 * r + 0.7152 * g + 0.0722 * b, (
        0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883  # fmt: skip
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in white)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("palette", [COLOURS, DARK])
def test_colour_blind_people_tell_the_classes_apart(palette: dict[str, int]) -> None:
    """Any two colours differ by 10 in CIE L*a*b*, 5 times what is just noticed, also without red or green cones.

    The matrices: Machado, Oliveira and Fernandes 2009, severity 1.0.
    """
    visions = (
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
        ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    )
    assert set(palette) == set(categories())
    for matrix in visions:
        for one, two in combinations(palette, 2):
            assert math.dist(_lab(palette[one], matrix), _lab(palette[two], matrix)) > 10, (one, two)


def test_maps_are_the_same_each_time(tmp_path: Path) -> None:
    class_counts, cells = taken(machine(), tmp_path)
    for name in ("a.png", "b.png", "a.svg", "b.svg", "a.html", "b.html"):
        write_map(str(tmp_path / name), Subject("x"), class_counts, cells)
    for kind in ("png", "svg", "html"):
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
        write_map(str(tmp_path / name), Subject("big"), class_counts, cells)
    assert Image((tmp_path / "map.png").read_bytes()).height < 2000
    assert (tmp_path / "map.png").stat().st_size < 300_000
    assert (tmp_path / "map.html").stat().st_size < 3_000_000
    found = Page((tmp_path / "map.html").read_text()).at(0)
    assert len(found) > 3
    assert sum(found.values()) == SHARES


def test_sizes_are_exact() -> None:
    assert [binary_size(n) for n in (0, 4096, 5000, 3 << 20, 1 << 40, 5 << 50)] == [
        "0 B", "4 KiB", "5,000 B", "3 MiB", "1 TiB", "5,120 TiB",
    ]  # fmt: skip

    assert [rounded_size(n) for n in (0, 4096, 5000, 150 << 20, 3 << 39, 5 << 50)] == [
        "0 B", "4 KiB", "4.9 KiB", "150 MiB", "1.5 TiB", "5,120 TiB",
    ]  # fmt: skip


def test_the_command_line(tmp_path: Path) -> None:
    """The map is drawn in addition to the counts; its name selects the format."""
    original = machine().write(tmp_path / "machine.elf")
    plain = vmsieve("classes", original).out
    for name in ("map.png", "map.svg", "map.html"):
        run = vmsieve("classes", original, "--map", tmp_path / name)
        assert (run.status, run.out) == (0, plain)
    Image((tmp_path / "map.png").read_bytes())
    assert "machine.elf" in "".join(Page((tmp_path / "map.html").read_text()).texts)
    assert vmsieve("classes", original, "--map", tmp_path / "map.gif").status == 2
    failed(vmsieve("classes", "--json", original, "--map", tmp_path / "no" / "map.png"), "can't write the map")
