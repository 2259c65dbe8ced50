"""Targets that hang, that another user holds, or that are replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from tests.faults.bench import PYTHON, Bench, last, mounted, run, start, wait_for

SLOW = ("--codec", "zlib@libz:9")


def inodes(bench: Bench) -> None:
    for number in range(1, 6):
        with mounted(bench, "-t", "tmpfs", "-o", f"nr_inodes={number}") as place:
            said = bench.capture(place)
            bench.row(f"room for {number - 1} files", said.returncode, bench.left(place), last(said))


def removed(bench: Bench) -> None:
    target = bench.scratch / "removed"
    running = start(*SLOW, bench.source, target)
    wait_for(target / "vmcore-incomplete")
    shutil.rmtree(target)
    _, said = running.communicate()
    bench.row("target removed half-way", running.returncode, bench.left(target), said.strip().splitlines()[-1])


def names(bench: Bench) -> None:
    target = bench.scratch / "link"
    target.symlink_to(bench.scratch / "there" / "not")
    said = bench.capture(target)
    bench.row("target is a dangling link", said.returncode, bench.left(bench.scratch / "there" / "not"), last(said))
    for kind in ("a file", "a directory", "a dangling link"):
        target = bench.scratch / f"taken by {kind}"
        target.mkdir()
        name = target / "vmcore"
        if kind == "a file":
            name.write_text("an older dump")
        elif kind == "a directory":
            name.mkdir()
        else:
            name.symlink_to(bench.scratch / "nowhere")
        said = bench.capture(target)
        own = [path for path in target.iterdir() if path.name != "vmcore"]
        bench.wrong += len(own) != 1 or (kind == "a file" and name.read_text() != "an older dump")
        bench.row(f"vmcore is there, {kind}", said.returncode, bench.left(own[0]), last(said))


def two(bench: Bench) -> None:
    for number in range(10):
        target = bench.scratch / f"two-{number}"
        target.mkdir()
        both = [start(bench.source, target), start(bench.source, target)]
        ends = [one.communicate()[1].strip().splitlines()[-1] for one in both]
        codes = [one.returncode for one in both]
        own = [path for path in target.iterdir() if path.is_dir()]
        bench.wrong += codes != [0, 0]
        bench.row("two captures at once", max(codes), " / ".join(bench.left(path) for path in (target, *own)), ends[1])
        shutil.rmtree(target)


def nobody_reads(bench: Bench) -> None:
    fifo = bench.scratch / "fifo"
    os.mkfifo(fifo)
    began = time.monotonic()
    said = bench.capture(fifo, "--stall", "3")
    bench.row("FIFO that nobody reads", said.returncode, f"{time.monotonic() - began:.0f} s", last(said))
    with subprocess.Popen(["cat", str(fifo)], stdout=(bench.scratch / "flat").open("wb")):
        said = bench.capture(fifo)
    rebuilt(bench, "FIFO with a reader", said.returncode, last(said))


def rebuilt(bench: Bench, fault: str, status: int, note: str) -> None:
    """Rebuild the received stream and verify it."""
    made = bench.scratch / "rebuilt"
    with (bench.scratch / "flat").open("rb") as file:
        code = run(*PYTHON, "dump", "-d", "0", "-", made, stdin=file).returncode
    bench.row(fault, status, f"rebuilt with status {code}: {bench.verified(made)}", note)
    made.unlink(missing_ok=True)


def stopped_reader(bench: Bench) -> None:
    for option in ("--stall", "--deadline"):
        began = time.monotonic()
        with start(option, "3", bench.source, "-", stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            (bench.scratch / "flat").write_bytes(os.read(running.stdout.fileno(), 1 << 20))
            assert running.stderr is not None
            said = running.stderr.read()
            rest = b"".join(iter(lambda: os.read(running.stdout.fileno(), 1 << 20), b""))  # type: ignore[union-attr]
            with (bench.scratch / "flat").open("ab") as flat:
                flat.write(rest)
        seconds = f"{time.monotonic() - began:.0f} s: "
        rebuilt(bench, f"reader stops, {option} 3", running.returncode, seconds + said.strip().splitlines()[-1])


def frozen(bench: Bench) -> None:
    image = bench.scratch / "ext4.img"
    for option in ("--stall", "--deadline"):
        with image.open("wb") as file:
            file.truncate(bench.size + (64 << 20))
        run("mkfs.ext4", "-q", "-F", image)
        with mounted(bench, "-o", "loop", device=str(image)) as place:
            began = time.monotonic()
            # A file, not a pipe: the child can't be ended and would keep the pipe open.
            with (bench.scratch / "said").open("w") as console:
                running = start(option, "3", *SLOW, bench.source, place, stderr=console)
            wait_for(place / "vmcore-incomplete")
            run("fsfreeze", "-f", place)
            try:
                running.wait(timeout=120)
                said = (bench.scratch / "said").read_text()
            except subprocess.TimeoutExpired:
                said = "it does not end"
                bench.wrong += 1
            seconds = time.monotonic() - began
            run("fsfreeze", "-u", place)
            running.wait()
            time.sleep(1)
            bench.row(
                f"target hangs, {option} 3", running.returncode, bench.left(place),
                f"{seconds:.0f} s: {said.strip().splitlines()[-1]}",
            )  # fmt: skip
        image.unlink()


ALL = (inodes, removed, names, two, nobody_reads, stopped_reader, frozen)
