"""``vmsieve verify``: is this dump that source's, page by page?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmsieve.filters.rules import rules
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import add_select, opened, print_json, tell
from vmsieve.pipeline.dump.plan import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.inspect.verify import Verdict, verify
from vmsieve.pipeline.process.progress import progress_for

if TYPE_CHECKING:
    import argparse

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve verify /proc/vmcore dump       every page of dump against /proc/vmcore; what dump lacks, by class
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="what the dump was made from")
    parser.add_argument("dump", metavar="DUMP", help="the dump")
    parser.add_argument("--vmcoreinfo", metavar="FILE", help="VMCOREINFO text to use instead of the source's")
    add_select(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _print(verdict: Verdict, incomplete: bool, sure: bool) -> None:
    titles = {rule.name: rule.title for rule in rules()} | {"kept": "Kernel data and others"}
    print(f"{verdict.equal:,} pages are equal")
    if verdict.filler:
        print(f"{verdict.filler:,} left-out pages are filled with zeros")
    for name, count in verdict.missing.items():
        print(f"{count:,} pages are not in the dump: {titles[name]}")
    if verdict.unwritten:
        print(f"{verdict.unwritten:,} pages are described and were not written, or not whole")
    if verdict.unreadable:
        print(f"{verdict.unreadable:,} pages can't be read from the source")
    if verdict.swallowed:
        print(f"{verdict.swallowed:,} of these are ZEROS in the dump, which tells nothing else of them")
    if verdict.extra:
        print(f"{verdict.extra:,} pages are in the dump and not in the source")
    if verdict.different:
        print(f"{verdict.different:,} pages DIFFER")
    if verdict.lost:
        print(f"{verdict.lost:,} pages are LOST: no dump of level {verdict.level} leaves them out")
    if verdict.right:
        print("The dump is right." if sure else "What can be compared of the dump is right.")
    else:
        print("The dump is torn." if incomplete else "The dump is NOT right.")


def _as_json(verdict: Verdict, incomplete: bool, page_size: int) -> dict[str, Any]:
    found = {**vars(verdict), "right": verdict.right, "incomplete": incomplete, "account": verdict.account(page_size)}
    return {**found, "survey": vars(verdict.survey), "places": [vars(one) for one in verdict.places]}


def _run(arguments: argparse.Namespace) -> int:
    with opened(arguments.source, arguments.vmcoreinfo, arguments.select) as (source, knowledge):
        dump = open_source(arguments.dump)
        try:
            verdict = verify(source, knowledge, dump, progress_for(quiet=arguments.json))
            shrunk = source.note_shrinking() + dump.note_shrinking()
            sure = not (verdict.unreadable or shrunk)
            tell(source.oddities + dump.oddities + knowledge.notes + verdict.notes + shrunk)
            if arguments.json:
                print_json(_as_json(verdict, dump.incomplete, knowledge.page_size))
            else:
                _print(verdict, dump.incomplete, sure)
            wrong = verdict.different or verdict.extra
            if wrong or (verdict.swallowed and not shrunk) or (verdict.lost and not (shrunk or dump.incomplete)):
                return EXIT_FAILED
            return EXIT_OK if sure and not dump.incomplete else EXIT_INCOMPLETE
        finally:
            dump.close()


COMMAND: Final = Command(
    "verify", 50, "compare a dump with what it was made from, page by page", _EXAMPLES, _configure, _run
)
