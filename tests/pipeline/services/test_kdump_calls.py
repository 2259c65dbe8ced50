"""vmsieve called as a collector by kdump services: the same command lines, pipes, FIFOs and file names.

The services' own scripts are not included; these are their calls in short: kdump-utils' to a folder, to a device and
to ssh, kdump-tools' with and without a packer, SUSE's through a FIFO.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.dumps import dump
from tests.pipeline.cli_kit import environment, vmsieve

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "6.12.95-vmsieve-demo"


@pytest.fixture
def vmcore(scratch: Path) -> Path:
    return dump("demo.elf", scratch)


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with the collector under the names that services call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vmsieve-makedumpfile", "makedumpfile"):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vmsieve makedumpfile "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def shell(script: str, vmcore: Path, bin_folder: Path, *, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in the folder above ``bin_folder``, with ``$vmcore`` set."""
    env = {
        **environment(),
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "vmcore": str(vmcore),
        "VMSIEVE_KERNELS": "aot",
    }
    ran = subprocess.run(
        ["/bin/sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=bin_folder.parent,
        env=env,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


def is_right(vmcore: Path, made: Path) -> None:
    run = vmsieve("verify", vmcore, made)
    assert run.status == 0
    assert "The dump is right." in run.out


def test_kdump_utils_to_a_folder(vmcore: Path, bin_folder: Path, tmp_path: Path) -> None:
    """A temporary name, threads by the number of CPUs, all output to one place, then the final name."""
    collector = "vmsieve-makedumpfile -l --message-level 7 -d 31 --num-threads=2"
    shell(f"{collector} $vmcore ./vmcore-incomplete > said 2>&1 && mv vmcore-incomplete vmcore", vmcore, bin_folder)
    is_right(vmcore, tmp_path / "vmcore")
    assert "makedumpfile Completed." in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    "receiver", ["dd of=out bs=512 2> dd", "sh -c 'umask 0077 && dd bs=512 of=out 2> dd'", "gzip -c > out", "cat > out"]
)
def test_streams(receiver: str, vmcore: Path, bin_folder: Path, tmp_path: Path) -> None:
    """To a device and to ssh, in blocks of 512 bytes; to a packer and to a file, as kdump-tools does."""
    ran = shell(f"makedumpfile -F -c --message-level 7 -d 31 $vmcore | {receiver}", vmcore, bin_folder)
    assert not ran.stdout
    is_right(vmcore, tmp_path / "out")
    shell("vmsieve-makedumpfile -R again < out" if "gzip" not in receiver else "true", vmcore, bin_folder)
    if "gzip" not in receiver:
        is_right(vmcore, tmp_path / "again")


def test_suse_through_a_fifo(vmcore: Path, bin_folder: Path, tmp_path: Path) -> None:
    """Log and dump through one FIFO, one after the other; release and crash time from the messages of level 8."""
    shell(
        "mkfifo fifo;"
        "makedumpfile -F --message-level 8 --dump-dmesg $vmcore > fifo 2> said & cat fifo > dmesg && wait $! &&"
        "{ makedumpfile -F -c --num-threads 2 --message-level 6 -d 31 $vmcore > fifo & cat fifo > vmcore && wait $!; }",
        vmcore, bin_folder,
    )  # fmt: skip
    is_right(vmcore, tmp_path / "vmcore")
    assert RELEASE in (tmp_path / "dmesg").read_text()
    told = dict(line.strip().split("=", 1) for line in (tmp_path / "said").read_text().splitlines() if "=" in line)
    assert told["OSRELEASE"] == RELEASE
    assert told["CRASHTIME"].isdigit()


def test_the_other_end_goes_away(vmcore: Path, bin_folder: Path) -> None:
    """The server becomes unreachable: the collector ends, and does not report success."""
    ran = shell(
        "{ makedumpfile -F -l -d 31 $vmcore; echo status $? >&2; } | dd bs=512 count=100 of=/dev/null 2> dd",
        vmcore, bin_folder,
    )  # fmt: skip
    assert "status 1" in ran.stderr
    assert "Completed" not in ran.stderr


@pytest.mark.parametrize(
    ("options", "files", "status"),
    [
        ("-l --message-level 7 -d 31", "vmcore dumpfile", 0),
        ("-F -l --message-level 7 -d 31", "vmcore", 0),
        ("-c --message-level 7 -d 31", "vmcore dumpfile", 0),
        ("-z -d 1,31 --num-threads=4", "vmcore dumpfile", 0),
        ("-l --message-level 7 -d 32", "vmcore dumpfile", 1),
        ("-l --massage-level 7", "vmcore dumpfile", 1),
        ("-l -d 31", "", 1),
    ],
)
def test_what_mkdumprd_checks(options: str, files: str, status: int, vmcore: Path, bin_folder: Path) -> None:
    """Before an initramfs is made; the files need not exist."""
    shell(f"makedumpfile --check-params {options} {files}", vmcore, bin_folder, status=status)
