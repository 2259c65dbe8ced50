"""``vmsieve bench``: the cost of each step and codec on this machine.

Reads a sample of the pages of ``INPUT``, packs it with each codec and number of threads, and recommends the fastest,
the smallest and a balanced choice.
"""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import Any, Callable, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import DUMP, JSON, force
from vmsieve.pipeline.cli.printing import Report, print_remarks
from vmsieve.pipeline.dump.plan import parse_size
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.options import Option, number
from vmsieve.pipeline.process.saving import check_saved, files_read

_EXAMPLES = """\
  vmsieve bench vmcore                                    every codec at some levels, with one thread and with all
  vmsieve bench --codec zstd:1 --codec zstd:3 vmcore
  vmsieve bench --html bench.html vmcore                  also as a page with bars
  vmsieve bench --output-speed 1G --seconds 20 vmcore     for a disk that takes 1 GiB/s
"""

_MOST_SAMPLE = 4096  # MiB


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError("a number above 0")
    return value


def _in_bytes(unit: int) -> Callable[[str], float]:
    """A conversion to bytes; a number without a unit is in units of ``unit`` bytes, as it was before there were any."""

    def convert(text: str) -> float:
        if text[-1:].isalpha():
            return parse_size(text)
        try:
            return _positive(text) * unit
        except ValueError:
            raise ValueError("a size above 0, such as 64M or 1GiB") from None

    return convert


def _threads(text: str) -> list[int]:
    convert = number(1, 1024)
    return [convert(word) for word in text.split(",")]


_OPTIONS: Final = (
    *DUMP,
    Option("--codec", "try this codec, at this level; repeatable (default: all, at some levels)",
           metavar="NAME[:LEVEL]", default=[], repeated=True),
    Option("--threads", "numbers of threads to try (default: 1 and one a core)", metavar="N,...", convert=_threads),
    Option("--sample", "pages to hold in memory; MiB if no unit is given (default: 256 MiB)", metavar="SIZE",
           convert=_in_bytes(1 << 20), default=256 << 20),
    Option("--seconds", "time to spend, about (default: 60)", metavar="S", convert=_positive, default=60),
    Option("--output-speed", "bytes per second that the output takes, for the balanced choice; MB (10^6) if no "
           "unit is given (default: 100, a network of 1 Gbit/s)",
           metavar="SIZE", convert=_in_bytes(1_000_000), default=100_000_000),
    JSON,
    Option("--html", "also draw the results: a page with bars", metavar="FILE"),
    force("page or report"),
)  # fmt: skip


def _row(packing: dict[str, Any]) -> str:
    if not packing["bytes"]:
        return f"{packing['codec'].partition(':')[0]}: nothing to pack"
    cpu = packing["cpu_seconds"] / max(packing["bytes"] / 1e9, 1e-9)
    return (
        f"{packing['codec']:<10} {packing['threads']:>7} {packing['bytes_per_second'] / 1e6:>9.0f} "
        f"{cpu:>9.2f} {100 * packing['ratio']:>6.1f} %  {packing['provider']}"
    )


def _print(facts: dict[str, Any]) -> None:
    read, zeros = (facts[step]["bytes_per_second"] / 1e9 for step in ("read", "zero_check"))
    rate = facts["classify"]["pages_per_second"] / 1e6
    sampled, zero = facts["read"]["bytes"] // facts["page_size"], facts["zero_check"]["zero_pages"]
    kept = f"level {facts['level']} keeps {facts['kept']:,}"
    print(f"{'Classify:':<16} {facts['pages']:,} page frames at {rate:.1f} million/s; {kept}")
    print(f"{'Read:':<16} {read:.2f} GB/s of {sampled:,} pages (from memory, where the input is cached)")
    print(f"{'Look for zeros:':<16} {zeros:.1f} GB/s; {zero:,} of the pages are zero")
    print(f"\n{'Codec':<10} {'threads':>7} {'MB/s':>9} {'CPU s/GB':>9} {'size':>8}  by")
    for one in facts["packings"]:
        print(_row(one))
    print()
    output = facts["output_bytes_per_second"] / 1e6
    for aim, one in facts["recommended"].items():
        words = f"--codec {one['codec']} --threads {one['threads']}"
        costs = f"{one['bytes_per_second'] / 1e6:.0f} MB/s, {100 * one['ratio']:.1f} %"
        note = f", done first if the output takes {output:.0f} MB/s" if aim == "balanced" else ""
        print(f"{aim.capitalize() + ':':<10} {words:<31} {costs}{note}")


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.dump.input import opened
    from vmsieve.pipeline.dump.pool import usable_cores
    from vmsieve.pipeline.inspect.bench import as_json, bench, choices
    from vmsieve.pipeline.inspect.bench_page import write_page
    from vmsieve.pipeline.process.progress import progress_for

    if arguments.sample > _MOST_SAMPLE << 20:
        raise UsageError("--sample is held in memory", expected=f"at most {_MOST_SAMPLE} MiB")
    inputs = files_read(arguments.input, arguments.vmcoreinfo)
    report = Report(arguments, inputs)
    if arguments.html is not None:
        check_saved(arguments.html, inputs, force=arguments.force, what="page")
    wanted = choices(arguments.codec, arguments.threads or [1, usable_cores()])
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select) as (source, knowledge):
        result = bench(
            source, knowledge, wanted, progress_for(quiet=not report.printed),
            sample=int(arguments.sample), seconds=arguments.seconds,
        )  # fmt: skip
        print_remarks(source.remarks + knowledge.notes + result.notes)
        release = knowledge.identity.utsname[2]
    facts = as_json(result, arguments.output_speed)
    report.show(facts, lambda: _print(facts))
    if arguments.html is not None:
        write_page(arguments.html, arguments.input, release, facts, inputs, force=arguments.force)
    return EXIT_OK


COMMAND: Final = Command(
    "bench", 60, "measure each step and codec on a dump's own pages, and recommend one", _EXAMPLES, _OPTIONS, _run
)
