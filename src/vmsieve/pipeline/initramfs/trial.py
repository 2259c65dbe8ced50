"""Tests an image: runs its commands in it as root directory, as in a crash kernel's initramfs."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.initramfs.sample import write_sample
from vmsieve.pipeline.initramfs.tree import ENVIRONMENT, HOME, OPTIONS, PROGRAM
from vmsieve.pipeline.inspect.verify import verify
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = "vmsieve-trial"
#: Names of the synthetic dump that commands read, and of their output.
SAMPLE: Final = "sample"
_OUT: Final = "out"
_TIMEOUT: Final = 120  # seconds
_NEWNS, _NEWUSER = 0x20000, 0x10000000  # sched.h: CLONE_NEWNS, CLONE_NEWUSER
_BIND_ALL: Final = 0x1000 | 0x4000  # mount.h: MS_BIND | MS_REC


def runs(commands: list[str], folder: str) -> Iterator[tuple[list[str], int, str]]:
    """Yield command lines over the sample in ``folder``: words, expected exit status, name of the dump made or ""."""
    sample, out = f"{folder}/{SAMPLE}", f"{folder}/{_OUT}"
    for packing in ("-z", "--codec=zstd:3", "-l", "-c", "-p", "--codec=none", "-E"):
        yield ["dump", "-d", "1", packing, "-f", sample, out], 0, _OUT
    yield ["dump", "-d", "31", "-f", "--threads", "2", "--json", "-", sample, out], 3, _OUT
    yield ["dump", "-d", "31", "-F", "-f", sample, out], 3, _OUT
    yield ["dump", "-d", "1", f"{folder}/nothing", out], 1, ""
    yield ["dump", "-d", "99", sample, out], 2, ""
    yield ["dump", "--help"], 0, ""
    yield ["dump", "--levl", "1", sample, out], 2, ""
    yield ["dmup", sample, out], 2, ""
    if "dmesg" in commands:
        yield ["dmesg", sample], 1, ""
    if "capture" in commands:
        yield from _captures(sample, folder)
    if "makedumpfile" in commands:
        yield from _makedumpfile(sample, out)


def _captures(sample: str, folder: str) -> Iterator[tuple[list[str], int, str]]:
    yield ["capture", "-d", "1", sample, folder], 0, "vmcore"
    yield ["capture", "-d", "31", "-l", "--threads", "2", "-q", sample, f"{folder}/level31"], 3, "level31/vmcore"
    yield ["capture", "-d", "1", "--deadline", "600", sample, "-"], 0, ""
    yield ["capture", f"{folder}/nothing", folder], 1, ""
    yield ["capture", "--help"], 0, ""


def _makedumpfile(sample: str, out: str) -> Iterator[tuple[list[str], int, str]]:
    for packing in ("-l", "-c", "-E"):
        yield ["makedumpfile", packing, "-d", "1", "-f", "--message-level", "31", sample, out], 0, _OUT
    yield ["makedumpfile", "-F", "-l", "-d", "1", sample], 0, ""
    yield ["makedumpfile", "--check-params", "-l", "-d", "31", "vmcore", "dump"], 0, ""
    yield ["makedumpfile", "--wrong"], 1, ""


def try_image(root: str, commands: list[str]) -> None:
    """Run the commands of the image at ``root``, and verify the dumps that they write; raises VmsieveError."""
    folder = os.path.join(root, _FOLDER)
    os.makedirs(os.path.join(folder, "level31"))
    os.makedirs(os.path.join(root, "proc"), exist_ok=True)
    try:
        write_sample(os.path.join(folder, SAMPLE))
        for command, status, leaves in runs(commands, f"/{_FOLDER}"):
            _try_one(root, command, status)
            if leaves:
                _compare(os.path.join(folder, SAMPLE), os.path.join(folder, leaves), command)
    finally:
        shutil.rmtree(folder)
        os.rmdir(os.path.join(root, "proc"))


def _try_one(root: str, command: list[str], status: int) -> None:
    asked = " ".join(["vmsieve", *command])
    # As the scripts in usr/bin, whose shell is not part of the image.
    words = ["vmsieve-makedumpfile", *command[1:]] if command[0] == "makedumpfile" else ["vmsieve", *command]
    program = [f"/{PROGRAM}", OPTIONS, f"/{HOME}/{words[0]}", *words[1:]]
    try:
        ran = subprocess.run(
            program, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT, env=ENVIRONMENT, preexec_fn=lambda: _enter(root),
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        what = "the image can't be tried: this needs root or user namespaces"
        raise VmsieveError(what, found=str(error), hint="--no-trial") from error
    except OSError as error:
        raise VmsieveError(f"the image does not run: {error.strerror}", found=asked) from error
    if ran.returncode != status or "Traceback" in ran.stderr:
        said = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise VmsieveError(f"the image does not work: '{asked}' ended with {ran.returncode}: {said}", expected=status)


def _enter(root: str) -> None:
    """Make ``root`` the root directory of this process, with ``/proc`` if mounting it is permitted."""
    library = ctypes.CDLL(None, use_errno=True)
    alone = _NEWNS if os.geteuid() == 0 else _NEWNS | _NEWUSER
    if library.unshare(alone) == 0:
        library.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE: invisible to others
        library.mount(b"/proc", os.path.join(root, "proc").encode(), None, _BIND_ALL, None)
    os.chroot(root)
    os.chdir("/")


def _compare(source: str, made: str, command: list[str]) -> None:
    one, two = open_source(source), open_source(made)
    try:
        comparison = verify(one, gather_knowledge(one), two, Silent())
    finally:
        one.close()
        two.close()
    if not comparison.right or two.incomplete:
        raise VmsieveError(f"the image does not work: the dump of '{' '.join(command)}' is not right")
