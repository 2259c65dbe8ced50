"""``vmsieve info``: format, machine, kernel and memory of a dump; codecs of this machine.

Prints the format of ``INPUT``, its machine, kernel, time of the crash and memory, and whether it is complete. Of an
incomplete dump it also prints its content by classes of importance.
"""

from __future__ import annotations

from itertools import islice

from vmsieve.formats.errors import UsageError
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import note_text
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import INPUT_TEXT, JSON, SELECT, VMCOREINFO, VMLINUX, force
from vmsieve.pipeline.cli.printing import Report, contents, print_contents
from vmsieve.pipeline.dump.input import opened
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.process.dates import date_text
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.process.options import Option
from vmsieve.pipeline.process.streams import print_line

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

_EXAMPLES = """\
  vmsieve info vmcore
  vmsieve info --json vmcore | jq .kernel.release
  vmsieve info --codecs                                the library behind each codec on this machine
"""

_MOST_RANGES = 64  # shown; a filtered dump can have millions
_OPTIONS: Final = (
    Option("INPUT", INPUT_TEXT, optional=True),
    VMCOREINFO,
    SELECT,
    VMLINUX,
    Option("--codecs", "show the library behind each codec; needs no INPUT"),
    JSON,
    force("report"),
    Option("-v --verbose", "print VMCOREINFO too"),
)


def _as_json(source: Source, knowledge: Knowledge) -> dict[str, Any]:
    names = dict(
        zip(("sysname", "nodename", "release", "version", "machine", "domainname"), knowledge.identity.utsname)
    )
    ranges = list(islice(source.ranges(), _MOST_RANGES + 1))
    info = knowledge.info
    return {
        "format": source.format,
        "size": source.file.size,
        "header": source.header,
        "machine": source.machine,
        "byte_order": source.byte_order,
        "page_size": knowledge.page_size,
        "dump_level": source.dump_level,
        "incomplete": source.incomplete,
        "kernel": names,
        "crash_time": knowledge.identity.crash_time,
        "cpus": len(source.cpus),
        "memory": {
            "end": source.end(),
            "ranges": [
                {"start": r.start, "end": r.end, "stored": max(0, r.stored_end - r.start)}
                for r in ranges[:_MOST_RANGES]
            ],
            "more_ranges": len(ranges) > _MOST_RANGES,
        },
        "memory_model": knowledge.memmap.model if knowledge.memmap is not None else None,
        "translation": knowledge.memory.translator.notes if knowledge.memory is not None else [],
        "erased": _erased(source),
        "vmcoreinfo": info.text.decode("ascii", "replace").splitlines() if info is not None else None,
        "problem": knowledge.problem,
        "contents": contents(source),
        "odd": source.remarks + knowledge.notes,
    }


def _erased(source: Source) -> list[str]:
    """The ERASEINFO note, in which makedumpfile lists the data that it erased, a line each."""
    text = note_text(source.notes, source.byte_order, elf.NOTE_ERASEINFO) or b""
    return text.decode("ascii", "backslashreplace").splitlines()


def _print(facts: dict[str, Any], verbose: bool) -> None:
    kernel = facts["kernel"]
    when = facts["crash_time"]
    rows = [
        ("Format", facts["format"]),
        ("File size", size_text(facts["size"])),
        ("Machine", f"{facts['machine']}, {facts['byte_order']}-endian, pages of {facts['page_size']} bytes"),
        ("Kernel", f"{kernel['sysname']} {kernel['release']} {kernel['version']}".strip() or "unknown"),
        ("Host name", kernel["nodename"] or "unknown"),
        ("Crash time", date_text(when) if when else "unknown"),
        ("CPUs", str(facts["cpus"])),
        ("Dump level", str(facts["dump_level"])),
        *([("Erased", f"{len(facts['erased'])} lines (--json has them)")] if facts["erased"] else []),
        ("Complete", "no" if facts["incomplete"] else "yes"),
        ("Memory model", facts["memory_model"] or f"not found: {facts['problem']}"),
        ("Translation", "; ".join(facts["translation"]) or "none"),
        ("VMCOREINFO", f"{len(facts['vmcoreinfo'])} lines" if facts["vmcoreinfo"] is not None else "none"),
    ]
    lists = {name: value for name, value in facts["header"].items() if isinstance(value, list)}
    rows += [(name.replace("_", " "), str(value)) for name, value in facts["header"].items() if name not in lists]
    width = max(len(name) for name, _ in rows) + 1
    for name, value in rows:
        print_line(f"{name + ':':<{width}} {value}")
    for name, lines in lists.items():
        print_line(f"{name.replace('_', ' ').capitalize()}:")
        for line in lines[:_MOST_RANGES]:
            print_line(f"  {line}")
        if len(lines) > _MOST_RANGES:
            print_line(f"  and {len(lines) - _MOST_RANGES} more")
    print_line("Memory:")
    for one in facts["memory"]["ranges"]:
        absent = one["end"] - one["start"] - one["stored"]
        print_line(
            f"  {one['start']:#018x} - {one['end'] - 1:#018x}  {size_text(one['end'] - one['start']):>10}"
            + (f", {size_text(absent)} of it not stored" if absent else "")
        )
    if facts["memory"]["more_ranges"]:
        print_line("  and more")
    _print_contents(facts["contents"])
    for line in facts["odd"]:
        print_line(f"Odd: {line}")
    if verbose and facts["vmcoreinfo"] is not None:
        print_line("VMCOREINFO:")
        for line in facts["vmcoreinfo"]:
            print_line(f"  {line}")


def _print_contents(classes: list[dict[str, Any]]) -> None:
    if classes:
        print_contents(classes)
        print_line(
            "To open it: crash --zero_excluded, or drgn. To filter it again: vmsieve dump, as others lose pages."
        )


def _run(arguments: Arguments) -> int:
    report, here = Report(arguments, [arguments.input, arguments.vmcoreinfo, arguments.vmlinux]), dict[str, Any]()
    if arguments.codecs:
        from vmsieve.pipeline.cli.commands._codecs import describe_codecs

        here["here"] = describe_codecs()
    if arguments.input is None:
        if not here:
            raise UsageError("an INPUT or --codecs is needed")
        report.show(here, lambda: _print_all({}, here, verbose=False))
        return EXIT_OK
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux) as (source, knowledge):
        source.remarks += source.note_shrinking()
        facts = _as_json(source, knowledge)
        report.show({**facts, **here}, lambda: _print_all(facts, here, verbose=arguments.verbose))
        return EXIT_INCOMPLETE if source.incomplete or source.shrunk() else EXIT_OK


def _print_all(facts: dict[str, Any], here: dict[str, Any], *, verbose: bool) -> None:
    if here:
        from vmsieve.pipeline.cli.commands._codecs import print_codecs

        print_codecs(here["here"])
    if facts:
        _print(facts, verbose)


COMMAND: Final = Command(
    "info", 20, "describe a dump: format, machine, kernel, crash time, memory", _EXAMPLES, _OPTIONS, _run
)
