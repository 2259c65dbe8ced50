"""``vmsieve dump --frame`` and all commands on its output, on a real dump."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import termios
import time
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.memory_file import bits, read
from tests.build.tools import tool
from tests.formats.frames.frame_kit import close_all, opened, whole
from vmsieve.formats.errors import ReadError
from vmsieve.formats.frames import frames
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = [one.name for one in frames()]
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield
    close_all()


def content(path: Path) -> bytes:
    return whole(opened(path.read_bytes())[0])


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def check_torn(source: Path, path: Path, form: str) -> None:
    """The dump is not whole, and each of its pages is unreadable or right."""
    if form == "-E":
        assert run("verify", source, path) == 4
        return
    good, torn = open_source(str(source)), open_source(str(path))
    assert torn.incomplete
    equal = 0
    for first in range(0, torn.end() // 4096 // 8 * 8, 512):
        _, stored = torn.memory_bits(first, 512, 4096)
        for paddr in (4096 * (first + bit) for bit in sorted(bits(stored))):
            with contextlib.suppress(ReadError):
                page = read(torn, paddr, 4096)
                assert page == read(good, paddr, 4096), hex(paddr)
                equal += 1
    assert equal > 100
    good.close()
    torn.close()


def start(*words: str | Path, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vmsieve", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **more)


@each
@pytest.mark.parametrize("threads", [1, 3])
def test_a_framed_core_is_the_core(name: str, threads: int, demo: Path, tmp_path: Path) -> None:
    """Byte for byte the same as without the frame, far smaller, and right by ``verify``."""
    plain, framed = tmp_path / "plain", tmp_path / "framed"
    assert run("dump", "-q", "-d", "31", "-E", demo, plain) == 0
    assert run("dump", "-q", "-d", "31", "-E", "--frame", name, "--threads", str(threads), demo, framed) == 0
    assert content(framed) == plain.read_bytes()
    assert framed.stat().st_size < plain.stat().st_size // 2
    assert framed.stat().st_mode & 0o777 == 0o600
    assert run("verify", demo, framed) == 0


@each
def test_a_framed_flattened_dump_is_the_flattened_dump(name: str, demo: Path, tmp_path: Path) -> None:
    """Pages are uncompressed unless a codec is requested, as packed pages do not compress again."""
    plain, framed, packed = tmp_path / "plain", tmp_path / "framed", tmp_path / "packed"
    assert run("dump", "-q", "-d", "31", "-F", "--codec", "none", demo, plain) == 0
    assert run("dump", "-q", "-d", "31", "-F", "--frame", name, demo, framed) == 0
    assert run("dump", "-q", "-d", "31", "-F", "-c", "--frame", name, demo, packed) == 0
    assert content(framed) == plain.read_bytes()
    assert framed.stat().st_size < packed.stat().st_size or name == "lz4"
    for dumped in (framed, packed):
        assert run("verify", demo, dumped) == 0


def test_every_command_takes_a_framed_dump(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the results of the unframed dump."""
    plain, framed = tmp_path / "plain", tmp_path / "framed"
    run("dump", "-q", "-d", "1", "-E", demo, plain)
    run("dump", "-q", "-d", "1", "-E", "--frame", "zstd", demo, framed)
    results = []
    for path in (plain, framed):
        capsys.readouterr()
        assert run("info", "--json", path) == 0
        info = json.loads(capsys.readouterr().out)
        assert run("classes", "--json", path) == 0
        classes = json.loads(capsys.readouterr().out)
        assert run("dmesg", "-f", path, tmp_path / "log") == 0
        again = tmp_path / f"{path.name}.again"
        assert run("dump", "-q", "-d", "31", path, again) == 0
        header = info.pop("header")
        results.append((info, classes, (tmp_path / "log").read_bytes(), again.read_bytes()))
    assert results[0] == results[1]
    assert header["within"] == "compressed frame"


@pytest.mark.parametrize("form", [["-E"], ["-F"], []])
def test_a_frame_goes_through_a_pipe(form: list[str], demo: Path, tmp_path: Path) -> None:
    """The kdump format is flattened implicitly, as without a frame."""
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = start("dump", "-q", "-d", "31", *form, "--frame", "zstd:1", demo, "-", stdout=subprocess.PIPE)
        assert process.stdout is not None
        file.write(process.stdout.read())
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert run("verify", demo, out) == 0


def test_levels_matter(demo: Path, tmp_path: Path) -> None:
    """A higher level compresses better."""
    sizes = []
    for level in ("zstd:-3", "zstd", "zstd:9"):
        assert run("dump", "-q", "-f", "-d", "31", "-E", "--frame", level, demo, tmp_path / "out") == 0
        sizes.append((tmp_path / "out").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--frame", "zstd"], "--frame needs -F or -E"),
        (["-z", "--frame", "zstd"], "--frame needs -F or -E"),
        (["-E", "--frame", "xz"], "no frame is called 'xz', expected gzip or lz4 or zstd"),
        (["-E", "--frame", "gzip:0"], "frame gzip has levels 1 to 9"),
        (["-E", "--frame", "zstd:x"], "a frame's level is a number"),
    ],
)
def test_wrong_usage_writes_nothing(
    words: list[str], said: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, one line, no file."""
    assert run("dump", *words, demo, tmp_path / "out") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stream_from_a_pipe_is_not_framed(demo: Path, tmp_path: Path) -> None:
    """A stream is rebuilt unframed; --frame is refused instead of ignored."""
    process = start("dump", "-F", "--frame", "zstd", "-", tmp_path / "out", stdin=subprocess.PIPE)
    _, said = process.communicate(b"", timeout=60)
    assert process.returncode == 2
    assert b"--frame" in said


@pytest.mark.parametrize("package", ["zstandard", "lz4"])
def test_a_missing_package_is_reported_before_a_file_is_made(
    package: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The frame needs the package; the dump does not."""
    for module in (package, f"{package}.frame"):
        monkeypatch.setitem(sys.modules, module, None)
    name = {"zstandard": "zstd"}.get(package, package)
    assert run("dump", "-q", "-E", "--frame", name, demo, tmp_path / "out") == 1
    assert f"pip install {package}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@each
@pytest.mark.oracle
def test_the_tools_unpack_it(name: str, demo: Path, tmp_path: Path) -> None:
    """``zstd -d``, ``lz4 -d`` and ``gzip -d`` give the plain core, byte for byte."""
    plain, framed = tmp_path / "plain", tmp_path / "framed"
    run("dump", "-q", "-d", "1", "-E", demo, plain)
    run("dump", "-q", "-d", "1", "-E", "--frame", name, demo, framed)
    with framed.open("rb") as packed:
        unpacked = subprocess.run([tool(name), "-dc"], stdin=packed, capture_output=True, check=True)
    assert unpacked.stdout == plain.read_bytes()
    assert unpacked.stderr == b""


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("zstd", ["-3"]), ("zstd", ["-5", "--long=27", "-T1"]), ("zstd", ["-1", "--no-check"]), ("zstd", ["-T2"]),
        ("lz4", ["-1"]), ("lz4", ["-9", "-BD"]), ("lz4", ["-B4", "-BX", "--no-frame-crc"]),
        ("lz4", ["-B5", "--content-size"]), ("gzip", ["-1"]), ("gzip", ["-9", "-n"]),
    ],
)  # fmt: skip
def test_files_that_the_tools_made_are_read(
    name: str, options: list[str], demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cores and flattened dumps; unpacking is reported."""
    core, flat = tmp_path / "core", tmp_path / "flat"
    run("dump", "-q", "-d", "31", "-E", demo, core)
    run("dump", "-q", "-d", "31", "-F", "-c", demo, flat)
    for path in (core, flat):
        packed = path.with_suffix(".packed")
        with path.open("rb") as source, packed.open("wb") as target:
            subprocess.run(
                [tool(name), *options, "-c"], stdin=source, stdout=target, check=True, stderr=subprocess.PIPE
            )
        capsys.readouterr()
        assert run("verify", demo, packed) == 0
        said = capsys.readouterr().err
        if path == core:
            assert ("has no random access" in said) == (name != "lz4" or "-BD" in options)
        assert "missing" not in said


@each
@pytest.mark.parametrize("form", ["-E", "-F"])
def test_a_framed_dump_that_is_cut_off_is_torn_and_not_wrong(name: str, form: str, demo: Path, tmp_path: Path) -> None:
    """As after ``kill -9``: at any cut no page differs, and the dump is not taken for whole."""
    framed, torn = tmp_path / "framed", tmp_path / "torn"
    run("dump", "-q", "-d", "31", form, "--frame", name, demo, framed)
    data = framed.read_bytes()
    for size in (
        len(data) * 3 // 10,
        len(data) * 6 // 10,
        len(data) * 9 // 10,
        len(data) - (100 if name == "zstd" else 30),
    ):
        torn.write_bytes(data[:size])
        check_torn(demo, torn, form)
        assert run("info", torn) == 4


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@each
@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_full_disk_leaves_a_torn_dump(name: str, threads: str, demo: Path, tmp_path: Path) -> None:
    """Exit status 4; the written pages are right."""
    out = tmp_path / "out"
    process = start(
        "dump", "-q", "-d", "1", "-E", "--frame", name, "--threads", threads, demo, out,
        preexec_fn=partial(_limit, 3_000_000),
    )  # fmt: skip
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert b"no space for the output" in said
    assert out.stat().st_size == 3_000_000
    check_torn(demo, out, "-E")


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("form", ["-E", "-F"])
def test_a_signal_ends_a_framed_dump_in_order(form: str, threads: str, demo: Path, tmp_path: Path) -> None:
    """While it waits for a slow reader: the sent bytes are right and marked torn, and the process ends by itself."""
    out = tmp_path / "out"
    process = start(
        "dump", "-q", "-d", "0", form, "--frame", "lz4", "--threads", threads, demo, "-", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    data = process.stdout.read(5_000_000)
    # Without a reader, the pipe fills up and the writer waits.
    room = fcntl.fcntl(process.stdout, 1032)  # F_GETPIPE_SZ
    there = array("i", [0])
    for _ in range(500):
        fcntl.ioctl(process.stdout, termios.FIONREAD, there)
        if there[0] == room:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert b"SIGTERM" in said
    out.write_bytes(data + rest)
    check_torn(demo, out, form)
