"""``vmsieve classes``: what is in memory, and what each dump level would make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmsieve.filters.rules import rules, struct_page_rules
from vmsieve.pipeline.classes import Census, take_census
from vmsieve.pipeline.commands import Command
from vmsieve.pipeline.commands._shared import add_input, opened, print_json, tell
from vmsieve.pipeline.map import check_name
from vmsieve.pipeline.plan import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER
from vmsieve.pipeline.progress import progress_for
from vmsieve.pipeline.report import size_text

if TYPE_CHECKING:
    import argparse

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve classes vmcore             how many pages are free, cache, user ... and how large a dump of each level gets
  vmsieve classes vmcore --json      the same for machines
  vmsieve classes vmcore --map memory.png     physical memory as a picture; memory.html can be pointed at
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--map", metavar="FILE", help="draw a map of memory: FILE ends in .png or .html and is overwritten"
    )


def _as_json(census: Census) -> dict[str, Any]:
    counts = census.pages()
    return {
        "page_size": census.page_size,
        "pages": {
            "total": census.total,
            "holes": census.total - census.existing,
            "absent": census.existing - census.stored,
            **{rule.name: counts[rule.name] for rule in rules()},
            "kept": counts["kept"],
        },
        "levels": [census.level(level) for level in range(32)],
        "notes": census.notes,
    }


def _as_text(census: Census) -> None:
    counts = census.pages()
    rows = [("Page frames", census.total), ("Memory holes", census.total - census.existing)]
    if census.existing != census.stored:
        rows.append(("Not in the input", census.existing - census.stored))
    rows += [(rule.title, counts[rule.name]) for rule in rules()]
    rows.append(("Kernel data and others", counts["kept"]))
    for name, count in rows:
        print(f"{name:<24} {count:>14,} {size_text(count * census.page_size):>10}")
    print(f"\n{'Level':<24} {'pages in dump':>14} {'size, about':>10}")
    for level in range(32):
        one = census.level(level)
        print(f"{level:<24} {one['pages']:>14,} {size_text(one['bytes']):>10}")


def _census(arguments: argparse.Namespace, source: Source, knowledge: Knowledge) -> Census:
    progress = progress_for(quiet=arguments.json)
    if arguments.map is None:
        return take_census(source, knowledge, progress)
    from vmsieve.pipeline.cells import Cells, Sheet
    from vmsieve.pipeline.map import write_map

    cells = Cells(Sheet.of(source.ranges(), knowledge.page_size), struct_page_rules())
    census = take_census(source, knowledge, progress, cells)
    write_map(arguments.map, arguments.input, census, cells)
    return census


def _run(arguments: argparse.Namespace) -> int:
    if arguments.map is not None:
        check_name(arguments.map)
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select) as (source, knowledge):
        census = _census(arguments, source, knowledge)
        tell(source.oddities + knowledge.notes + census.notes)
        if arguments.json:
            print_json(_as_json(census))
        else:
            _as_text(census)
        if source.incomplete or census.unreadable:
            return EXIT_INCOMPLETE
    return EXIT_WEAKER if census.weaker else EXIT_OK


COMMAND: Final = Command(
    "classes", 30, "count the pages of each class, and estimate the dump of each level", _EXAMPLES, _configure, _run
)
