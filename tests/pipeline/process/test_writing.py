"""Writing of files: refused outputs, files that stay, and the order of system calls."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

from tests.dumps import ROOT
from vmsieve.pipeline.process import writing
from vmsieve.pipeline.process.writing import Output, RefusedError, check_output, open_output, same_output, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def here(tmp_path: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)


def names() -> list[str]:
    return sorted(os.listdir())


def test_a_file_is_owner_only() -> None:
    """A new one, and one that replaces a file that others could read."""
    write_file("new", b"one")
    Path("there").write_bytes(b"old")
    os.chmod("there", 0o644)
    write_file("there", b"two", force=True)
    assert [os.stat(name).st_mode & 0o777 for name in ("new", "there")] == [0o600, 0o600]
    assert (Path("new").read_bytes(), Path("there").read_bytes()) == (b"one", b"two")
    assert names() == ["new", "there"]


@pytest.mark.parametrize("beside", [False, True])
def test_existing_files_stay(beside: bool) -> None:
    """Without ``force``, a file, a named FIFO and a directory are refused, before and when they are opened."""
    Path("file").write_bytes(b"old")
    os.mkfifo("fifo")
    for name in ("file", "fifo"):
        with pytest.raises(RefusedError, match="exists already"):
            check_output(name)
        with pytest.raises(RefusedError, match="exists already"):
            open_output(name, beside=beside)
    with pytest.raises(IsADirectoryError):
        open_output(".", force=True)
    assert Path("file").read_bytes() == b"old"
    assert names() == ["fifo", "file"]


def linked() -> str:
    os.symlink("input", "link")
    return "link"


def hard() -> str:
    os.link("input", "hard")
    return "hard"


def descriptor() -> str:
    return f"/proc/self/fd/{os.open('input', os.O_RDONLY)}"


def other_path() -> str:
    return os.path.join("..", os.path.basename(os.getcwd()), ".", "input")


@pytest.mark.parametrize(
    "name", [linked, hard, descriptor, other_path, lambda: "input", lambda: os.path.abspath("input")]
)
@pytest.mark.parametrize("follow", [False, True])
def test_an_input_is_not_written_to(name: Callable[[], str], follow: bool) -> None:
    """Under any of its names, with ``force`` too. A link itself may be replaced if links are not followed."""
    Path("input").write_bytes(b"dump")
    Path("other").write_bytes(b"")
    path = name()
    if not follow and os.path.islink(path):
        return
    for refuse in (check_output, open_output):
        with pytest.raises(RefusedError, match="the output is the input"):
            refuse(path, ["other", "gone", "input"], force=True)
    assert Path("input").read_bytes() == b"dump"


def test_standard_input_is_an_input() -> None:
    """The file behind standard input is not written to, under its name and as /dev/stdin."""
    Path("input").write_bytes(b"dump")
    code = (
        "from vmsieve.pipeline.process.writing import *\n"
        "for name in ('input', '/dev/stdin', '/dev/fd/0'):\n"
        "    try: open_output(name, ['-'], force=True)\n"
        "    except RefusedError as error: print(error.strerror)\n"
    )
    with open("input", "rb") as stream:
        ran = subprocess.run(
            [sys.executable, "-c", code], stdin=stream, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
    assert ran.stdout == "the output is the input\n" * 3
    assert Path("input").read_bytes() == b"dump"


def test_a_bind_mount_is_the_file(tmp_path: Path) -> None:
    """Another name that a mount gives the input."""
    Path("input").write_bytes(b"dump")
    Path("elsewhere").touch()
    if os.geteuid() or subprocess.run(["mount", "--bind", "input", "elsewhere"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(RefusedError, match="the output is the input"):
            open_output("elsewhere", ["input"], force=True)
        # A mount point can't be replaced: it stays, and no file is left beside it.
        with pytest.raises(OSError, match="busy"):
            write_file("elsewhere", b"new", force=True)
        assert Path("input").read_bytes() == b"dump"
        assert names() == ["elsewhere", "input"]
    finally:
        subprocess.run(["umount", "elsewhere"], check=True)


def disk(number: tuple[int, int]) -> os.stat_result:
    """The result of stat(2) for a block device."""
    return os.stat_result((stat.S_IFBLK | 0o600, 1, 2, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(*number)})


#: Input, output, and True if writing to the output changes the input. sda has partitions sda1 and sda2; loop0 is of
#: the file "image" and has the partition loop0p1; the file of loop1 is deleted.
DISKS = (
    ("sda1", "sda1", True), ("sda1", "sda", True), ("sda", "sda1", True), ("sda1", "sda2", False),
    ("sda", "loop0", False), ("loop0", "image", True), ("image", "loop0", True), ("loop0p1", "image", True),
    ("image", "loop0p1", True), ("loop0", "loop0p1", True), ("loop0", "other", False), ("loop1", "loop1", True),
    ("loop1", "image", False), ("sdb", "sdb", True), ("sdb", "sda", False),
)  # fmt: skip


@pytest.mark.parametrize(("one", "other", "harms"), DISKS)
def test_a_disk_and_its_partitions_are_one_output(
    one: str, other: str, harms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition and its whole disk, a loop device and its backing file; sdb is unknown to sysfs."""
    numbers = {
        "sda": (8, 0), "sda/sda1": (8, 1), "sda/sda2": (8, 2), "loop0": (7, 0), "loop0/loop0p1": (259, 0),
        "loop1": (7, 1),
    }  # fmt: skip
    os.mkdir("block")
    for name, (major, minor) in numbers.items():
        os.makedirs(f"devices/{name}")
        Path("devices", name, "dev").write_text(f"{major}:{minor}\n")
        if "/" in name:
            Path("devices", name, "partition").write_text("1\n")
        os.symlink(f"../devices/{name}", f"block/{major}:{minor}")
    for name, image in ("loop0", "image"), ("loop1", "gone"):
        os.mkdir(f"devices/{name}/loop")
        Path("devices", name, "loop", "backing_file").write_text(f"{os.path.abspath(image)}\n")
    for name in ("image", "other"):
        Path(name).touch()
    known = {os.path.basename(name): disk(number) for name, number in numbers.items()} | {"sdb": disk((8, 16))}
    real = os.stat
    monkeypatch.setattr(writing, "_DISKS", "block")
    monkeypatch.setattr(os, "stat", lambda path, **how: known[path] if path in known else real(path, **how))
    if harms:
        with pytest.raises(RefusedError, match="the output is the input"):
            check_output(other, [one], force=True)
    else:
        check_output(other, [one], force=True)


def test_a_loop_device_is_the_file_behind_it() -> None:
    """As in sysfs."""
    Path("input").write_bytes(b"dump".ljust(1 << 20))
    ran = shutil.which("losetup") and subprocess.run(
        ["losetup", "-f", "--show", "input"], check=False, capture_output=True, text=True
    )
    if not ran or ran.returncode:
        pytest.skip("this takes root and loop devices")
    device = ran.stdout.strip()
    try:
        for one, other in (("input", device), (device, "input")):
            with pytest.raises(RefusedError, match="the output is the input"):
                open_output(other, [one], force=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    assert Path("input").read_bytes()[:4] == b"dump"


def test_a_link_leads_to_the_file() -> None:
    """The file is replaced and the link stays, or the link is replaced if links are not followed."""
    os.mkdir("far")
    Path("far/file").write_bytes(b"old")
    os.symlink("far/file", "link")
    write_file("link", b"new", force=True)
    assert os.path.islink("link")
    assert Path("far/file").read_bytes() == b"new"
    write_file("link", b"other", force=True, follow=False)
    assert not os.path.islink("link")
    assert (Path("link").read_bytes(), Path("far/file").read_bytes()) == (b"other", b"new")
    os.symlink("nowhere", "broken")
    for force in (False, True):
        with pytest.raises(RefusedError, match="leads to nothing"):
            write_file("broken", b"new", force=force)
    assert not os.path.lexists("nowhere")


def test_a_link_planted_beside_is_not_followed() -> None:
    """The temporary name may exist: another one is used."""
    Path("secret").write_bytes(b"secret")
    os.symlink("secret", f"out.incomplete-{os.getpid()}")
    os.mkfifo(f"out.incomplete-{os.getpid()}-2")
    write_file("out", b"new")
    assert (Path("secret").read_bytes(), Path("out").read_bytes()) == (b"secret", b"new")
    assert len(names()) == 4


def test_devices_that_keep_nothing() -> None:
    """/dev/null, /dev/zero and a shell's pipe need no ``force``; other devices do."""
    for name in ("/dev/null", "/dev/zero"):
        write_file(name, b"gone")
    reader, writer = os.pipe()
    write_file(f"/dev/fd/{writer}", b"heard")
    assert os.read(reader, 100) == b"heard"
    if os.path.exists("/dev/urandom"):
        with pytest.raises(RefusedError, match="exists already"):
            open_output("/dev/urandom")


def test_a_fifo_without_a_reader_is_not_waited_for() -> None:
    os.mkfifo("fifo")
    with pytest.raises(OSError, match="No such device") as caught:
        write_file("fifo", b"text", force=True)
    assert caught.value.errno == errno.ENXIO
    assert names() == ["fifo"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("calls", [("write",), ("fsync",), ("link", "rename")])
def test_a_failure_leaves_the_old_file(there: bool, calls: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step fails: the old file or none remains, and no temporary file."""
    if there:
        Path("file").write_bytes(b"old")

    def fail(*_: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for call in calls:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        write_file("file", b"new", force=there)
    monkeypatch.undo()
    assert names() == (["file"] if there else [])
    assert not there or Path("file").read_bytes() == b"old"


@pytest.mark.parametrize("links", [False, True])
def test_a_file_made_meanwhile_stays(links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another process creates meanwhile is not overwritten, also without hard links."""

    def none(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", none)
    output = open_output("file")
    output.write(b"ours")
    Path("file").write_bytes(b"theirs")
    with pytest.raises(RefusedError, match="exists already"), output:
        pass
    assert Path("file").read_bytes() == b"theirs"
    assert names() == ["file"]
    write_file("new", b"ours")
    assert Path("new").read_bytes() == b"ours"
    assert os.stat("new").st_nlink == 1


def test_the_order_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is synced before the file has its name, and the name before success is reported."""
    Path("file").write_bytes(b"old")
    told: list[str] = []
    real = {name: getattr(os, name) for name in ("write", "fsync", "rename")}

    def record(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            told.append("fsync of the directory" if folder else name)
            return real[name](*arguments)

        return call

    for name in real:
        monkeypatch.setattr(os, name, record(name))
    write_file("file", b"new", force=True)
    assert told == ["write", "fsync", "rename", "fsync of the directory"]


def test_a_dump_has_its_name_from_the_start() -> None:
    """It has its name from the start, so a partial one can be read; a dropped one is deleted."""
    output = open_output("new", beside=False)
    assert not output.beside
    output.write(b"torn")
    assert Path("new").read_bytes() == b"torn"
    output.drop()
    output.close()
    assert names() == []
    with pytest.raises(KeyError), open_output("new", beside=False):
        raise KeyError
    assert names() == []
    with open_output("new", beside=False) as output:
        output.write(b"whole")
    assert Path("new").read_bytes() == b"whole"


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"line\nfeed", "n\N{LATIN SMALL LETTER A WITH DIAERESIS}".encode() * 85, b"x" * 255]
)
def test_any_name(name: bytes) -> None:
    """Names that are not UTF-8, contain a line feed, or have the maximum length."""
    path = os.fsdecode(name)
    write_file(path, b"one")
    write_file(path, b"two", force=True)
    assert os.listdir(b".") == [name]
    assert Path(path).read_bytes() == b"two"


def test_unwritable_places() -> None:
    """Reported before the work if possible, otherwise on opening."""
    Path("file").touch()
    for name in ("", "/nonexistent/out", "file/out", "folder/"):
        for refuse in (check_output, open_output):
            with pytest.raises(OSError, match=r"No such|Not a"):
                refuse(name)
    check_output("new")
    assert names() == ["file"]


def test_a_file_made_between_check_and_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made meanwhile stays, and a file that replaced a device is not written to."""
    Path("there").write_bytes(b"old")
    monkeypatch.setattr(writing, "_allowed", lambda *_, **__: None)
    with pytest.raises(FileExistsError):
        open_output("there", beside=False)
    null = os.stat("/dev/null")
    monkeypatch.setattr(writing, "_allowed", lambda *_, **__: null)
    for place in ("there", "/dev/zero"):
        with pytest.raises(RefusedError, match="was replaced"):
            open_output(place)
    assert Path("there").read_bytes() == b"old"


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_is_called_one(force: bool) -> None:
    """-f would not help, and is not recommended."""
    os.mkdir("folder")
    for refuse in (check_output, open_output):
        with pytest.raises(IsADirectoryError):
            refuse("folder", force=force)


def test_two_names_of_one_output() -> None:
    """Under any name: existing files, and files to be created. A sink may be named twice."""
    Path("file").touch()
    os.link("file", "hard")
    os.symlink("file", "link")
    os.symlink(".", "folder")
    for one, other in (("file", "hard"), ("file", "link"), ("new", "./new"), ("new", "folder/new")):
        assert same_output(one, other)
    for one, other in (("file", "new"), ("new", "newer"), ("/dev/null", "/dev/null")):
        assert not same_output(one, other)


def test_it_loads_few_modules() -> None:
    """The first process of a capture has no memory for more."""
    code = (
        "import sys; before = set(sys.modules); import vmsieve.pipeline.process.writing\n"
        "print(*set(sys.modules) - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/",
        env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    ours = {
        "vmsieve",
        "vmsieve.pipeline",
        "vmsieve.pipeline.process",
        "vmsieve.pipeline.process.writing",
    }
    assert set(ran.stdout.split()) <= ours | {"__future__", "errno"}
    assert isinstance(writing.Output, type)
    assert Output.__doc__
