"""Compiled loops compared with C, and our LZO and snappy with the C libraries.

    python -m perf.ceiling VMCORE --runs 7

For each codec, a loop in C (``ceiling.c``, compiled with ``cc``) and vmsieve's loop pack the same pages of a real dump
with the same library, each in its own process, in turn; only the CPU seconds of the loops count. Our LZO and snappy
encoders are loops themselves: C calls liblzo2 and libsnappy, and libdeflate for zlib at level 1. There, sizes are
compared too, and unpacking where it is ours.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from perf.measure import CommandError, environment, interleave, machine, table, write_json
from perf.sample import write_sample
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.codecs._pack import pack_pages, unpack_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["main"]

_PAGE: Final = 4096
_BATCH: Final = 256
_SOURCE: Final = Path(__file__).with_name("ceiling.c")
_COMPARED: Final = ("lzo", "snappy", "zlib:1", "zstd:1", "zstd:3", "zlib:6")
#: The libraries that our own encoders are compared with.
_OURS: Final = {
    "lzo": ("lzo", "liblzo2.so.2", ("pack", "unpack")),
    "snappy": ("snappy", "libsnappy.so.1", ("pack", "unpack")),
    "zlib:1": ("libdeflate", "libdeflate.so.0", ("pack",)),
}


class Job(NamedTuple):
    """One comparison: our codec and level, and the library that C calls for it."""

    codec: str
    level: int
    kind: str
    library: str
    action: str


class Result(NamedTuple):
    """CPU seconds of one pass over the pages, and the bytes they packed into."""

    seconds: float
    size: int


def find_jobs(levels: Sequence[str]) -> tuple[list[Job], list[str]]:
    """List the comparisons that this machine allows, and sentences on the others."""
    jobs, missing = [], []
    for text in levels:
        name, _, level = text.partition(":")
        if text in _OURS:
            kind, library_name, actions = _OURS[text]
            jobs += [Job(name, 1, kind, library_name, action) for action in actions]
            continue
        state = codec(name).open_compressor(int(level), _PAGE)
        if not state.keep or not hasattr(state.keep[0], "_name"):
            missing.append(f"{text} comes from {state.provider}: nothing to compare with")
        else:
            library: ctypes.CDLL = state.keep[0]
            kind = "libdeflate" if "libdeflate" in state.provider else name
            jobs.append(Job(name, int(level), kind, str(library._name), "pack"))  # noqa: SLF001 - where it was found
    for job in list(jobs):
        try:
            ctypes.CDLL(job.library)
        except OSError:
            jobs.remove(job)
            missing.append(f"{job.library} is not installed: {job.codec} is not compared")
    return jobs, list(dict.fromkeys(missing))


def loop_pass(job: Job, path: Path, rounds: int) -> Result:
    """Run our loop in this process; unpacking takes the library's output."""
    pages = bytearray(path.read_bytes())
    out = bytearray((_BATCH + 1) * _PAGE)
    index, sizes, flags = ((ctypes.c_uint32 * _BATCH)() for _ in range(3))
    index[:] = list(range(_BATCH))
    which = codec_number(job.codec)
    packer = codec(job.codec).open_compressor(job.level, _PAGE)
    unpacker = codec(job.codec).open_decompressor(_PAGE)
    # The first call loads the loop.
    pack_pages(which, packer.address, 0, 0, 0, _PAGE, 0, 1, 0, 0, 0)
    unpack_pages(which, unpacker.address, 0, 0, 0, _PAGE, 0)
    seconds, total = 0.0, 0
    for number in range(rounds):
        for at in range(0, len(pages), _BATCH * _PAGE):
            count = min(_BATCH, (len(pages) - at) // _PAGE)
            if job.action == "unpack":
                table, packed = _pack_by_library(job, pages, at, count)
                address, room = address_of(packed), address_of(out)
                began = time.process_time()
                done = unpack_pages(which, unpacker.address, count, ctypes.addressof(table), address, _PAGE, room)
                seconds += time.process_time() - began
                if done != count or out[: count * _PAGE] != pages[at : at + count * _PAGE]:
                    raise CommandError(f"{job.codec}: a page packed by the library is not unpacked")
                continue
            began = time.process_time()
            size = pack_pages(
                which, packer.address, count, address_of(pages) + at, ctypes.addressof(index), _PAGE, 0, 1,
                ctypes.addressof(sizes), ctypes.addressof(flags), address_of(out),
            )  # fmt: skip
            seconds += time.process_time() - began
            total += size if number == 0 else 0
    return Result(seconds / rounds, total)


def c_pass(job: Job, path: Path, rounds: int, program: str) -> Result:
    """Run the C loop in this process."""
    pages = bytearray(path.read_bytes())
    loop = ctypes.CDLL(program).ceiling
    loop.restype = ctypes.c_double
    packed = ctypes.c_size_t()
    handle = ctypes.c_void_p(ctypes.CDLL(job.library)._handle)  # noqa: SLF001 - what dlopen gave
    seconds: float = loop(
        handle, job.kind.encode(), job.level, int(job.action == "unpack"), ctypes.c_void_p(address_of(pages)),
        ctypes.c_size_t(len(pages) // _PAGE), rounds, ctypes.byref(packed),
    )  # fmt: skip
    return Result(seconds, packed.value)


def _pack_by_library(
    job: Job, pages: bytearray, at: int, count: int
) -> tuple[ctypes.Array[ctypes.c_uint64], bytearray]:
    """Pack pages with the library; return the table that our loop takes, and the packed bytes."""
    library = ctypes.CDLL(job.library)
    room, size, work = ctypes.create_string_buffer(2 * _PAGE), ctypes.c_size_t(), ctypes.create_string_buffer(1 << 19)
    table = (ctypes.c_uint64 * (2 * count))()
    packed = bytearray()
    for k in range(count):
        page = bytes(pages[at + k * _PAGE : at + (k + 1) * _PAGE])
        size.value = 2 * _PAGE
        if job.kind == "lzo":
            library.lzo1x_1_compress(page, ctypes.c_size_t(_PAGE), room, ctypes.byref(size), work)
        else:
            library.snappy_compress(page, ctypes.c_size_t(_PAGE), room, ctypes.byref(size))
        content = room.raw[: size.value] if size.value < _PAGE else page
        table[2 * k] = len(packed)
        table[2 * k + 1] = len(content) | (len(content) < _PAGE) << 32
        packed += content
    return table, packed


def _ask(command: Sequence[str]) -> Result:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: {done.stderr.strip()}")
    seconds, size = done.stdout.split()
    return Result(float(seconds), int(size))


def compare(jobs: Sequence[Job], program: Path, pages: Path, runs: int, rounds: int) -> list[dict[str, Any]]:
    """Return the medians of each job."""
    rows = []
    content = pages.stat().st_size
    for job in jobs:
        words = [*(str(word) for word in job), str(pages), str(rounds)]
        command = [sys.executable, "-m", "perf.ceiling", "--pass"]
        cases: dict[str, Callable[[], Result]] = {
            "kernel": partial(_ask, [*command, *words]),
            "c": partial(_ask, [*command, *words, str(program)]),
        }
        found = interleave(cases, runs)
        kernel, c = (statistics.median(r.seconds for r in found[name]) for name in ("kernel", "c"))
        rows.append(
            {
                "codec": job.codec, "level": job.level, "library": Path(job.library).name, "action": job.action,
                "kernel_mb_s": round(content / kernel / 1e6, 1), "c_mb_s": round(content / c / 1e6, 1),
                "speed": round(c / kernel, 4), "kernel_size": found["kernel"][0].size, "c_size": found["c"][0].size,
            }
        )  # fmt: skip
    return rows


def _compile(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = folder / "ceiling.so"
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(program), str(_SOURCE)], check=True)
    return program


def _print(rows: list[dict[str, Any]]) -> None:
    cells: list[list[object]] = [
        ["codec", "level", "library", "action", "kernel MB/s", "C MB/s", "kernel/C", "size kernel/C"]
    ]
    for row in rows:
        size = row["kernel_size"] / row["c_size"] if row["action"] == "pack" else ""
        names = [row[name] for name in ("codec", "level", "library", "action")]
        cells.append([*names, row["kernel_mb_s"], row["c_mb_s"], row["speed"], size])
    print(table(cells))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.ceiling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dump", type=Path, help="a dump with pages of 4 KiB")
    parser.add_argument("--runs", type=int, default=7, help="of each (default: 7)")
    parser.add_argument("--rounds", type=int, default=3, help="passes over the pages in each run (default: 3)")
    parser.add_argument("--sample", type=int, default=64, metavar="MIB", help="pages with content (default: 64)")
    parser.add_argument(
        "--codecs", metavar="NAME:LEVEL,...", type=lambda text: text.split(","),
        default=list(_COMPARED), help="what is compared",
    )  # fmt: skip
    parser.add_argument("--json", help="where to write the result (default: among perf/results)")
    return parser.parse_args(argv)


def _pass(words: Sequence[str]) -> Result:
    """Run one pass in this process for the parent: our loop, or the C program named last."""
    name, level, kind, library, action, pages, rounds, *program = words
    job = Job(name, int(level), kind, library, action)
    if program:
        return c_pass(job, Path(pages), int(rounds), program[0])
    return loop_pass(job, Path(pages), int(rounds))


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--pass"]:
        print("{:.6f} {}".format(*_pass(words[1:])))
        return 0
    arguments = _arguments(words)
    jobs, missing = find_jobs(arguments.codecs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = _compile(folder)
        if program is None:
            print("there is no C compiler: nothing to compare with", file=sys.stderr)
            return 1
        pages = folder / "pages"
        count = write_sample(arguments.dump, pages, (arguments.sample << 20) // _PAGE)
        rows = compare(jobs, program, pages, arguments.runs, arguments.rounds)
    for line in missing:
        print(line, file=sys.stderr)
    _print(rows)
    result: dict[str, Any] = {
        "what": "ceiling", "machine": machine({"cc": ["cc", "--version"]}), "runs": arguments.runs, "pages": count,
        "dump": "/".join(arguments.dump.parts[-2:]), "rows": rows, "missing": missing,
    }  # fmt: skip
    print(f"written: {write_json(result, arguments.json, 'ceiling')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
