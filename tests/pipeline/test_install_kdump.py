"""``vmsieve install-kdump`` on made-up systems: what it changes, and that nothing is left of it afterwards."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.kdump_system import CONFIGS, TEXTS, config, make
from tests.dumps import ROOT
from vmsieve.formats.errors import OutputError
from vmsieve.pipeline.cli import main
from vmsieve.pipeline.kdump.settings import assignments, directives, last
from vmsieve.pipeline.kdump.system import System
from vmsieve.pipeline.kdump.texts import filled
from vmsieve.pipeline.kdump.writing import put
from vmsieve.pipeline.signals import Interrupted

if TYPE_CHECKING:
    from pathlib import Path

FLAVOURS = tuple(CONFIGS)
MODULE = "usr/lib/dracut/modules.d/99vmsieve"
JOURNAL = "var/lib/vmsieve/install-kdump/journal.json"
OURS = "core_collector vmsieve-makedumpfile"


@pytest.fixture(autouse=True)
def quick_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a disk here: no power fails."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def system(flavour: str, tmp_path: Path) -> Path:
    return make(tmp_path, flavour)


@pytest.fixture
def fedora(tmp_path: Path) -> Path:
    return make(tmp_path, "kdump-utils")


def install(root: Path, *more: str, status: int = 0) -> None:
    assert main(["install-kdump", "--root", str(root), *more]) == status


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder: permissions, and what tells its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        kind = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        plain = content.encode() if isinstance(content, str) else content
        found[str(path.relative_to(root))] = (kind, hashlib.sha256(plain).hexdigest())
    return found


def test_only_shown(system: Path, flavour: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --apply: a unified diff and what to run, and nothing is touched."""
    before = snapshot(system)
    install(system)
    said = capsys.readouterr().out
    assert "--- /dev/null\n+++ /usr/" in said
    assert re.search(r"^\+.*vmsieve", said, re.MULTILINE)
    assert snapshot(system) == before
    for words in {"kdump-utils": "kdumpctl rebuild", "suse": "mkdumprd -f"}.get(flavour, "Nothing was changed").split():
        assert words in said


@pytest.mark.parametrize("more", [[], ["--capture"]])
def test_done_and_undone(more: list[str], flavour: str, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice is like once; afterwards every file is there as before, byte for byte, and no folder is left."""
    if more and flavour == "kdump-utils":
        install(system, *more, "--apply", status=2)
        return
    before = snapshot(system)
    install(system, *more, "--apply")
    done = snapshot(system)
    assert done != before
    install(system, *more, "--apply")
    assert "already" in capsys.readouterr().out
    assert snapshot(system) == done
    install(system, "--undo", "--dry-run")
    assert snapshot(system) == done
    install(system, "--undo")
    assert snapshot(system) == before
    install(system, "--undo", status=2)
    assert "nothing to undo" in capsys.readouterr().err


def test_kdump_conf(fedora: Path) -> None:
    """The collector that counts is ours, with the options that were set; the old line stays as a comment."""
    install(fedora, "--apply")
    text = config(fedora, "kdump-utils").read_text()
    found = last(directives(text), "core_collector")
    assert found is not None
    assert found.value == "vmsieve-makedumpfile -l --message-level 7 -d 31"
    assert "\n#core_collector makedumpfile -l --message-level 7 -d 31\n" in text
    assert len([one for one in directives(text) if one.key == "core_collector"]) == 1
    module = fedora / MODULE / "module-setup.sh"
    assert module.stat().st_mode & 0o777 == 0o755
    assert f"vmsieve=({shlex.quote(sys.executable)} -m vmsieve)" in module.read_text()


@pytest.mark.parametrize(
    ("lines", "more", "collector"),
    [
        ("core_collector scp\n", [], "-l --message-level 7 -d 31"),
        ("core_collector makedumpfile -F -z -d 1,31 # ssh", [], "-z -d 1,31"),
        ('core_collector\t"/sbin/makedumpfile -p -d 17"\n', [], "-p -d 17"),
        (
            "core_collector cp\n\ncore_collector makedumpfile -E\ncore_collector cp\n",
            [],
            "-l --message-level 7 -d 31",
        ),
        ("path /\n", [], "-l --message-level 7 -d 31"),
        ("path /", ["--options", "-z -d 31"], "-z -d 31"),
        ("", [], "-l --message-level 7 -d 31"),
    ],
)
def test_collectors(lines: str, more: list[str], collector: str, fedora: Path) -> None:
    """Whatever was set, how often and in which form; undone, the file is what it was."""
    path = config(fedora, "kdump-utils")
    path.write_text(lines)
    install(fedora, *more, "--apply")
    found = [one.value for one in directives(path.read_text()) if one.key == "core_collector"]
    assert found == [f"vmsieve-makedumpfile {collector}"]
    install(fedora, "--undo")
    assert path.read_text() == lines


def test_kdump_tools(tmp_path: Path) -> None:
    """Its PATH begins with the folder of our makedumpfile, as a shell and systemd read it."""
    install(make(tmp_path, "kdump-tools"), "--apply", "--options", "-c -d 31")
    path = config(tmp_path, "kdump-tools")
    ran = subprocess.run(
        ["/bin/sh", "-c", f'PATH=/bin; . {path}; echo "$PATH"; echo "$MAKEDUMP_ARGS"'],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    first, _, rest = ran.stdout.splitlines()[0].partition(":")
    assert ran.stdout.splitlines()[1] == "-c -d 31"
    assert rest.split(":") == ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    assert os.access(tmp_path / first.lstrip("/") / "makedumpfile", os.X_OK)


def test_capture_in_the_initramfs_of_kdump_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script for initramfs-tools, and the image is to be made again; not where dumps go elsewhere."""
    path = config(make(tmp_path, "kdump-tools"), "kdump-tools")
    install(tmp_path, "--capture", "--apply")
    assert "postinst.d" in capsys.readouterr().out
    assert os.access(tmp_path / "etc/initramfs-tools/scripts/local-bottom/vmsieve", os.X_OK)
    install(tmp_path, "--apply")
    assert not list((tmp_path / "etc/initramfs-tools").rglob("vmsieve"))
    path.write_text(path.read_text() + 'SSH="root@elsewhere"\n')
    install(tmp_path, "--capture", "--apply", status=2)
    assert "SSH" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "pipeline/kdump/files").iterdir()))
def test_every_script_can_be_read(name: str) -> None:
    """By the shell that it asks for."""
    text = filled(name, program=("/opt/a b/vmsieve",), image=("/var/lib/x",), fallback=("/bin/other",))
    assert not re.search(rb"@[A-Z]+@", text)
    shell = text.split(b"\n")[0][2:].decode()
    if not os.path.exists(shell):
        pytest.skip(f"no {shell}")
    subprocess.run([shell, "-n"], check=True, input=text)


@pytest.mark.parametrize("runs", ["vmsieve", "other"])
def test_makedumpfile_that_can_not_start(runs: str, tmp_path: Path) -> None:
    """What kdump calls makedumpfile is vmsieve; if its interpreter is gone, it is what was there before."""
    for name in ("vmsieve", "other"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name}: $*"\n')
        (tmp_path / name).chmod(0o755)
    if runs == "other":
        (tmp_path / "vmsieve").write_text("#!/no/such/python\n")
    wrapper = tmp_path / "makedumpfile"
    wrapper.write_bytes(filled("makedumpfile.sh", program=(f"{tmp_path}/vmsieve",), fallback=(f"{tmp_path}/other",)))
    ran = subprocess.run(["/bin/sh", wrapper, "-F", "/proc/vmcore"], check=True, capture_output=True, text=True)
    assert ran.stdout == f"{runs}: -F /proc/vmcore\n"


def test_suse(tmp_path: Path) -> None:
    """By itself nothing of its settings changes; --capture sets KDUMP_TRANSFER, and can be left again."""
    path = config(make(tmp_path, "suse"), "suse")
    install(tmp_path, "--apply")
    assert path.read_text() == TEXTS["suse"]
    assert (tmp_path / MODULE / "makedumpfile").exists()
    install(tmp_path, "--capture", "--apply")
    found = last(assignments(path.read_text()), "KDUMP_TRANSFER")
    assert found is not None
    assert found.value == "vmsieve-kdump-transfer"
    assert sorted(one.name for one in (tmp_path / MODULE).iterdir()) == ["module-setup.sh", "vmsieve-kdump-transfer"]
    install(tmp_path, "--apply")
    assert path.read_text() == TEXTS["suse"]
    assert sorted(one.name for one in (tmp_path / MODULE).iterdir()) == ["makedumpfile", "module-setup.sh"]


@pytest.mark.parametrize("where", ["ftp://host/dumps", "sftp://user@host/dumps", "ssh://user:secret@host/dumps"])
def test_where_capture_can_not_save(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(make(tmp_path, "suse"), "suse")
    path.write_text(f'KDUMP_SAVEDIR="{where}"\n')
    install(tmp_path, "--capture", "--apply", status=2)
    said = capsys.readouterr().err
    assert "can't save to" in said
    assert "secret" not in said


def test_changes_of_others_stay(fedora: Path) -> None:
    """What was changed elsewhere in the file since is kept; only our lines are taken back."""
    path = config(fedora, "kdump-utils")
    install(fedora, "--apply")
    path.write_text(path.read_text().replace("/var/crash", "/srv/crash") + "final_action poweroff\n")
    install(fedora, "--apply", "--options", "-z -d 31")
    assert f"{OURS} -z -d 31\n" in path.read_text()
    install(fedora, "--undo")
    assert path.read_text() == TEXTS["kdump-utils"].replace("/var/crash", "/srv/crash") + "final_action poweroff\n"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("etc/kdump.conf", lambda text: text.replace(OURS, OURS + " -z")),
        ("etc/kdump.conf", lambda text: text.replace("# vmsieve install-kdump: end\n", "")),
        ("etc/kdump.conf", lambda text: text * 2),
        (f"{MODULE}/module-setup.sh", lambda text: text + "# mine\n"),
    ],
)
def test_what_can_not_be_undone_is_not_touched(
    name: str, change: object, fedora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our lines were changed since: nothing is undone, and the reason names the file and where its original is."""
    assert callable(change)
    install(fedora, "--apply")
    (fedora / name).write_text(change((fedora / name).read_text()))
    before = snapshot(fedora)
    install(fedora, "--undo", status=2)
    said = capsys.readouterr().err
    assert f"/{name}: " in said
    assert ("original/etc+kdump.conf" if name.startswith("etc") else "by hand") in said
    assert snapshot(fedora) == before


def test_what_is_gone_already(fedora: Path) -> None:
    """The package was removed with all its files, or its settings were replaced: nothing is left to undo in them."""
    install(fedora, "--apply")
    config(fedora, "kdump-utils").write_text("path /new\n")
    (fedora / MODULE / "module-setup.sh").unlink()
    install(fedora, "--undo")
    assert config(fedora, "kdump-utils").read_text() == "path /new\n"
    assert not (fedora / "var/lib/vmsieve").exists()
    assert not (fedora / "usr/lib/dracut").exists()


@pytest.mark.parametrize("enough", [0, 1])
def test_interrupted(enough: int, fedora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails after any number of files: what was done can be undone, or done again."""
    before = snapshot(fedora)
    written: list[str] = []

    def fail(system: System, name: str, *more: Any) -> None:
        if len(written) == enough:
            raise Interrupted("the power failed")
        written.append(name)
        put(system, name, *more)

    for then in ("--undo", "--apply"):
        with monkeypatch.context() as patched:
            patched.setattr("vmsieve.pipeline.kdump.install.put", fail)
            install(fedora, "--apply", status=1)
        install(fedora, then)
        written.clear()
    install(fedora, "--undo")
    assert snapshot(fedora) == before


@pytest.mark.parametrize("enough", [0, 1])
def test_nowhere_to_write(enough: int, fedora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is read-only or full, as /usr may be: what was done until then is taken back at once."""
    before = snapshot(fedora)
    written: list[str] = []

    def fail(system: System, name: str, *more: Any) -> None:
        if len(written) == enough:
            raise OutputError("Read-only file system")
        written.append(name)
        put(system, name, *more)

    monkeypatch.setattr("vmsieve.pipeline.kdump.install.put", fail)
    install(fedora, "--apply", status=1)
    assert snapshot(fedora) == before


def test_permissions_and_links_are_kept(fedora: Path) -> None:
    """The settings are a link to a file that only root may read: both stay so."""
    path = config(fedora, "kdump-utils")
    path.rename(fedora / "etc/real.conf")
    (fedora / "etc/real.conf").chmod(0o640)
    path.symlink_to("/etc/real.conf")
    before = snapshot(fedora)
    install(fedora, "--apply")
    assert path.is_symlink()
    assert (fedora / "etc/real.conf").stat().st_mode & 0o777 == 0o640
    assert OURS in (fedora / "etc/real.conf").read_text()
    install(fedora, "--undo")
    assert snapshot(fedora) == before


def test_a_system_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    """Links of a system mean what they mean on it, absolute ones and ``..`` too."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("no")
    (root / "etc/up").symlink_to("../../../secret")
    (root / "etc/abs").symlink_to(str(tmp_path / "secret"))
    system = System(str(root))
    assert system.resolve("/etc/up") == str(root / "secret")
    assert system.text("/etc/up") is None
    assert system.text("/etc/abs") is None
    assert system.resolve("/../../x") == str(root / "x")


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 2, "files": []}', b"\xff" * 100, b"[" * 100000,
     b'{"version": 1, "flavour": 1, "folders": [], "files": []}',
     b'{"version": 1, "flavour": "suse", "folders": [], "files": [{"path": "/x"}]}'],
)  # fmt: skip
def test_a_damaged_journal(damage: bytes, fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and nothing is changed."""
    install(fedora, "--apply")
    (fedora / JOURNAL).write_bytes(damage)
    before = snapshot(fedora)
    for word in ("--undo", "--apply"):
        install(fedora, word, status=2)
        assert "journal" in capsys.readouterr().err
    assert snapshot(fedora) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--options", "-d 31; reboot"], "characters"),
        (["--options", "-d 31\npath /"], "characters"),
        (["--options", "-d 99"], "0 to 31"),
        (["--rebuild"], "--apply"),
        (["--apply", "--rebuild"], "running system"),
        (["--flavour", "suse"], "/etc/sysconfig/kdump"),
    ],
)
def test_what_makes_no_sense(words: list[str], said: str, fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(fedora)
    install(fedora, *words, status=2)
    assert said in capsys.readouterr().err
    assert snapshot(fedora) == before


def test_no_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(tmp_path, status=2)
    assert "no kdump service" in capsys.readouterr().err
