"""Our encoders compared with the C libraries, and compiled loops with loops in C.

    python -m perf.ceiling VMCORE --rounds 7

For each codec, a loop in C (``ceiling.c``, compiled with ``cc``) and vmsieve's loop pack the same pages of a real dump,
each in its own process, in turn; only the CPU seconds of the loops count, the least of all passes. Both call the same
library where vmsieve uses one. Where the encoder is vmsieve's own, C calls the library that it replaces. There, sizes
are compared too, and unpacking where it is ours.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from perf import options, records
from perf.measure import CommandError, environment, interleave, table
from perf.sample import write_sample
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.codecs._pack import pack_pages, unpack_pages

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_PAGE: Final = 4096
_BATCH: Final = 256
_SOURCE: Final = Path(__file__).with_name("ceiling.c")
_COMPARED: Final = ("lzo", "snappy", "zlib:0", "zlib:1", "zlib:6", "zstd:0", "zstd:1", "zstd:3")
#: The libraries that our own encoders are compared with, at level 1 or the same level: kind, file, actions.
_OURS: Final = {
    "lzo": ("lzo", "liblzo2.so.2", ("pack", "unpack")),
    "snappy": ("snappy", "libsnappy.so.1", ("pack", "unpack")),
    "zlib": ("libdeflate", "libdeflate.so.0", ("pack",)),
    "zstd": ("zstd", "libzstd.so.1", ("pack",)),
}


class Job(NamedTuple):
    """One comparison: our codec and level, and the library that C calls for it."""

    codec: str
    level: int
    library_level: int
    kind: str
    library: str
    action: str


class Result(NamedTuple):
    """CPU seconds of the fastest pass over the pages, and the bytes they packed into."""

    seconds: float
    size: int


def find_jobs(levels: Sequence[str]) -> tuple[list[Job], list[str]]:
    """List the comparisons that this machine allows, and sentences on the others."""
    jobs, missing = [], []
    for text in levels:
        name, _, number = text.partition(":")
        level = int(number or 1)
        state = codec(name).open_compressor(level, _PAGE)
        if state.provider == "built in":
            kind, library_name, actions = _OURS[name]
            jobs += [Job(name, level, max(level, 1), kind, library_name, action) for action in actions]
        elif not state.keep or not hasattr(state.keep[0], "_name"):
            missing.append(f"{text} comes from {state.provider}: nothing to compare with")
        else:
            library: ctypes.CDLL = state.keep[0]
            kind = "libdeflate" if "libdeflate" in state.provider else name
            where = str(library._name)  # noqa: SLF001 - where it was found
            jobs.append(Job(name, level, level, kind, where, "pack"))
    for job in list(jobs):
        try:
            ctypes.CDLL(job.library)
        except OSError:
            jobs.remove(job)
            missing.append(f"{job.library} is not installed: {job.codec} is not compared")
    return jobs, list(dict.fromkeys(missing))


def loop_pass(job: Job, path: Path, passes: int) -> Result:
    """Run our loop in this process; unpacking takes the library's output."""
    pages = bytearray(path.read_bytes())
    out = bytearray((_BATCH + 1) * _PAGE)
    index, sizes, flags = ((ctypes.c_uint32 * _BATCH)() for _ in range(3))
    index[:] = list(range(_BATCH))
    which = codec_number(job.codec)
    packer = codec(job.codec).open_compressor(job.level, _PAGE)
    unpacker = codec(job.codec).open_decompressor(_PAGE)
    # The first call loads the loop.
    pack_pages(which, packer.address, 0, 0, 0, _PAGE, 0, 1, 0, 0, 0, 0)
    unpack_pages(which, unpacker.address, 0, 0, 0, _PAGE, 0)
    took, total = [], 0
    for number in range(passes):
        seconds = 0.0
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
                ctypes.addressof(sizes), ctypes.addressof(flags), address_of(out), 0,
            )  # fmt: skip
            seconds += time.process_time() - began
            total += size if number == 0 else 0
        took.append(seconds)
    return Result(min(took), total)


def c_pass(job: Job, path: Path, passes: int, program: str) -> Result:
    """Run the C loop in this process."""
    pages = bytearray(path.read_bytes())
    loop = ctypes.CDLL(program).ceiling
    loop.restype = ctypes.c_double
    packed = ctypes.c_size_t()
    handle = ctypes.c_void_p(ctypes.CDLL(job.library)._handle)  # noqa: SLF001 - what dlopen gave
    seconds: float = loop(
        handle, job.kind.encode(), job.library_level, int(job.action == "unpack"), ctypes.c_void_p(address_of(pages)),
        ctypes.c_size_t(len(pages) // _PAGE), passes, ctypes.byref(packed),
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


def compare(jobs: Sequence[Job], program: Path, pages: Path, rounds: int, passes: int) -> list[dict[str, Any]]:
    """Return a row for each job: ``ratio`` is our CPU time to C's."""
    rows = []
    content = pages.stat().st_size
    for job in jobs:
        words = [*(str(word) for word in job), str(pages), str(passes)]
        command = [sys.executable, "-m", "perf.ceiling", "--pass"]
        cases: dict[str, Callable[[], Result]] = {
            "ours": partial(_ask, [*command, *words]),
            "c": partial(_ask, [*command, *words, str(program)]),
        }
        found = interleave(cases, rounds)
        ours, c = (min(r.seconds for r in found[name]) for name in ("ours", "c"))
        row = {
            "codec": job.codec, "level": job.level, "library": Path(job.library).name, "action": job.action,
            "mb_s": round(content / ours / 1e6, 1), "c_mb_s": round(content / c / 1e6, 1), "ratio": round(ours / c, 4),
        }  # fmt: skip
        if job.action == "pack":
            row["size_ratio"] = round(found["ours"][0].size / found["c"][0].size, 4)
        rows.append(row)
    return rows


def build(folder: Path) -> Path | None:
    """Compile the C loops; None if there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = folder / "ceiling.so"
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(program), str(_SOURCE)], check=True)
    return program


def _print(rows: list[dict[str, Any]]) -> None:
    names = ["codec", "level", "library", "action", "mb_s", "c_mb_s", "ratio", "size_ratio"]
    print(table([names, *([row.get(name, "") for name in names] for row in rows)]))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options.parser("ceiling", __doc__, 7, "--json")
    parser.add_argument("dump", type=Path, help="a dump with pages of 4 KiB")
    parser.add_argument("--passes", type=int, default=3, help="over the pages in each round (default: 3)")
    parser.add_argument("--sample", type=int, default=64, metavar="MIB", help="pages with content (default: 64)")
    parser.add_argument(
        "--codecs", metavar="NAME:LEVEL,...", type=lambda text: text.split(","),
        default=list(_COMPARED), help="what is compared",
    )  # fmt: skip
    return parser.parse_args(argv)


def _pass(words: Sequence[str]) -> Result:
    """Run one pass in this process for the parent: our loop, or the C program named last."""
    name, level, library_level, kind, library, action, pages, passes, *program = words
    job = Job(name, int(level), int(library_level), kind, library, action)
    if program:
        return c_pass(job, Path(pages), int(passes), program[0])
    return loop_pass(job, Path(pages), int(passes))


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
        program = build(folder)
        if program is None:
            print("there is no C compiler: nothing to compare with", file=sys.stderr)
            return 1
        pages = folder / "pages"
        count = write_sample(arguments.dump, pages, (arguments.sample << 20) // _PAGE)
        rows = compare(jobs, program, pages, arguments.rounds, arguments.passes)
    for line in missing:
        print(line, file=sys.stderr)
    _print(rows)
    result: dict[str, Any] = {
        "kind": "ceiling", **records.machine({"cc": ["cc", "--version"]}), "rounds": arguments.rounds, "pages": count,
        "cache": {"state": "in memory"}, "dump": "/".join(arguments.dump.parts[-2:]), "missing": missing, "rows": rows,
    }  # fmt: skip
    print(f"written: {records.save('ceiling', result, arguments.json)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
