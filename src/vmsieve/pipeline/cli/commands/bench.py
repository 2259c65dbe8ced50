"""``vmsieve bench``: the cost of each step and codec on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import DUMP, JSON
from vmsieve.pipeline.cli.printing import print_json, print_remarks
from vmsieve.pipeline.dump.input import opened
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.options import Option, number
from vmsieve.pipeline.process.progress import progress_for

if TYPE_CHECKING:
    from vmsieve.pipeline.inspect.bench import Bench, Packing

_EXAMPLES = """\
  vmsieve bench vmcore                                    every codec at some levels, with one thread and with all
  vmsieve bench --codec zstd:1 --codec zstd:3 vmcore
  vmsieve bench --output-speed 1000 --seconds 20 vmcore   for a disk that takes 1 GB/s
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


def _threads(text: str) -> list[int]:
    convert = number(1, 1024)
    return [convert(word) for word in text.split(",")]


_OPTIONS: Final = (
    *DUMP,
    Option("--codec", "try this codec, at this level; repeatable (default: all, at some levels)",
           metavar="NAME[:LEVEL]", default=[], repeated=True),
    Option("--threads", "numbers of threads to try (default: 1 and one a core)", metavar="N,...", convert=_threads),
    Option("--sample", "pages to hold in memory (default: 256 MiB)", metavar="MIB", convert=_positive, default=256),
    Option("--seconds", "time to spend, about (default: 60)", metavar="S", convert=_positive, default=60),
    Option("--output-speed", "speed of the output, for the balanced choice (default: 100, a network of 1 Gbit/s)",
           metavar="MB/S", convert=_positive, default=100),
    JSON,
)  # fmt: skip


def _line(packing: Packing) -> str:
    choice = packing.choice
    gigabytes = max(packing.content / 1e9, 1e-9)
    return (
        f"{choice.codec + ':' + str(choice.level):<10} {choice.threads:>7} {packing.rate / 1e6:>9.0f} "
        f"{packing.cpu / gigabytes:>9.2f} {100 * packing.ratio:>6.1f} %  {packing.provider}"
    )


def _print(result: Bench, output: float) -> None:
    from vmsieve.pipeline.inspect.bench import LEVEL, recommend

    read, zeros = (size / max(seconds, 1e-9) / 1e9 for size, seconds in (result.read, result.zeros))
    rate = result.pages / max(result.classify, 1e-9) / 1e6
    sampled = result.read[0] // result.page_size
    print(
        f"{'Classify:':<16} {result.pages:,} page frames at {rate:.1f} million/s; level {LEVEL} keeps {result.kept:,}"
    )
    print(f"{'Read:':<16} {read:.2f} GB/s of {sampled:,} pages (from memory, where the input is cached)")
    print(f"{'Look for zeros:':<16} {zeros:.1f} GB/s; {result.zero_pages:,} of the pages are zero")
    print(f"\n{'Codec':<10} {'threads':>7} {'MB/s':>9} {'CPU s/GB':>9} {'size':>8}  by")
    for packing in result.packings:
        print(_line(packing) if packing.content else f"{packing.choice.codec}: nothing to pack")
    print()
    for aim, packing in recommend(result.packings, output).items():
        choice = packing.choice
        words = f"--codec {choice.codec}:{choice.level} --threads {choice.threads}"
        note = f", done first if the output takes {output / 1e6:.0f} MB/s" if aim == "balanced" else ""
        print(
            f"{aim.capitalize() + ':':<10} {words:<31} {packing.rate / 1e6:.0f} MB/s, {100 * packing.ratio:.1f} %{note}"
        )


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.dump.pool import usable_cores
    from vmsieve.pipeline.inspect.bench import as_json, bench, choices

    if arguments.sample > _MOST_SAMPLE:
        raise UsageError("--sample is held in memory", expected=f"at most {_MOST_SAMPLE} MiB")
    wanted = choices(arguments.codec, arguments.threads or [1, usable_cores()])
    output = arguments.output_speed * 1e6
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select) as (source, knowledge):
        result = bench(
            source, knowledge, wanted, progress_for(quiet=arguments.json),
            sample=int(arguments.sample * (1 << 20)), seconds=arguments.seconds,
        )  # fmt: skip
        print_remarks(source.remarks + knowledge.notes + result.notes)
    if arguments.json:
        print_json(as_json(result, output))
    else:
        _print(result, output)
    return EXIT_OK


COMMAND: Final = Command(
    "bench", 60, "measure each step and codec on a dump's own pages, and recommend one", _EXAMPLES, _OPTIONS, _run
)
