"""Targets that fill up, fail or disappear."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

from tests.faults.bench import ENVIRONMENT, PYTHON, Bench, children, last, mounted, run, wait_for


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
    # A disk whose backing store is full: the file system can't write what it accepted.
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
        verified = "nothing"
        if size > 4096:
            with flat.open("rb") as file:
                rebuilt = run(*PYTHON, "dump", "-", made, stdin=file)
            verified = f"rebuilt with status {rebuilt.returncode}: {bench.verified(made)}"
            bench.wrong += "WRONG" in verified or not rebuilt.returncode
        bench.row(f"ssh dies at {share} %", said.returncode, verified, last(said))
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
        bench.row("raw device", said.returncode, bench.verified(made))
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
            verified = bench.verified(made) if made.exists() else "nothing"
            bench.wrong += "WRONG" in verified
            bench.row(
                "raw device, killed over an older dump", rebuilt.returncode, verified, rebuilt.stderr.splitlines()[0]
            )
    finally:
        run("losetup", "-d", loop)


ALL = (full, smaller, read_only, unplugged, stream, device)
