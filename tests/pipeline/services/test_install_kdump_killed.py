"""``vmsieve install-kdump`` killed at any of its modifying calls: the next run completes or reverts it."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.kdump_system import TEXTS
from tests.build.kdump_system import make as make_system
from tests.pipeline.services.install_kit import install, snapshot

if TYPE_CHECKING:
    from pathlib import Path

#: Distance of the tested calls: all of them take minutes.
EVERY = int(os.environ.get("VMSIEVE_KILL_EVERY", "7"))
#: Calls that change a file system or sync it.
CALLS = ("mkdir", "open", "replace", "rename", "unlink", "rmdir", "fsync", "utime", "fchmod", "fchown")
JOURNAL = "var/lib/vmsieve"


def killed(at: int, root: Path, *words: str) -> bool:
    """Run the command, and kill it before the ``at``-th of these calls; False: there are fewer."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            _die_at(at)
            install(root, *words)
            status = 0
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, 9)
    return ended == 9


def _die_at(at: int) -> None:
    made: list[str] = []

    def counted(name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if name != "open" or arguments[1] & os.O_CREAT:
                made.append(name)
                if len(made) == at:
                    sys.stdout.flush()
                    os._exit(9)
            return real(*arguments, **more)

        return call

    for name in CALLS:
        setattr(os, name, counted(name))


def applied(root: Path) -> dict[str, tuple[int, str]]:
    """All files except the journal's folder, whose text may differ in order."""
    return {name: what for name, what in snapshot(root).items() if not name.startswith(JOURNAL)}


def remake(root: Path, state: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(state, root, symlinks=True)


@pytest.mark.parametrize("flavour", sorted(TEXTS))
@pytest.mark.parametrize("what", ["apply", "apply again, otherwise", "undo"])
def test_killed_at_any_call(what: str, flavour: str, tmp_path: Path) -> None:
    """After a kill, ``--undo`` restores the original system, and ``--apply`` completes; no stray file."""
    root, state = tmp_path / "root", tmp_path / "state"
    make_system(root, flavour)
    (root / "var/lib").mkdir(exist_ok=True)
    before = snapshot(root)
    second = ["--capture"] if flavour != "kdump-utils" else ["--options", "-z -d 17"]
    words = ["--apply"]
    if what != "apply":
        install(root, "--apply")
        words = ["--undo"] if what == "undo" else ["--apply", *second]
    shutil.copytree(root, state, symlinks=True)
    install(root, "--undo") if what != "apply" else None
    install(root, "--apply", *second)
    right = applied(root)
    at, more = 1, True
    while more:
        for then in ("--undo", "--apply"):
            remake(root, state)
            more = killed(at, root, *words)
            if then == "--apply":
                install(root, "--apply", *second)
                assert applied(root) == right, f"killed at call {at}, then applied"
            if (root / JOURNAL).exists():
                install(root, "--undo")
            assert snapshot(root) == before, f"killed at call {at}, then {then}"
        at += EVERY
    assert at > 10


@pytest.mark.parametrize(
    "name", ["etc/kdump.conf.vmsieve-4711", "var/lib/vmsieve/install-kdump/journal.json.vmsieve-1"]
)
def test_temporary_files_are_removed(name: str, tmp_path: Path) -> None:
    """A temporary file of a killed process is removed; another one with a similar name stays."""
    root = tmp_path / "root"
    make_system(root, "kdump-utils")
    before = snapshot(root)
    install(root, "--apply")
    (root / name).write_text("half")
    (root / "etc/kdump.conf.vmsieve-old").write_text("somebody's")
    install(root, "--apply")
    assert not (root / name).exists()
    (root / name).write_text("half")
    install(root, "--undo")
    assert (root / "etc/kdump.conf.vmsieve-old").read_text() == "somebody's"
    (root / "etc/kdump.conf.vmsieve-old").unlink()
    assert snapshot(root) == before
