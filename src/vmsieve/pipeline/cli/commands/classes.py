"""``vmsieve classes``: the pages of each class, and the estimated dump of each level.

Counts the pages of each class that a dump level can leave out, and estimates the size of the dump at each level.
``--zones`` counts them by NUMA node and zone, ``--map`` draws physical memory. No dump is written.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.formats.text import shown
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import DUMP, JSON, VMLINUX, force
from vmsieve.pipeline.cli.printing import Report, print_remarks
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER
from vmsieve.pipeline.process.options import Option, number
from vmsieve.pipeline.process.saving import check_saved, files_read

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.pipeline.inspect.classes import ClassCounts
    from vmsieve.pipeline.inspect.map_page import Subject

_EXAMPLES = """\
  vmsieve classes vmcore             how many pages are free, cache, user ... and how large the dump of each level is
  vmsieve classes vmcore --json      the same as JSON
  vmsieve classes vmcore --map memory.html    physical memory as a page to zoom; .svg and .png are pictures
  vmsieve classes vmcore --zones     also by NUMA node and zone
"""
_OPTIONS: Final = (
    *DUMP,
    VMLINUX,
    JSON,
    Option("--zones", "also count the pages of each NUMA node and zone"),
    Option("--map", "draw a map of memory: FILE ends in .html, .svg or .png", metavar="FILE"),
    force("map or report"),
    Option("--threads", "threads that scan and read; 0: one a core (default: 1)", metavar="N",
           convert=number(0, 1024), default=1),
)  # fmt: skip


def _as_json(class_counts: ClassCounts, zones: list[dict[str, Any]] | None) -> dict[str, Any]:
    from vmsieve.filters.rules import rules

    counts = class_counts.pages()
    return {
        "page_size": class_counts.page_size,
        "pages": {
            "total": class_counts.total,
            "holes": class_counts.total - class_counts.existing,
            "absent": class_counts.existing - class_counts.stored,
            **{rule.name: counts[rule.name] for rule in rules()},
            "kept": counts["kept"],
        },
        "levels": [class_counts.level(level) for level in range(32)],
        "notes": class_counts.notes,
        **({"zones": zones} if zones is not None else {}),
    }


def _print(facts: dict[str, Any]) -> None:
    from vmsieve.pipeline.dump.report import size_text

    _print_pages(facts["pages"], facts["page_size"], "Kernel data and others")
    print(f"\n{'Level':<24} {'pages in dump':>14} {'size, about':>10}")
    for one in facts["levels"]:
        print(f"{one['level']:<24} {one['pages']:>14,} {size_text(one['bytes']):>10}")
    for one in facts.get("zones", ()):
        frames = f"page frames {one['first_pfn']:#x} - {one['end_pfn'] - 1:#x}"
        print(f"\nNode {one['node']}, zone {shown(one['zone'])}: {frames}")
        _print_pages(one["pages"], facts["page_size"], "Kernel data, zero pages")


def _print_pages(pages: dict[str, int], page_size: int, kept: str) -> None:
    from vmsieve.filters.rules import rules
    from vmsieve.pipeline.dump.report import size_text

    titles = {"total": "Page frames", "holes": "Memory holes", "absent": "Not in the input", "kept": kept}
    titles |= {rule.name: rule.title for rule in rules()}
    for name, count in pages.items():
        if count or name != "absent":
            print(f"{titles[name]:<24} {count:>14,} {size_text(count * page_size):>10}")


def _subject(name: str, knowledge: Knowledge) -> Subject:
    from vmsieve.pipeline.inspect.map_page import Subject
    from vmsieve.pipeline.inspect.zones import known_zones

    identity = knowledge.identity
    return Subject(name, identity.utsname[2], identity.crash_time, known_zones(knowledge, []))


def _run(arguments: Arguments) -> int:
    from vmsieve.filters.rules import struct_page_rules
    from vmsieve.pipeline.dump.input import opened
    from vmsieve.pipeline.dump.pool import usable_cores
    from vmsieve.pipeline.inspect.cells import Cells, MapLayout
    from vmsieve.pipeline.inspect.classes import count_classes
    from vmsieve.pipeline.inspect.map import check_name, rows_of, write_map
    from vmsieve.pipeline.inspect.zones import count_zones
    from vmsieve.pipeline.process.progress import progress_for

    inputs = files_read(arguments.input, arguments.vmcoreinfo, arguments.vmlinux)
    report = Report(arguments, inputs)
    if arguments.map is not None:
        check_name(arguments.map)
        check_saved(arguments.map, inputs, force=arguments.force, what="map")
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux) as (source, knowledge):
        cells, zones, notes = None, None, list[str]()
        threads = arguments.threads or usable_cores()
        if arguments.map is not None:
            layout = MapLayout.fit(source.ranges(), knowledge.page_size, rows_of(arguments.map))
            cells = Cells(layout, struct_page_rules())
        class_counts = count_classes(source, knowledge, progress_for(quiet=not report.printed), cells, threads)
        if arguments.zones:
            zones = count_zones(source, knowledge, notes)
            print_remarks(notes)
        print_remarks(source.remarks + knowledge.notes + class_counts.notes + source.note_shrinking())
        facts = _as_json(class_counts, zones)
        report.show(facts, lambda: _print(facts))
        if cells is not None:
            subject = _subject(arguments.input, knowledge)
            write_map(arguments.map, subject, class_counts, cells, inputs, force=arguments.force)
        if source.incomplete or class_counts.unreadable:
            return EXIT_INCOMPLETE
    return EXIT_WEAKER if class_counts.weaker else EXIT_OK


COMMAND: Final = Command(
    "classes", 30, "count the pages of each class, and estimate the dump of each level", _EXAMPLES, _OPTIONS, _run
)
