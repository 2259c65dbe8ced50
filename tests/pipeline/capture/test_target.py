"""``vmsieve capture`` to a directory that others can write to, that is moved, or that does not respond."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.pipeline.capture.capture_kit import breaking, capture, die, names, steps
from tests.pipeline.kit import compared
from vmsieve.pipeline.capture import child, isolation, opening, run, status, work
from vmsieve.pipeline.capture import target as target_module
from vmsieve.pipeline.capture.options import Request

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
#: Every name that a capture may use, and has ever used, in a directory.
NAMES = (
    "vmcore", "vmcore-incomplete", "vmcore-incomplete-2", "vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt",
    "vmcore-dmesg-incomplete.txt.new", "vmcore-status.json", "vmcore-status.json.new", ".vmsieve-probe",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No OOM protection of the tests' process; the log, which does not exist, counts as written."""
    monkeypatch.setattr(run, "protect", lambda: None)
    monkeypatch.setattr(child, "protect", lambda _: None)
    monkeypatch.setattr(work, "_log", lambda _, __: {"complete": True})


@pytest.fixture
def crash(tmp_path: Path) -> Path:
    """A world-writable directory."""
    made = tmp_path / "crash"
    made.mkdir()
    made.chmod(0o1777)
    return made


def own(target: Path) -> Path:
    """The one directory in ``target`` with a dump."""
    (made,) = (path.parent for path in target.glob("*/vmcore"))
    return made


def request(source: Path, target: Path, **more: Any) -> Request:
    return Request({"input": str(source), "target": str(target), **more})


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770, 0o755])
def test_a_directory_that_others_can_write_to_is_not_used(mode: int, core: Path, tmp_path: Path) -> None:
    """A new directory within it is used, which nobody else can enter; record and console name it."""
    target = tmp_path / "out"
    target.mkdir()
    target.chmod(mode)
    assert run.capture(request(core, target)) == 0
    if mode == 0o755:
        assert names(target) == {"vmcore", "vmcore-status.json"}
        return
    made = own(target)
    told = json.loads((made / "vmcore-status.json").read_text())
    assert (stat.S_IMODE(made.stat().st_mode), names(made)) == (0o700, {"vmcore", "vmcore-status.json"})
    assert (told["target"], told["dump"]["file"]) == (str(made), str(made / "vmcore"))
    assert told["notes"] == [f"others can write to {target}: all goes to {made}, which is new"]
    assert compared(core, made / "vmcore").right


@AS_ROOT
@pytest.mark.parametrize("kind", ["directory", "link"])
def test_directories_of_others_are_not_used(kind: str, core: Path, tmp_path: Path) -> None:
    """Another user's directory, or one that their link leads to, gets a new directory within it."""
    target = there = tmp_path / "there"
    there.mkdir()
    if kind == "link":
        target = tmp_path / "link"
        target.symlink_to(there)
    os.chown(target, NOBODY, NOBODY, follow_symlinks=False)
    assert run.capture(request(core, target)) == 0
    assert own(there).stat().st_uid == 0


def plant(kind: str, path: Path, secret: Path) -> None:
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "link to nothing":
        path.symlink_to(secret.parent / "nothing")
    elif kind == "hard link":
        path.hardlink_to(secret)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))


@pytest.mark.parametrize("mode", [0o1777, 0o700])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "hard link", "FIFO", "directory", "device"])
def test_nothing_that_lies_there_is_followed_or_waited_for(kind: str, mode: int, core: Path, tmp_path: Path) -> None:
    """Each name that a capture uses is taken by every kind of file: the files and their targets stay unchanged."""
    if kind == "device" and os.geteuid():
        pytest.skip("this takes root")
    target, secret = tmp_path / "out", tmp_path / "etc" / "secret"
    target.mkdir()
    secret.parent.mkdir()
    secret.write_text("secret")
    for name in NAMES:
        plant(kind, target / name, secret)
    target.chmod(mode)
    before = {name: (target / name).lstat()[:4] for name in NAMES}
    assert run.capture(request(core, target)) == 0
    made = own(target)
    assert compared(core, made / "vmcore").right
    assert (secret.read_text(), names(secret.parent)) == ("secret", {"secret"})
    assert {name: (target / name).lstat()[:4] for name in NAMES} == before
    assert names(target) == {*NAMES, made.name}


@pytest.mark.parametrize("kind", ["link", "FIFO", "directory"])
def test_leftovers_in_a_directory_of_roots_are_ignored(kind: str, core: Path, tmp_path: Path) -> None:
    """Leftover temporary files of a capture are no dump: the directory itself is used."""
    target, secret = tmp_path / "out", tmp_path / "secret"
    target.mkdir()
    secret.write_text("secret")
    plant(kind, target / ".vmsieve-probe", secret)
    assert capture(core, target)[0] == 0
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("kind", ["link", "FIFO", "directory", "file"])
def test_a_name_that_is_taken(kind: str, core: Path, crash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user takes the new directory's name first: another name is used."""
    monkeypatch.setattr(opening, "_stamp", lambda: "host-now")
    (crash / "secret").write_text("")
    plant(kind, crash / "host-now", crash / "secret") if kind != "file" else (crash / "host-now").touch()
    assert run.capture(request(core, crash)) == 0
    assert own(crash).name.startswith("host-now-")


@pytest.mark.parametrize("way", ["theirs", "an older dump's", "a link", "gone"])
def test_a_new_directory_that_is_replaced(
    way: str, core: Path, crash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new directory is replaced between creation and opening: the owner is checked, and it is not used."""
    if way == "theirs" and os.geteuid():
        pytest.skip("this takes root")
    real, other = os.mkdir, tmp_path / "other"
    replaced: list[str] = []
    other.mkdir()
    if way == "an older dump's":
        (other / "vmcore-dmesg.txt").write_text("an earlier crash")
    if way == "theirs":
        os.chown(other, NOBODY, NOBODY)

    def mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        if not replaced and dir_fd is not None:
            replaced.append(path)
            (crash / path).rmdir()
            if way == "a link":
                (crash / path).symlink_to(other)
            elif way != "gone":
                other.rename(crash / path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert run.capture(request(core, crash)) == 0
    made = own(crash)
    assert compared(core, made / "vmcore").right
    assert (made.stat().st_uid, names(made)) == (os.geteuid(), {"vmcore", "vmcore-status.json"})
    assert other.exists() == (way in ("a link", "gone"))
    for folder in (other, *(path for path in crash.iterdir() if path != made and not path.is_symlink())):
        assert not folder.exists() or names(folder) <= {"vmcore-dmesg.txt"}


def test_a_directory_that_is_moved_while_it_is_written_to(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is replaced by one of links: the next step continues in the first one, with a message."""
    target, secret = tmp_path / "out", tmp_path / "secret"
    secret.write_text("secret")

    def move(_: Any) -> None:
        if not (tmp_path / "moved").exists():
            target.rename(tmp_path / "moved")
            target.mkdir()
            for name in NAMES:
                (target / name).symlink_to(secret)
            die()

    breaking(monkeypatch, move)
    assert run.capture(request(core, target)) == 0
    told = json.loads((tmp_path / "moved" / "vmcore-status.json").read_text())
    assert compared(core, tmp_path / "moved" / "vmcore").right
    assert told["lost"] == [f"{target} leads elsewhere: its directory was moved or unmounted"]
    assert (secret.read_text(), names(target)) == ("secret", set(NAMES))


def test_a_removed_directory_whose_name_is_taken(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user placed a link there: the recreated directory has another name."""
    target, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()

    def remove(plan: Any) -> None:
        if plan.mapped:
            shutil.rmtree(target)
            target.symlink_to(elsewhere)

    breaking(monkeypatch, remove)
    assert run.capture(request(core, target)) == 0
    (made,) = tmp_path.glob("out-*")
    told = json.loads((made / "vmcore-status.json").read_text())
    assert (told["target"], steps(told)) == (str(made), [("as asked", "output"), ("with less", "finished")])
    assert compared(core, made / "vmcore").right
    assert not names(elsewhere)


def test_a_target_that_does_not_answer_at_first(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Opening the target blocks: the first process does not wait, and shows the end of the log."""
    first = os.getpid()
    monkeypatch.setattr(opening, "open_target", lambda *_: time.sleep(60) if os.getpid() != first else 1 // 0)
    assert run.capture(request(core, tmp_path, stall=1)) == 1
    told = capfd.readouterr().err
    assert f"can't write to {tmp_path}: it does not answer" in told
    assert "the kernel log: " in told


def test_a_place_of_the_record_that_does_not_answer(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The record's server does not respond: the dump is still made."""
    first = os.getpid()
    monkeypatch.setattr(run, "write_record", lambda *_: time.sleep(60) if os.getpid() != first else 1 // 0)
    monkeypatch.setattr(isolation, "_ANSWER", 1.0)
    assert run.capture(request(core, tmp_path / "out", status=str(tmp_path / "record"))) == 0
    assert compared(core, tmp_path / "out" / "vmcore").right
    assert capfd.readouterr().err.count("its directory does not respond") == 2, "once at first, once at the end"


def test_the_first_process_does_not_touch_the_target(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process makes no call on the target that would block on a dead server."""
    first, touched = os.getpid(), []

    def guarded(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            own = os.getpid() == first and not str(arguments[0] if arguments else "").startswith(("/proc", str(core)))
            if own:
                touched.append((name, arguments))
            return real(*arguments, **more)

        return call

    calls = "open stat lstat fstat statvfs listdir mkdir unlink rename replace fsync access link readlink fchdir"
    for name in calls.split():
        monkeypatch.setattr(os, name, guarded(name))
    breaking(monkeypatch, lambda plan: die() if plan.mapped else None)
    target = tmp_path / "out"
    assert run.capture(request(core, target)) == 0
    monkeypatch.undo()
    assert not [call for call in touched if call[0] != "lstat" or str(target) in str(call)]
    assert names(target) == {"vmcore", "vmcore-status.json"}


def test_no_process_for_what_touches_the_target(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first calls of fork fail with EAGAIN: target and record are handled without a separate process."""
    real, calls = os.fork, []

    def fork() -> int:
        calls.append(1)
        if len(calls) <= 2:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real()

    here = Path.cwd()
    monkeypatch.setattr(os, "fork", fork)
    try:
        assert capture(core, tmp_path / "out")[0] == 0
    finally:
        os.chdir(here)
    assert compared(core, tmp_path / "out" / "vmcore").right


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_new_directory_holds_no_empty_record(elsewhere: bool, core: Path, crash: Path, tmp_path: Path) -> None:
    """The placeholder record, which keeps others from removing the directory, is filled or deleted."""
    more = {"status": tmp_path / "record"} if elsewhere else {}
    assert run.capture(request(core, crash, **more)) == 0
    assert names(own(crash)) == ({"vmcore"} if elsewhere else {"vmcore", "vmcore-status.json"})


def test_a_record_beside_what_others_made(tmp_path: Path, crash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another user's directory a record replaces links, FIFOs and hard links, and writes to none of them."""
    secret = tmp_path / "secret"
    for kind in ("link", "link to nothing", "hard link", "FIFO"):
        secret.write_text("secret")
        for name in ("record", "record.new", f"record.incomplete-{os.getpid()}"):
            plant(kind, crash / name, secret)
        if kind == "FIFO" and not os.geteuid():
            os.chown(crash / "record", NOBODY, NOBODY)
        told = status.write_record(str(crash / "record"), {"result": "whole"})
        if kind == "FIFO" and os.geteuid():
            assert told, "a FIFO of this user's own that nobody reads"
        else:
            assert (told, (crash / "record").is_symlink()) == ("", False)
            assert json.loads((crash / "record").read_text()) == {"result": "whole"}
        assert (secret.read_text(), names(tmp_path)) == ("secret", {"crash", "secret"})
        for path in crash.iterdir():
            path.unlink()


def test_a_record_in_a_directory_that_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others move the directory while the record is written: it stays in it, and nothing is made at the old path."""
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    old.mkdir()
    monkeypatch.chdir(new)
    (new / "record").write_text("before")
    monkeypatch.setattr(os, "getcwd", lambda: str(old))
    assert status.write_record("record", {"result": "whole"}) == ""
    assert (json.loads((new / "record").read_text()), names(new)) == ({"result": "whole"}, {"record"})
    assert not names(old)


@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO"])
def test_a_record_on_a_full_disk(kind: str, tmp_path: Path, crash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without space for a second file only an earlier record is overwritten in place, never another file."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    plant(kind, crash / "record", secret)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(status, "write_file", full)
    monkeypatch.setattr(status, "_clear", lambda _: None)
    assert status.write_record(str(crash / "record"), {"result": "whole"}).startswith("the record can't be written: ")
    assert secret.read_text() == "secret"


@pytest.mark.parametrize(("free", "room"), [(10 << 20, (10 << 20) - (128 << 10)), (64 << 10, 56 << 10), (0, 0)])
def test_room_is_left_for_the_record(free: int, room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump may not fill the disk: 128 KiB, or an eighth of the free space if less, is reserved for the record."""

    class Told:
        f_bavail, f_frsize = free // 4096, 4096

    place = target_module.Target(str(tmp_path), "directory", "", [], held=os.open(tmp_path, os.O_RDONLY))
    monkeypatch.setattr(os, "statvfs", lambda _: Told)
    assert place.space() == room
    place.release()


#: Program of an attacker: endless operations in the world-writable directory that is its argument.
ATTACK = """
import os, random, sys
os.chdir(sys.argv[1])
names = ["vmcore", "vmcore-incomplete", "vmcore-dmesg.txt", "vmcore-status.json", "vmcore-status.json.new"]
acts = [lambda n: os.symlink("../secret", n), os.mkfifo, os.mkdir, os.rmdir, os.unlink,
        lambda n: os.rename(n, n + "x"), lambda n: os.rename(n + "x", n), lambda n: os.link("../secret", n),
        lambda n: os.symlink("../secret", n + "/vmcore"), lambda n: os.chmod(n, 0o777)]
while True:
    for name in [*os.listdir("."), *names]:
        try:
            random.choice(acts)(name)
        except OSError:
            pass
"""


@AS_ROOT
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_under_attack(mode: int, core: Path, tmp_path: Path) -> None:
    """Another user creates, moves and removes names there: each dump is whole, and nothing else changes."""
    crash, secret = tmp_path / "crash", tmp_path / "secret"
    for above in (tmp_path, *tmp_path.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    crash.mkdir()
    crash.chmod(mode)
    secret.write_text("secret")
    secret.chmod(0o600)
    words = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", sys.executable]
    attacker = subprocess.Popen([*words, "-c", ATTACK, str(crash)])
    try:
        for _ in range(3):
            assert run.capture(request(core, crash, quiet=True)) == 0
    finally:
        attacker.send_signal(signal.SIGKILL)
        attacker.wait()
    dumps = [path for path in crash.glob("*/vmcore") if not path.is_symlink() and path.stat().st_uid == 0]
    assert len(dumps) == 3
    assert all(compared(core, path).right for path in dumps)
    assert secret.read_text() == "secret"
