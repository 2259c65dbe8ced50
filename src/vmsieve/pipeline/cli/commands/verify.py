"""``vmsieve verify``: compares a dump with its source, page by page.

Compares each page of ``DUMP`` with the same page of ``SOURCE``, and counts the pages left out, by class. Memory that is
missing without a reason is listed with its addresses.
"""

from __future__ import annotations

from vmsieve.formats.errors import FormatError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import JSON, SELECT, force
from vmsieve.pipeline.cli.printing import Report, contents, print_contents, print_remarks
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.process.options import Option

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.inspect.verify import Comparison

_EXAMPLES = """\
  vmsieve verify /proc/vmcore dump       compare every page; count the pages left out, by class

exit status:
  0  the dump is right    1  it is not    4  torn or partly unreadable; what can be compared is right
"""
_OPTIONS: Final = (
    Option("SOURCE", "memory or dump that the dump was made from"),
    Option("DUMP", "the dump"),
    Option("--vmcoreinfo", "VMCOREINFO text to use instead of the source's", metavar="FILE"),
    SELECT,
    JSON,
    force("report"),
)


def _print(comparison: Comparison, facts: dict[str, Any], sure: bool) -> None:
    from vmsieve.filters.rules import rules

    titles = {rule.name: rule.title for rule in rules()} | {"kept": "Kernel data and others"}
    print(f"{comparison.equal:,} pages are equal")
    for count, what in (
        (comparison.filler, "left-out pages are filled with zeros"),
        *((count, f"pages are not in the dump: {titles[name]}") for name, count in comparison.missing.items()),
        (comparison.unwritten, "pages are described and were not written, or not whole"),
        (comparison.unreadable, "pages can't be read from the source"),
        (comparison.swallowed, "of these are ZEROS in the dump, so that their content is unknown"),
        (comparison.extra, "pages are in the dump and not in the source"),
        (comparison.different, "pages DIFFER"),
        (comparison.lost, f"pages are LOST: no dump of level {comparison.level} leaves them out"),
    ):
        if count:
            print(f"{count:,} {what}")
    if comparison.right:
        print("The dump is right." if sure else "What can be compared of the dump is right.")
    else:
        print("The dump is torn." if facts["incomplete"] else "The dump is NOT right.")
    print_contents(facts["contents"])


def _as_json(comparison: Comparison, dump: Source, page_size: int) -> dict[str, Any]:
    return {
        **vars(comparison),
        "survey": vars(comparison.survey),
        "places": [vars(one) for one in comparison.places],
        "right": comparison.right,
        "incomplete": dump.incomplete,
        "account": comparison.account(page_size),
        "contents": contents(dump),
    }


def _check_kernels(name: str, source: Source, knowledge: Knowledge, dump: Source) -> None:
    """Raise FormatError if VMCOREINFO of the dump ``name`` is of another kernel than the source."""
    release = _release(dump)
    known = {knowledge.identity.utsname[2], knowledge.identity.other or "", _release(source)} - {""}
    if release and known and release not in known:
        of = " or ".join(sorted(known))
        hint = "compare it with the dump it was made from"
        raise FormatError(f"a dump of Linux {release}, while SOURCE is of {of}", file=name, hint=hint)


def _release(source: Source) -> str:
    """The release that VMCOREINFO names, or ""."""
    lines = (source.vmcoreinfo or b"").split(b"\n")
    key = b"OSRELEASE="
    return next((line[len(key) :].decode("ascii", "replace") for line in lines if line.startswith(key)), "")


def _swapped(source: Source, dump: Source) -> str:
    """A remark on pages that only the dump has."""
    if source.dump_level & ~dump.dump_level or source.incomplete:
        lacks = f"was filtered at level {source.dump_level}" if source.dump_level else "is incomplete"
        return f"DUMP has pages that SOURCE lacks, which {lacks}: if swapped, 'vmsieve verify DUMP SOURCE'"
    return "DUMP has pages that SOURCE lacks: it was not made from SOURCE; were the two swapped?"


def _run(arguments: Arguments) -> int:
    from contextlib import closing

    from vmsieve.formats.inputs import open_source
    from vmsieve.pipeline.dump.input import opened
    from vmsieve.pipeline.inspect.verify import verify
    from vmsieve.pipeline.process.progress import progress_for

    report = Report(arguments, [arguments.source, arguments.dump, arguments.vmcoreinfo])
    given = arguments.source, arguments.vmcoreinfo, arguments.select
    with opened(*given) as (source, knowledge), closing(open_source(arguments.dump)) as dump:
        _check_kernels(arguments.dump, source, knowledge, dump)
        comparison = verify(source, knowledge, dump, progress_for(quiet=not report.printed))
        shrunk = source.note_shrinking() + dump.note_shrinking()
        sure = not (comparison.unreadable or shrunk)
        if comparison.extra:
            comparison.notes.append(_swapped(source, dump))
        print_remarks(source.remarks + dump.remarks + knowledge.notes + comparison.notes + shrunk)
        facts = _as_json(comparison, dump, knowledge.page_size)
        report.show(facts, lambda: _print(comparison, facts, sure))
        wrong = comparison.different or comparison.extra
        if wrong or (comparison.swallowed and not shrunk) or (comparison.lost and not (shrunk or dump.incomplete)):
            return EXIT_FAILED
        return EXIT_OK if sure and not dump.incomplete else EXIT_INCOMPLETE


COMMAND: Final = Command("verify", 50, "compare a dump with its source, page by page", _EXAMPLES, _OPTIONS, _run)
