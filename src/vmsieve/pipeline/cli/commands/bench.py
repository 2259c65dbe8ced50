"""``vmsieve bench``: what the main job costs on this machine, codec by codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import add_input, opened, print_json, tell
from vmsieve.pipeline.dump.plan import EXIT_OK
from vmsieve.pipeline.process.progress import progress_for

if TYPE_CHECKING:
    import argparse

    from vmsieve.pipeline.inspect.bench import Bench, Packing

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve bench vmcore                                    every codec at some levels, with one thread and with all
  vmsieve bench --codec zstd:1 --codec zstd:3 vmcore
  vmsieve bench --output-speed 1000 --seconds 20 vmcore   for a disk that takes 1 GB/s
"""

_MOST_SAMPLE = 4096  # MiB
_AIMS: Final = {
    "fastest": "Fastest:",
    "smallest": "Smallest:",
    "balanced": "Balanced:",
}


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise ValueError
    return number


def _threads(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",")]
    if not all(1 <= number <= 1024 for number in numbers):
        raise ValueError
    return numbers


def _configure(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    parser.add_argument(
        "--codec", metavar="NAME[:LEVEL]", action="append", default=[],
        help="try this codec, at this level; repeatable (default: all, at some levels)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", metavar="N,...", type=_threads, help="numbers of threads to try (default: 1 and one a core)"
    )
    parser.add_argument(
        "--sample", metavar="MIB", type=_positive, default=256, help="pages to hold in memory (default: 256 MiB)"
    )
    parser.add_argument("--seconds", metavar="S", type=_positive, default=60, help="time to spend, about (default: 60)")
    parser.add_argument(
        "--output-speed", metavar="MB/S", type=_positive, default=100,
        help="what the output takes, for the balanced choice (default: 100, a network of 1 Gbit/s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


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
        print(_line(packing) if packing.content else f"{packing.choice.codec}: there was nothing to pack")
    print()
    for aim, packing in recommend(result.packings, output).items():
        choice = packing.choice
        words = f"--codec {choice.codec}:{choice.level} --threads {choice.threads}"
        note = f", done first if the output takes {output / 1e6:.0f} MB/s" if aim == "balanced" else ""
        print(f"{_AIMS[aim]:<10} {words:<31} {packing.rate / 1e6:.0f} MB/s, {100 * packing.ratio:.1f} %{note}")


def _run(arguments: argparse.Namespace) -> int:
    from vmsieve.pipeline.dump.pool import usable_cores
    from vmsieve.pipeline.inspect.bench import as_json, bench, choices

    if arguments.sample > _MOST_SAMPLE:
        raise UsageError("--sample is memory to hold", expected=f"at most {_MOST_SAMPLE} MiB")
    wanted = choices(arguments.codec, arguments.threads or [1, usable_cores()])
    output = arguments.output_speed * 1e6
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select) as (source, knowledge):
        result = bench(
            source, knowledge, wanted, progress_for(quiet=arguments.json),
            sample=int(arguments.sample * (1 << 20)), seconds=arguments.seconds,
        )  # fmt: skip
        tell(source.oddities + knowledge.notes + result.notes)
    if arguments.json:
        print_json(as_json(result, output))
    else:
        _print(result, output)
    return EXIT_OK


COMMAND: Final = Command(
    "bench", 60, "measure each step and codec on a dump's own pages, and recommend one", _EXAMPLES, _configure, _run
)
