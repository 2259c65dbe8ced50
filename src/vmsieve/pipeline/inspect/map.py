"""Memory maps as files: a picture (PNG, SVG), or a page (HTML) to zoom, with details of each cell."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.inspect.cells import FINE_ROWS, ROWS
from vmsieve.pipeline.inspect.figure import Figure
from vmsieve.pipeline.inspect.map_page import map_page
from vmsieve.pipeline.inspect.picture import Picture
from vmsieve.pipeline.inspect.vector import Vector
from vmsieve.pipeline.process.saving import saved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.pipeline.inspect.cells import Cells
    from vmsieve.pipeline.inspect.classes import ClassCounts
    from vmsieve.pipeline.inspect.map_page import Subject

_PICTURES: Final = {".png": Picture, ".svg": Vector}


def check_name(path: str) -> None:
    """Raise UsageError unless the file name ends in .png, .svg or .html."""
    if not path.endswith((*_PICTURES, ".html")):
        raise UsageError("a map's name ends in .png, .svg or .html", found=path)


def rows_of(path: str) -> int:
    """The most rows that a map of this name has."""
    return FINE_ROWS if path.endswith(".html") else ROWS


def write_map(
    path: str, subject: Subject, counts: ClassCounts, cells: Cells, inputs: Iterable[str] = (), *, force: bool = False
) -> None:
    """Write a map of ``subject`` to a file whose name ends in .png, .svg or .html.

    The files in ``inputs`` are never overwritten, other files only with ``force``.
    """
    pages = {
        **counts.pages(),
        "absent": counts.existing - counts.stored,
        "unreadable": counts.unreadable,
        "hole": counts.total - counts.existing,
    }
    totals = [pages[name] for name in cells.categories]
    if path.endswith(".html"):
        data = map_page(subject, counts, cells, totals).encode()
    else:
        data = Figure(cells, counts.page_size, subject.zones).draw(_PICTURES[path[-4:]], subject.line(), totals)
    with saved(path, inputs, force=force, what="map") as out:
        out.write(data)
