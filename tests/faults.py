"""The faults that a capture has to stand, one after the other, and a table of what each left.

``python -m tests.faults [DUMP] [NAME...]``, as root: file systems are mounted in a namespace of their own. ``DUMP``
stands for /proc/vmcore (default: the demo). Not a part of ``make test``: it takes minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from tests.dumps import ROOT
from tests.dumps import dump as real_dump
from vmsieve.filters.knowledge import learn
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs.elf import ElfSource

PYTHON = [sys.executable, "-m", "vmsieve"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
KILLS = 60  # of each kind

#: Makes reads of a range of the input fail, as those of a broken module do. Built where there is a C compiler.
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
static int bad(off_t at, size_t size) {
    const char *from = getenv("BAD_FROM"), *to = getenv("BAD_TO");
    return from && at < strtoll(to, 0, 0) && at + (off_t)size > strtoll(from, 0, 0);
}
ssize_t preadv(int fd, const struct iovec *v, int n, off_t at) {
    ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, "preadv");
    size_t size = 0;
    for (int i = 0; i < n; i++) size += v[i].iov_len;
    if (bad(at, size)) { errno = EIO; return -1; }
    return real(fd, v, n, at);
}
ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at) { return preadv(fd, v, n, at); }
ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags) { return preadv(fd, v, n, at); }
ssize_t preadv64v2(int fd, const struct iovec *v, int n, off_t at, int flags) { return preadv(fd, v, n, at); }
ssize_t pread(int fd, void *p, size_t size, off_t at) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    if (bad(at, size)) { errno = EIO; return -1; }
    return real(fd, p, size, at);
}
ssize_t pread64(int fd, void *p, size_t size, off_t at) { return pread(fd, p, size, at); }
void *mmap(void *p, size_t size, int prot, int flags, int fd, off_t at) {
    void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    if (fd >= 0 && (flags & MAP_FIXED) && bad(at, size)) { errno = EIO; return MAP_FAILED; }
    return real(p, size, prot, flags, fd, at);
}
void *mmap64(void *p, size_t size, int prot, int flags, int fd, off_t at) { return mmap(p, size, prot, flags, fd, at); }
"""


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, words)], check=False, text=True, capture_output=True, env=more.pop("env", ENVIRONMENT), **more
    )


class Bench:
    """A dump, a place to work, and the results so far."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self.source, self.scratch = source, scratch
        self.rows: list[tuple[str, int, str, str]] = []
        self.wrong = 0
        whole = scratch / "whole"
        assert run(*PYTHON, "capture", source, whole).returncode == 0
        self.size = sum(path.stat().st_size for path in whole.iterdir())
        self.log = (whole / "vmcore-dmesg.txt").stat().st_size
        shutil.rmtree(whole)

    def capture(self, target: object, *options: object, source: Path | None = None, **more: Any) -> Any:
        return run(*PYTHON, "capture", *options, source or self.source, target, **more)

    def verdict(self, made: Path, source: Path | None = None) -> str:
        """What ``verify`` says of a dump: ``right``, ``torn`` (all that is there is right), ``empty``, ``WRONG``."""
        said = run(*PYTHON, "verify", source or self.source, made)
        return {0: "right", 4: "torn"}.get(said.returncode, f"WRONG ({said.stderr.strip() or said.stdout[-200:]})")

    def left(self, target: Path, source: Path | None = None) -> str:
        """What is in ``target``, in short; counts what must not be there."""
        found = []
        for path in sorted(target.iterdir()) if target.is_dir() else []:
            if path.name.startswith("vmcore-status"):
                with contextlib.suppress(ValueError):
                    told = json.loads(path.read_text() or "null")
                    found.append(f"record: {told['result']}" if told else "no record")
            elif path.name.startswith("vmcore-dmesg"):
                found.append("log" if path.name == "vmcore-dmesg.txt" else "part of the log")
            elif path.name.startswith("vmcore"):
                verdict = self.verdict(path, source) if path.stat().st_size else "empty"
                if "WRONG" in verdict or (path.name == "vmcore" and verdict == "empty"):
                    self.wrong += 1
                found.append(f"{path.name} ({verdict}, {path.stat().st_size >> 10} KiB)")
        return ", ".join(found) or "nothing"

    def row(self, fault: str, status: int, left: str, note: str = "") -> None:
        self.rows.append((fault, status, left, note))
        sys.stdout.write(f"| {fault} | {status} | {left} | {note}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def mounted(bench: Bench, *options: str, device: str = "tmpfs") -> Any:
    place = Path(tempfile.mkdtemp(dir=bench.scratch))
    subprocess.run(["mount", *options, device, str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, stderr=subprocess.DEVNULL)


def last(said: Any) -> str:
    return str(said.stderr.strip().splitlines()[-1] if said.stderr.strip() else "")


def full(bench: Bench) -> None:
    for share in (0, 10, 50, 99):
        size = bench.log + (bench.size - bench.log) * share // 100 + (64 << 10)
        with mounted(bench, "-t", "tmpfs", "-o", f"size={size}") as place:
            said = bench.capture(place)
            bench.row(f"target full at {share} %", said.returncode, bench.left(place))
    image = bench.scratch / "ext4.img"
    with image.open("wb") as file:
        file.truncate(bench.size + (4 << 20))
    run("mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", "-m", "0", image)
    with mounted(bench, "-o", "loop", device=str(image)) as place:
        (place / "ballast").write_bytes(os.urandom(os.statvfs(place).f_bavail * 4096 - bench.size // 2))
        said = bench.capture(place)
        bench.row("ext4 full at 50 %", said.returncode, bench.left(place))
    image.unlink()


def smaller(bench: Bench) -> None:
    with mounted(bench, "-t", "tmpfs", "-o", f"size={bench.size * 105 // 100}") as place:
        said = bench.capture(place, "-d", "1")
        bench.row("level 1 asked, room for level 31 only", said.returncode, bench.left(place))


def read_only(bench: Bench) -> None:
    with mounted(bench, "-t", "tmpfs", "-o", "ro") as place:
        said = bench.capture(place)
        bench.row("target read-only", said.returncode, bench.left(place), last(said))


def unplugged(bench: Bench) -> None:
    # A disk whose own medium is full: what the file system promised it can't write.
    with mounted(bench, "-t", "tmpfs", "-o", f"size={bench.size // 2 + (2 << 20)}") as below:
        image = below / "disk.img"
        with image.open("wb") as file:
            file.truncate(bench.size * 4)
        run("mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=1", "-m", "0", image)
        with mounted(bench, "-o", "loop,errors=remount-ro", device=str(image)) as place:
            said = bench.capture(place)
            bench.row("disk fails half-way (EIO)", said.returncode, bench.left(place), last(said))
    with mounted(bench, "-t", "tmpfs") as place:
        running = subprocess.Popen(
            [*PYTHON, "capture", "--codec", "zlib@libz:9", bench.source, place],
            env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(place / "vmcore-incomplete")
        subprocess.run(["umount", "-l", str(place)], check=True)
        _, said = running.communicate()
        bench.row("target unmounted half-way", running.returncode, bench.left(place), said.strip().splitlines()[-1])


def wait_for(path: Path, size: int = 1 << 20) -> None:
    for _ in range(2000):
        with contextlib.suppress(OSError):
            if path.stat().st_size > size:
                return
        time.sleep(0.01)


def patched(bench: Bench, at: int, data: bytes) -> Path:
    made = bench.scratch / "patched"
    if not made.exists():
        shutil.copy(bench.source, made)
    with made.open("r+b") as file:
        file.seek(at)
        file.write(data)
    return made


def place_of(source: ElfSource, paddr: int) -> int:
    """Where in the file a byte of memory is."""
    whole = source._data
    i = whole.find(paddr)
    return whole.places[i] + paddr - whole.starts[i]


def text_of(bench: Bench) -> int:
    """Where in the file the kernel's text begins."""
    source = open_source(str(bench.source))
    assert isinstance(source, ElfSource)
    knowledge = learn(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    place = place_of(source, knowledge.memory.translator.translate(knowledge.info.need("SYMBOL", "_stext"))[0])
    source.close()
    return place


def kernel(bench: Bench) -> None:
    source = open_source(str(bench.source))
    assert isinstance(source, ElfSource)
    assert source.vmcoreinfo is not None
    with bench.source.open("rb") as file:
        note = file.read(4 << 20).index(source.vmcoreinfo)
    size = len(source.vmcoreinfo)
    knowledge = learn(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    roots, _ = knowledge.memory.translator.translate(knowledge.info.need("SYMBOL", "mem_section"))
    table, _ = knowledge.memory.translator.translate(knowledge.memory.u64(knowledge.info.need("SYMBOL", "mem_section")))
    of_roots, of_table = place_of(source, roots), place_of(source, table)
    source.close()
    for fault, places in {
        "VMCOREINFO note zeroed": [(note, bytes(size))],
        "VMCOREINFO note's values garbled": [(note + 512, os.urandom(size - 512))],
        "mem_section garbage (the pointer)": [(of_roots, b"\xa5" * 8)],
        "mem_section garbage (the table)": [(of_table, os.urandom(4096))],
        "note zeroed and mem_section garbage": [(note, bytes(size)), (of_roots, b"\xa5" * 8)],
        "ELF header garbled": [(32, os.urandom(24))],
    }.items():
        for at, data in places:
            made = patched(bench, at, data)
        target = bench.scratch / "kernel"
        said = bench.capture(target, source=made)
        told = json.loads((target / "vmcore-status.json").read_text())
        steps = " > ".join(one["step"] for one in told["steps"])
        if fault == "ELF header garbled":
            same = (target / "vmcore").read_bytes() == made.read_bytes()
            bench.row(fault, said.returncode, "vmcore (the input's bytes)" if same else "WRONG", steps)
        else:
            bench.row(fault, said.returncode, bench.left(target, made), steps)
        shutil.rmtree(target)
        made.unlink()


def unreadable(bench: Bench) -> None:
    (bench.scratch / "shim.c").write_text(_SHIM)
    shim = bench.scratch / "shim.so"
    if shutil.which("gcc") is None or run("gcc", "-shared", "-fPIC", "-o", shim, bench.scratch / "shim.c").returncode:
        bench.row("unreadable pages", -1, "not tried: no C compiler")
        return
    size = bench.source.stat().st_size
    for fault, first, span in (
        ("2 MiB of the kernel unreadable", text_of(bench) & ~4095, 2 << 20),
        ("half of memory unreadable", size // 2 & ~4095, size),
    ):
        bad = {"LD_PRELOAD": str(shim), "BAD_FROM": str(first), "BAD_TO": str(first + span)}
        target = bench.scratch / "unreadable"
        said = bench.capture(target, env={**ENVIRONMENT, **bad})
        bench.row(fault, said.returncode, bench.left(target), last(said))
        shutil.rmtree(target)


def little_memory(bench: Bench) -> None:
    for limit in (96, 28, 22, 19):
        target = bench.scratch / "memory"
        words = [*PYTHON, "capture", str(bench.source), str(target)]
        said = run("sh", "-c", f'ulimit -v {limit << 10}; exec "$@"', "sh", *words)
        steps = ""
        with contextlib.suppress(OSError, ValueError):
            told = json.loads((target / "vmcore-status.json").read_text())
            steps = " > ".join(one["step"] for one in told["steps"])
        bench.row(f"{limit} MiB of address space", said.returncode, bench.left(target), steps or last(said))
        shutil.rmtree(target, ignore_errors=True)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kills(bench: Bench) -> None:
    for kind in ("the working process", "both processes"):
        tally: dict[str, int] = {}
        for number in range(KILLS):
            target = bench.scratch / "kill"
            chance = random.Random(number)
            running = subprocess.Popen(
                [*PYTHON, "capture", "-q", bench.source, target], env=ENVIRONMENT, stderr=subprocess.DEVNULL
            )
            time.sleep(chance.uniform(0.05, 0.6))
            victims = children(running.pid)
            if kind == "both processes":
                victims.insert(0, running.pid)
            for victim in victims:
                with contextlib.suppress(OSError):
                    os.kill(victim, signal.SIGKILL)
            status = running.wait()
            left = bench.left(target)
            left = re.sub(r", \d+ KiB\)", ")", left)
            key = f"status {status}: {left}"
            tally[key] = tally.get(key, 0) + 1
            shutil.rmtree(target, ignore_errors=True)
        for key, count in sorted(tally.items()):
            bench.row(f"SIGKILL of {kind}, {KILLS} times", count, key)


def stream(bench: Bench) -> None:
    for share in (0, 10, 50, 99):
        flat, made = bench.scratch / "flat", bench.scratch / "rebuilt"
        size = bench.size * share // 100
        said = run(
            "bash",
            "-c",
            f'set -o pipefail; {" ".join(PYTHON)} capture "$0" - | head -c {size} > "$1"',
            bench.source,
            flat,
        )
        verdict = "nothing"
        if size > 4096:
            with flat.open("rb") as file:
                rebuilt = run(*PYTHON, "dump", "-", made, stdin=file)
            verdict = f"rebuilt with status {rebuilt.returncode}: {bench.verdict(made)}"
            bench.wrong += "WRONG" in verdict or not rebuilt.returncode
        bench.row(f"ssh dies at {share} %", said.returncode, verdict, last(said))
        made.unlink(missing_ok=True)


def device(bench: Bench) -> None:
    image = bench.scratch / "raw"
    with image.open("wb") as file:
        file.truncate(bench.size * 2)
    loop = run("losetup", "--show", "-f", image).stdout.strip()
    try:
        said = bench.capture(loop)
        made = bench.scratch / "back"
        run(*PYTHON, "dump", "-d", "0", "-z", loop, made)
        bench.row("raw device", said.returncode, bench.verdict(made))
        for _ in range(8):
            running = subprocess.Popen(
                [*PYTHON, "capture", "-q", bench.source, loop], env=ENVIRONMENT, stderr=subprocess.DEVNULL
            )
            time.sleep(random.uniform(0.3, 0.9))
            victims = [running.pid, *children(running.pid)]
            for victim in victims:
                with contextlib.suppress(OSError):
                    os.kill(victim, signal.SIGKILL)
            running.wait()
            made.unlink(missing_ok=True)
            rebuilt = run(*PYTHON, "dump", loop, made)
            verdict = bench.verdict(made) if made.exists() else "nothing"
            bench.wrong += "WRONG" in verdict
            bench.row(
                "raw device, killed over an older dump", rebuilt.returncode, verdict, rebuilt.stderr.splitlines()[0]
            )
    finally:
        run("losetup", "-d", loop)


FAULTS: dict[str, Callable[[Bench], None]] = {
    one.__name__: one
    for one in (full, smaller, read_only, unplugged, kernel, unreadable, little_memory, kills, stream, device)
}


def main(words: list[str]) -> int:
    if os.environ.get("FAULTS_INSIDE") != "1":
        inside = {**ENVIRONMENT, "FAULTS_INSIDE": "1"}
        return subprocess.run(
            ["unshare", "-m", sys.executable, "-m", "tests.faults", *words], env=inside, cwd=ROOT, check=False
        ).returncode
    with tempfile.TemporaryDirectory() as scratch:
        named = [word for word in words if word in FAULTS]
        files = [word for word in words if word not in FAULTS]
        source = Path(files[0]) if files else real_dump("demo.elf", Path(scratch))
        bench = Bench(source, Path(scratch))
        for name in named or FAULTS:
            FAULTS[name](bench)
    sys.stdout.write(f"{bench.wrong} wrong\n")
    return int(bench.wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
