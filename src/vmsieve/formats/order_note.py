"""The note that says in which order a dump's pages were written, so that a torn dump tells what it still has.

Text, a line for each class in the order of writing: name, number of page frames, title. Pages were written class by
class: of the first *n* pages written, each class has as many as are left after the classes before it.
"""

from __future__ import annotations

from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note, note_text
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.formats.source import Source

_MOST_CLASSES = 256


@record
class Share:
    """The part of a class of pages that a dump has."""

    name: str
    title: str
    total: int
    written: int = 0


def order_note(classes: Iterable[tuple[str, int, str]], byte_order: str) -> bytes:
    """Build the note; ``classes``: name, number of page frames and title of each."""
    text = "".join(f"{name} {pages} {title}\n" for name, pages, title in classes)
    return build_note(*elf.NOTE_ORDER, text.encode(), byte_order)


def shares(source: Source) -> list[Share]:
    """What a torn dump has of each class, at least.

    Empty for address order, if its format does not count pages, and if another tool has copied the note to a dump of
    other pages.
    """
    text = note_text(source.notes, source.byte_order, elf.NOTE_ORDER)
    if text is None or source.written is None:
        return []
    found, left = [], source.written
    for line in text.decode("utf-8", "replace").splitlines()[:_MOST_CLASSES]:
        name, _, rest = line.partition(" ")
        pages, _, title = rest.partition(" ")
        if not (pages.isascii() and pages.isdigit() and 0 < len(pages) < 20 and int(pages)):
            return []
        found.append(Share(shown(name), shown(title), int(pages), min(int(pages), left)))
        left -= found[-1].written
    return found if sum(one.total for one in found) == source.described else []
