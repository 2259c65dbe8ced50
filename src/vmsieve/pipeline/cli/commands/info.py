"""``vmsieve info``: what a dump is, before anything is done with it."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from vmsieve.formats.errors import UsageError
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import note_text
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import add_input, add_vmlinux, opened, print_json
from vmsieve.pipeline.dump.plan import EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.process.streams import say

if TYPE_CHECKING:
    import argparse

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve info vmcore
  vmsieve info --json vmcore | jq .kernel.release
  vmsieve info --codecs                                which library packs what on this machine
"""

_MOST_RANGES = 64  # shown; a filtered dump can have millions


def _configure(parser: argparse.ArgumentParser) -> None:
    add_input(parser, optional=True)
    add_vmlinux(parser)
    parser.add_argument("--codecs", action="store_true", help="tell which library each codec runs on; needs no INPUT")
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("--json", action="store_true", help="print JSON")
    voice.add_argument("-v", dest="verbose", action="store_true", help="print VMCOREINFO too")


def _facts(source: Source, knowledge: Knowledge) -> dict[str, Any]:
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
        "translation": knowledge.memory.translator.describe() if knowledge.memory is not None else [],
        "erased": _erased(source),
        "vmcoreinfo": info.text.decode("ascii", "replace").splitlines() if info is not None else None,
        "problem": knowledge.problem,
        "odd": source.oddities + knowledge.notes,
    }


def _erased(source: Source) -> list[str]:
    """What makedumpfile erased before, a line each."""
    text = note_text(source.notes, source.byte_order, elf.NOTE_ERASEINFO) or b""
    return text.decode("ascii", "backslashreplace").splitlines()


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds since 1970, which no calendar has"


def _print(facts: dict[str, Any], verbose: bool) -> None:
    kernel = facts["kernel"]
    when = facts["crash_time"]
    rows = [
        ("Format", facts["format"]),
        ("File size", size_text(facts["size"])),
        ("Machine", f"{facts['machine']}, {facts['byte_order']}-endian, pages of {facts['page_size']} bytes"),
        ("Kernel", f"{kernel['sysname']} {kernel['release']} {kernel['version']}".strip() or "unknown"),
        ("Host name", kernel["nodename"] or "unknown"),
        ("Crash time", _date(when) if when else "unknown"),
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
        say(f"{name + ':':<{width}} {value}")
    for name, lines in lists.items():
        say(f"{name.replace('_', ' ').capitalize()}:")
        for line in lines[:_MOST_RANGES]:
            say(f"  {line}")
        if len(lines) > _MOST_RANGES:
            say(f"  and {len(lines) - _MOST_RANGES} more")
    say("Memory:")
    for one in facts["memory"]["ranges"]:
        absent = one["end"] - one["start"] - one["stored"]
        say(
            f"  {one['start']:#018x} - {one['end'] - 1:#018x}  {size_text(one['end'] - one['start']):>10}"
            + (f", {size_text(absent)} of it not stored" if absent else "")
        )
    if facts["memory"]["more_ranges"]:
        say("  and more")
    for line in facts["odd"]:
        say(f"Odd: {line}")
    if verbose and facts["vmcoreinfo"] is not None:
        say("VMCOREINFO:")
        for line in facts["vmcoreinfo"]:
            say(f"  {line}")


def _run(arguments: argparse.Namespace) -> int:
    here = None
    if arguments.codecs:
        from vmsieve.pipeline.cli.commands._codecs import codec_facts, print_codecs

        here = codec_facts()
        if not arguments.json:
            print_codecs(here)
    if arguments.input is not None:
        return _tell(arguments, {"here": here} if here else {})
    if here is None:
        raise UsageError("info of what? Name an INPUT, or ask for --codecs")
    if arguments.json:
        print_json({"here": here})
    return EXIT_OK


def _tell(arguments: argparse.Namespace, more: dict[str, Any]) -> int:
    """About the input; ``more``: what JSON says besides."""
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux) as (source, knowledge):
        source.oddities += source.note_shrinking()
        facts = _facts(source, knowledge)
        if arguments.json:
            print_json({**facts, **more})
        else:
            _print(facts, arguments.verbose)
        return EXIT_INCOMPLETE if source.incomplete or source.shrunk() else EXIT_OK


COMMAND: Final = Command(
    "info", 20, "say what a dump is: format, machine, kernel, crash time, memory", _EXAMPLES, _configure, _run
)
