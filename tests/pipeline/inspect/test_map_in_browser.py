"""``classes --map memory.html`` in a browser: what it draws, and what it does on wheel, keys, touch and switches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.build.browser import chromium, run
from tests.pipeline.inspect.test_map import KNOWN, taken
from tests.pipeline.kit import machine
from vmsieve.filters.linux.zones import Zone
from vmsieve.pipeline.inspect.figure import COLOURS
from vmsieve.pipeline.inspect.map import write_map
from vmsieve.pipeline.inspect.map_page import Subject

if TYPE_CHECKING:
    from pathlib import Path

ZONES = [Zone(0, "DMA", 1, 0x1000), Zone(1, "Normal", 0x1000, 0x10800)]

#: Functions for the scripts below.
KIT = """
canvas.setPointerCapture = () => {};
const middle = pfn => { const { x, y } = cornerOf(pfn); return [x + side / 2, y + tall / 2]; };
const colour = pfn => {
  draw();
  const [x, y] = middle(pfn).map(Math.floor), [r, g, b] = pen.getImageData(x, y, 1, 1).data;
  return r << 16 | g << 8 | b;
};
const fire = (kind, type, [x, y], more = {}) => {
  const box = canvas.getBoundingClientRect();
  const where = { clientX: box.left + x / ratio, clientY: box.top + y / ratio, cancelable: true, bubbles: true };
  canvas.dispatchEvent(new kind(type, { ...where, ...more }));
};
const touch = (type, place, pointerId) => fire(PointerEvent, type, place, { pointerId, pointerType: "touch" });
const key = name => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name, cancelable: true }));
const box = name => document.querySelector(`[data-category="${data.categories.findIndex(c => c.name === name)}"]`);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chromium()
    folder = tmp_path_factory.mktemp("map")
    class_counts, cells = taken(machine(), folder)
    write_map(str(folder / "map.html"), Subject("a<b>", "6.12.1", 1_700_000_000, ZONES), class_counts, cells)
    return folder / "map.html"


def tried(page: Path, script: str, *size: int) -> Any:
    return run(page, KIT + script, *size)


def test_known_pages_have_their_colours(page: Path) -> None:
    """At the middle of each known page frame's cell; a level hides what it leaves out, a switch its class."""
    pfns = f"[{','.join(map(str, KNOWN))}]"
    shown, level, one = tried(
        page,
        f"side = 20; clamp(); const all = pfns => pfns.map(pfn => (reveal(pfn), colour(pfn))); const pfns = {pfns};"
        "const shown = all(pfns); setLevel(24); const level = all(pfns);"
        'setLevel(24, false); box("user").closest("li").querySelector("button").click();'
        "return [shown, level, all(pfns)];",
    )
    assert shown == [COLOURS[name] for name in KNOWN.values()]
    gone = {"free", "user", "offline", "hwpoison"}
    assert level == [0xFFFFFF if name in gone else COLOURS[name] for name in KNOWN.values()]
    assert one == [COLOURS[name] if name == "user" else 0xFFFFFF for name in KNOWN.values()]


def test_the_pointer_tells_address_class_and_zone(page: Path) -> None:
    texts = tried(
        page,
        'fire(PointerEvent, "pointermove", middle(0x10500), { pointerType: "mouse" }); const free = told.innerText;'
        'fire(PointerEvent, "pointermove", middle(0x110), { pointerType: "mouse" }); const kept = told.innerText;'
        'fire(PointerEvent, "pointerleave", [0, 0], { pointerType: "mouse" }); return [free, kept, told.hidden];',
    )
    assert texts[0].splitlines()[:4] == ["0x10500000", "pfn 0x10500 (66816)", "node 1, zone Normal", "Free pages"]
    assert texts[1].splitlines()[:4] == [
        "0x110000", "pfn 0x110 (272)", "node 0, zone DMA", "Kernel data and others",
    ]  # fmt: skip
    assert texts[2] is True


def test_keys_move_and_zoom(page: Path) -> None:
    """Arrow keys go from cell to cell, over holes too; + and 0 zoom; [ and ] change the level."""
    found = tried(
        page,
        'key("Home"); const home = cursor; key("ArrowRight"); const right = cursor; key("ArrowDown");'
        'const down = cursor - right; key("End"); const end = cursor; key("Home"); let steps = 0;'
        'while (cursor < 0x10000 && steps < 1000) { key("ArrowDown"); steps++; } const over = cursor;'
        'const before = side; key("+"); key("+"); const large = side / before; key("0"); const back = side / before;'
        'key("["); return { home, right, down, columns, end, over, large, back, level, applied, hidden: told.hidden };',
    )
    assert (found["home"], found["right"], found["down"]) == (0, 1, found["columns"])
    assert found["over"] >= 0x10000
    assert found["end"] >= 0x107FF
    assert found["large"] == pytest.approx(2.25)
    assert found["back"] == 1
    assert (found["level"], found["applied"], found["hidden"]) == (30, True, False)


def test_wheel_and_fingers_zoom_about_their_place(page: Path) -> None:
    """The cell under wheel or fingers stays there; a finger drags; a tap tells in a sheet at the bottom."""
    found = tried(
        page,
        "const at = [left + 300, 200], cell = cellAt(...at), before = side;"
        'for (let i = 0; i < 9; i++) fire(WheelEvent, "wheel", at, { deltaY: -200 });'
        "const wheel = side / before, same = cellAt(...at) === cell; fit();"
        'touch("pointerdown", [left + 250, 200], 1); touch("pointerdown", [left + 350, 200], 2);'
        'touch("pointermove", [left + 100, 200], 1); touch("pointermove", [left + 500, 200], 2);'
        'touch("pointerup", [left + 100, 200], 1); touch("pointerup", [left + 500, 200], 2);'
        'const pinch = side / before, pan = panX; touch("pointerdown", [left + 200, 200], 3);'
        'touch("pointermove", [left + 150, 200], 3); touch("pointerup", [left + 150, 200], 3); const drag = panX - pan;'
        'const silent = told.hidden; touch("pointerdown", [left + 200, 200], 4);'
        'touch("pointerup", [left + 200, 200], 4);'
        'return { wheel, same, pinch, drag, silent, told: told.hidden, docked: told.classList.contains("docked") };',
    )
    assert found["wheel"] > 5
    assert found["same"]
    assert found["pinch"] > 1.2
    assert found["drag"] == 50
    assert found["silent"]
    assert not found["told"]
    assert found["docked"]


def test_an_address_is_found(page: Path) -> None:
    """A form goes to an address, and refuses one without memory."""
    found = tried(
        page,
        'const go = text => { $("address").value = text; $("goto").requestSubmit(); return cursor; };'
        'return [go("0x10500abc"), go("831000"), go("fffffffffffff"), $("address").validationMessage, go("x")];',
    )
    assert found[:3] == [0x10500, 0x831, 0x831]
    assert found[3] == "no memory at this address"
    assert found[4] == 0x831


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1280, 800), (2560, 1440)])
def test_it_fits_any_screen(page: Path, width: int, height: int) -> None:
    """Nothing is cut off at the side, from a phone to a wall; all rows are on the canvas; each switch has a name."""
    found = tried(
        page,
        "const root = document.documentElement, frame = canvas.getBoundingClientRect();"
        "const legend = box('kept').getBoundingClientRect();"
        "return { over: root.scrollWidth - innerWidth, rows: contentHeight() - height, wide: frame.width,"
        " beside: legend.left >= frame.right,"
        " nameless: [...document.querySelectorAll('input, button, canvas')].filter(one => !(one.ariaLabel ||"
        " one.labels && one.labels.length || one.textContent.trim())).length };",
        width, height,
    )  # fmt: skip
    assert found["over"] <= 0
    assert found["rows"] < 1
    assert found["wide"] > width / 2
    assert found["beside"] == (width > 900)
    assert found["nameless"] == 0


def test_rare_pages_show_where_all_else_is_hidden(page: Path) -> None:
    """A kind with a share of 0, below a sixteenth, has a colour of its own there, and no part of a full cell."""
    found = tried(
        page,
        "mixtures.push([[0, 16], [3, 0]]); const id = mixtures.length - 1;"
        "return [paint(id, kind => kind + 1, 99), paint(id, kind => kind ? kind + 1 : 99, 99)];",
    )
    assert found == [{"slots": [1] * 16, "trace": 0}, {"slots": [99] * 16, "trace": 4}]
