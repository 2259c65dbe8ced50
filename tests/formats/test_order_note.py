"""The note on the order of pages: what a torn dump has, from damaged text too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note
from vmsieve.formats.order_note import order_note, shares

CLASSES = (("log", 146, "the kernel's log"), ("tasks", 434, "tasks and their stacks"), ("rest", 9, "all other pages"))


def source(notes: bytes, written: int | None, order: str = "little", described: int = 589) -> Any:
    return SimpleNamespace(notes=notes, byte_order=order, written=written, described=described)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    ("written", "parts"), [(0, [0, 0, 0]), (146, [146, 0, 0]), (200, [146, 54, 0]), (9999, [146, 434, 9])]
)
def test_pages_written_belong_to_the_first_classes(order: str, written: int, parts: list[int]) -> None:
    found = shares(source(b"" + order_note(CLASSES, order), written, order))
    assert [(one.name, one.total, one.title) for one in found] == list(CLASSES)
    assert [one.written for one in found] == parts


def test_without_note_or_count_nothing_is_said() -> None:
    assert shares(source(b"", 100)) == []
    assert shares(source(order_note(CLASSES, "little"), None)) == []


def test_a_note_of_another_dump_is_ignored() -> None:
    """As makedumpfile copies it to a dump of fewer pages."""
    assert shares(source(order_note(CLASSES, "little"), 100, described=588)) == []


@given(st.binary(max_size=200) | st.text("log 0123456789-\n\x1b").map(str.encode), st.integers(0, 1 << 40))
def test_damaged_text_gives_no_shares_or_plausible_ones(text: bytes, written: int) -> None:
    """No error, no control characters, never more pages than were written."""
    numbers = [line.split()[1:2] for line in text.decode(errors="replace").splitlines()]
    total = sum(int(one[0]) for one in numbers if one and one[0].isdigit())
    found = shares(source(build_note(*elf.NOTE_ORDER, text, "little"), written, described=total))
    assert sum(one.written for one in found) <= written
    assert all(0 <= one.written <= one.total and one.total for one in found)
    assert all((one.name + one.title).isprintable() for one in found)
