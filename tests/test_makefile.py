"""The Makefile sets up a virtual environment where Python comes without venv and pip, as Debian's does."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.dumps import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: A Python without venv, until its package is installed.
_PYTHON = """\
#!/bin/sh
case $1:$2 in
-c:*version_info\\[*) echo python3.99-venv ;;
-c:*) ;;
-m:venv) [ -e {folder}/installed ] && mkdir -p {folder}/.venv ;;
*) exit 1 ;;
esac
"""
#: Debian's package lists are empty at first.
_APT = """\
#!/bin/sh
echo "$@" >>{folder}/apt
case "$*" in
*update*) touch {folder}/lists ;;
*) [ -e {folder}/lists ] && touch {folder}/installed ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, text in (("python", _PYTHON), ("apt-get", _APT), ("id", "#!/bin/sh\necho $USER_ID\n")):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    return tmp_path


def _make(machine: Path, user: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{machine}:{os.environ['PATH']}", "USER_ID": str(user)}
    environment.pop("MAKEFLAGS", None)
    # Below another make, it would name its directory.
    words = ["make", "--no-print-directory", ".venv/made", f"PY={machine}/python"]
    return subprocess.run(words, cwd=machine, env=environment, capture_output=True, text=True, check=False)


def test_root_gets_the_package_and_a_line_that_says_so(machine: Path) -> None:
    run = _make(machine, 0)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        f"make: apt-get install python3.99-venv: {machine}/python needs it to make a virtual environment"
    ]
    assert (machine / ".venv/made").exists()
    assert (machine / "apt").read_text().splitlines() == [
        "-qq install --yes python3.99-venv", "-qq update", "-qq install --yes python3.99-venv",
    ]  # fmt: skip


def test_a_user_gets_the_command_to_paste(machine: Path) -> None:
    run = _make(machine, 1000)
    assert run.returncode == 2
    assert run.stderr.splitlines()[0].endswith("on Debian and Ubuntu, as root: apt install python3.99-venv")
    assert not (machine / "apt").exists()
    assert not (machine / ".venv").exists()
