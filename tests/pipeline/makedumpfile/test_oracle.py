"""Compared with makedumpfile itself: the same dumps, reports and exit status for the same command lines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.tools import tool
from tests.filters.test_classify_oracle import SINCE, SLAB_SINCE, version
from tests.pipeline.cli_kit import environment
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

OURS = [sys.executable, "-c", "from vmsieve.pipeline.makedumpfile.main import run; run()"]
Ran = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that every makedumpfile of recent years supports."""
    return Machine(LAYOUTS["4.16"], EVERYTHING).write(tmp_path_factory.mktemp("machine") / "core")


def theirs() -> str:
    path = tool("makedumpfile")
    if version(path) < SINCE["4.16"]:
        pytest.skip(f"{path} is too old for Linux 4.16")
    return path


def run(program: list[str], words: list[str], folder: Path, stdin: bytes | None = None) -> Ran:
    env = environment()
    if program != OURS:
        # One run with threads in fifty ends with SIGABRT else: "libgcc_s.so.1 must be installed for pthread_exit".
        env["LD_PRELOAD"] = "libgcc_s.so.1"
    return subprocess.run([*program, *words], cwd=folder, env=env, capture_output=True, check=False, input=stdin or b"")


def rows(told: bytes) -> dict[str, int]:
    """The numbers of a report by their names."""
    found = re.findall(rb"^ *([A-Z(][\w -]+?) *: (0x[0-9a-f]{16}|\d+)\r?$", told, re.MULTILINE)
    return {name.decode(): int(value, 0) for name, value in found}


def both(words: str, folder: Path) -> tuple[Ran, Ran]:
    """The same command line for both; OUT is a separate file for each."""
    found = []
    for number, program in enumerate(([theirs()], OURS)):
        found.append(run(program, words.replace("OUT", f"out{number}").split(), folder))
    return found[0], found[1]


def same(one: Ran, other: Ran, folder: Path) -> None:
    """Headers, both bitmaps, descriptors and pages are equal byte for byte, and so is the report."""
    assert (one.returncode, other.returncode) == (0, 0)
    assert (folder / "out0").read_bytes() == (folder / "out1").read_bytes()
    expected, found = rows(one.stdout), rows(other.stdout)
    # The kernel's text is in two segments of the dump, and makedumpfile counts it twice.
    twice = expected["Original pages"] - found["Original pages"]
    assert twice == found["Memory Hole"] - expected["Memory Hole"]
    assert twice == expected["Remaining pages"] - found["Remaining pages"]
    # It does not count what it leaves out between headers.
    assert 0 <= found.pop("Write bytes") - expected["Write bytes"] < 4 * 4096
    for name in ("Original pages", "Memory Hole", "Remaining pages"):
        del found[name]
    assert len(found) == 9
    assert found == {name: expected[name] for name in found}


@pytest.mark.parametrize("level", [0, 1, 2, 4, 8, 16, 17, 23, 31])
def test_dumps_are_the_same_to_the_byte(level: int, core: Path, tmp_path: Path) -> None:
    """Uncompressed, because codecs differ in the sizes they reach."""
    if level & 8 and version(theirs()) < SLAB_SINCE:
        pytest.skip("this makedumpfile takes slab pages for anonymous ones")
    same(*both(f"--message-level 16 -d {level} {core} OUT", tmp_path), tmp_path)


@pytest.mark.parametrize("level", [1, 31])
def test_a_real_kernels_dump_is_the_same(level: int, demo: Path, tmp_path: Path) -> None:
    if version(theirs()) < SINCE["6.12"]:
        pytest.skip("this makedumpfile is too old for Linux 6.12")
    same(*both(f"--message-level 16 -d {level} {demo} OUT", tmp_path), tmp_path)


#: Command lines; a, b and c are existing files: a core, garbage, a flattened stream. OUT does not exist.
LINES = """
-d 31 a OUT
-cd31 a OUT
-E -d 31 a OUT
-d 31 --num-th 2 a OUT
-c -l -d 31 a OUT
-d 31 a b
-f -d 31 a OUT
-d 31 none OUT
-d 31 b OUT
-d 31 a none/OUT
-d 32 a OUT
-d 31 a
-d 31 a OUT more
-E -c a OUT
--nonsense a OUT
a OUT -d
--xen a OUT
-F -d 31 a
-F --split -d 31 a OUT OUT2
-L 1M -d 31 a OUT
-L 0 a OUT
-L 1M -d 0,1 a OUT
--message-level 32 a OUT
--message-level 31 -d 31 a OUT
--dump-dmesg b OUT
--partial-dmesg a OUT
--dump-dmesg --dry-run a OUT
--dry-run -d 31 a OUT
--vtop 0xffffffff81000000 -d 31 a OUT
--non-mmap -b 2 --cyclic-buffer 64 -d 31 a OUT
-R OUT < c
-R b < c
-R -f OUT < b
-g OUT
-g OUT -x b
-i none -d 31 a OUT
-i wrong -d 31 a OUT
-i right -d 31 a OUT
--split -d 31 a OUT OUT2 OUT3
--split -d 31 a OUT
--split -E -d 31 a OUT OUT2
--reassemble a b OUT
--check-params -d 31 a OUT
--check-params -d 31 none none2
--check-params -F -l --message-level 7 -d 31 a
--check-params -d 31 a
--check-params
--check-params -d 40 a OUT
--check-params --nonsense a OUT
--check-params -E -c a OUT
-h
-v
"""


@pytest.mark.parametrize("line", LINES.split("\n")[1:-1])
def test_the_exit_status_is_the_same(line: str, core: Path, tmp_path: Path) -> None:
    """No traceback, and one of the two last lines if makedumpfile prints one."""
    shutil.copy(core, tmp_path / "a")
    (tmp_path / "b").write_bytes(b"garbage " * 1000)
    source = open_source(str(core))
    text = (source.vmcoreinfo or b"") + b"\n"
    source.close()
    (tmp_path / "right").write_bytes(text)
    (tmp_path / "wrong").write_bytes(re.sub(rb"OSRELEASE=.*", b"OSRELEASE=1.2.3", text))
    words, _, given = line.partition(" < ")
    stdin = None
    if given:
        flat = run([theirs()], ["-F", "-d", "31", "a"], tmp_path)
        (tmp_path / "c").write_bytes(flat.stdout)
        stdin = (tmp_path / given).read_bytes()
    found = []
    for number, program in enumerate(([theirs()], OURS)):
        ran = run(program, words.replace("OUT", f"out{number}-").split(), tmp_path, stdin)
        assert b"Traceback" not in ran.stderr
        heard = ran.stdout[-400:] + ran.stderr
        found.append((ran.returncode, b"makedumpfile Completed." in heard, b"makedumpfile Failed." in heard))
    assert found[1] == found[0]


@pytest.mark.parametrize("level", ["1", "23"])
def test_split_dumps_go_both_ways(level: str, core: Path, tmp_path: Path) -> None:
    """Files made by one are joined by the other, and the result equals the dump as one file."""
    words = f"--splitblock-size 64 -d {level} --split {core} OUTa OUTb OUTc"
    assert [ran.returncode for ran in both(words, tmp_path)] == [0, 0]
    assert run([theirs()], ["-d", level, str(core), "whole"], tmp_path).returncode == 0
    whole = (tmp_path / "whole").read_bytes()
    for number, joiner in ((0, OURS), (1, [theirs()]), (1, OURS)):
        parts = [f"out{number}{letter}" for letter in "cab"]
        assert run(joiner, ["-f", "--reassemble", *parts, "joined"], tmp_path).returncode == 0
        assert (tmp_path / "joined").read_bytes() == whole
        lost = run(joiner, ["-f", "--reassemble", *parts[:2], "joined"], tmp_path)
        assert lost.returncode == 1
