"""The program ``vmsieve-makedumpfile``: its names, its help, and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.cli_kit import environment
from tests.pipeline.kit import make
from tests.pipeline.makedumpfile.makedumpfile_kit import PROGRAM
from tests.test_rooms import HEAVY, MEMORY_BUDGET
from vmsieve.pipeline.cli.main import main as vmsieve
from vmsieve.pipeline.makedumpfile import options
from vmsieve.pipeline.makedumpfile.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["makedumpfile", "/sbin/makedumpfile"])
def test_a_link_that_is_called_makedumpfile_is_that(name: str) -> None:
    """A link to vmsieve, or to vmsieve-makedumpfile."""
    for module in ("cli.start", "makedumpfile.main"):
        code = f"import sys; sys.argv[0] = {name!r}; from vmsieve.pipeline.{module} import run; run()"
        for words, status in ((["--check-params", "-d", "31", "a", "b"], 0), (["--check-params", "a"], 1)):
            command = [sys.executable, "-c", code, *words]
            assert subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == status


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option is in the help; the codecs have makedumpfile's names."""
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(option.typed in told for option in options.OPTIONS)
    assert main(["-v"]) == 0
    assert {"lzo\tenabled", "snappy\tenabled", "zstd\tenabled"} <= set(capsys.readouterr().out.splitlines())


def test_the_help_without_a_reader() -> None:
    """Full or closed standard output gives no traceback."""
    for words in (["-h"], ["-v"], ["--check-params"]):
        for out in (os.open("/dev/full", os.O_WRONLY), os.open(os.devnull, os.O_RDONLY)):
            ran = subprocess.run(
                [sys.executable, "-c", PROGRAM, *words], env=environment(), stdout=out, stderr=subprocess.PIPE,
                check=False,
            )  # fmt: skip
            os.close(out)
            assert b"Traceback" not in ran.stderr


def test_it_loads_little(demo: Path, tmp_path: Path) -> None:
    """As in a crash kernel: no heavy module, no argparse, and no more memory than ``vmsieve dump`` may take."""
    code = (
        "import json, sys; from vmsieve.pipeline.makedumpfile.main import main; status = main(sys.argv[1:])\n"
        "peak = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM:'))\n"
        "print(json.dumps([status, peak, sorted(sys.modules)]))"
    )
    words = ["--message-level", "4", "-l", "-d", "31", str(demo), str(tmp_path / "out")]
    told = subprocess.run(
        [sys.executable, "-c", code, *words], env={**environment(), "VMSIEVE_KERNELS": "aot"}, check=True,
        capture_output=True,
    )  # fmt: skip
    status, peak, modules = json.loads(told.stdout)
    assert status == 0
    assert not {"argparse", *HEAVY} & {module.partition(".")[0] for module in modules}
    assert peak < MEMORY_BUDGET * 1024


def test_it_is_a_command_of_vmsieve_too(core: Path, tmp_path: Path) -> None:
    """Options after ``makedumpfile`` are makedumpfile's, not vmsieve's; the program parses them without argparse."""
    words = ["makedumpfile", "--check-params", "-l", "-d", "31", "a", "b"]
    code = (
        "import os, sys; sys.argv[1:] = " + repr(words) + "; from vmsieve.pipeline.cli.start import run\n"
        "os._exit = lambda status: sys.exit(status + 10 * ('argparse' in sys.modules)); run()"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    assert vmsieve(["makedumpfile", "-cd", "31", "--num-threads=2", str(core), str(tmp_path / "out")]) == 0
    assert vmsieve(["makedumpfile", "--check-params", "-h"]) == 0
    make(core, tmp_path / "ours", 31, codec="zlib")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()
