"""``vmsieve install-kdump`` on made-up systems: its changes, and their complete removal."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.build.kdump_system import CONFIGS, TEXTS, config, make, put
from tests.dumps import PACKAGE
from tests.pipeline.services.install_kit import MODULE, install, snapshot
from vmsieve.pipeline.services.dracut import module_change
from vmsieve.pipeline.services.settings import assignments, directives, last
from vmsieve.pipeline.services.templates import fill

if TYPE_CHECKING:
    from pathlib import Path


FLAVOURS = tuple(CONFIGS)


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def system(flavour: str, tmp_path: Path) -> Path:
    return make(tmp_path, flavour)


def test_only_shown(system: Path, flavour: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --apply: a unified diff and the commands to run; no file is changed."""
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
    """Twice equals once; after --undo every file is as before, byte for byte, and no folder is left."""
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
    """The active collector is vmsieve's, with the configured options; the old line stays as a comment."""
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
    """Any collector lines in any number and form; undone, the file is as before."""
    path = config(fedora, "kdump-utils")
    path.write_text(lines)
    install(fedora, *more, "--apply")
    found = [one.value for one in directives(path.read_text()) if one.key == "core_collector"]
    assert found == [f"vmsieve-makedumpfile {collector}"]
    install(fedora, "--undo")
    assert path.read_text() == lines


@pytest.mark.parametrize("place", ["usr/bin", "usr/sbin", "usr/local/bin", "opt/vmsieve/bin"])
def test_the_image_runs_our_program(place: str, fedora: Path, tmp_path: Path) -> None:
    """kdump-utils puts the host's program of the collector's name into the image first: vmsieve's replaces it."""
    root, files = tmp_path / "root", tmp_path / "files"
    for folder in (root / place, root / "usr/bin", files):
        folder.mkdir(parents=True, exist_ok=True)
    (root / place / "vmsieve-makedumpfile").write_text("the host's")
    (files / "vmsieve-makedumpfile").write_text("ours")
    install(fedora, "--apply")
    stub = tmp_path / "stub"
    listed = f"{files}/vmsieve-makedumpfile /usr/bin/vmsieve-makedumpfile"
    stub.write_text(f"#!/bin/sh\n[ $1 != image ] || echo {listed}\n")
    stub.chmod(0o755)
    name = f"/{place}/vmsieve-makedumpfile" if place.startswith("opt") else "vmsieve-makedumpfile"
    (tmp_path / "kdump.conf").write_text(f"core_collector {name} -l -d 31\n")
    script = (fedora / MODULE / "module-setup.sh").read_text().replace("/etc/kdump.conf", str(tmp_path / "kdump.conf"))
    steps = 'inst() { [ -e "$initdir$2" ] || cp "$1" "$initdir$2"; }; dfatal() { echo "$@" >&2; }; install'
    subprocess.run(["bash", "-c", f"{script}\nvmsieve=({stub}); initdir={root}; {steps}"], check=True)
    found = [path.resolve() if not path.is_symlink() else root / os.readlink(path).lstrip("/")
             for path in root.rglob("vmsieve-makedumpfile")]  # fmt: skip
    assert {path.read_text() for path in found} == {"ours"}
    assert (root / place / "vmsieve-makedumpfile").is_symlink() == place.startswith("opt")


def test_kdump_tools(tmp_path: Path) -> None:
    """PATH begins with the folder of vmsieve's makedumpfile, as a shell and systemd read it."""
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
    """A script for initramfs-tools, and a hint to rebuild the image; not if dumps go elsewhere."""
    path = config(make(tmp_path, "kdump-tools"), "kdump-tools")
    install(tmp_path, "--capture", "--apply")
    assert "postinst.d" in capsys.readouterr().out
    assert os.access(tmp_path / "etc/initramfs-tools/scripts/local-bottom/vmsieve", os.X_OK)
    install(tmp_path, "--apply")
    assert not list((tmp_path / "etc/initramfs-tools").rglob("vmsieve"))
    path.write_text(path.read_text() + 'SSH="root@elsewhere"\n')
    install(tmp_path, "--capture", "--apply", status=2)
    assert "SSH" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.name for path in (PACKAGE / "pipeline" / "services" / "files").iterdir()))
def test_every_script_can_be_read(name: str) -> None:
    """By the shell of its first line."""
    text = fill(name, program=("/opt/a b/vmsieve",), image=("/var/lib/x",), fallback=("/bin/other",))
    assert not re.search(rb"@[A-Z]+@", text)
    shell = text.split(b"\n")[0][2:].decode()
    if not os.path.exists(shell):
        pytest.skip(f"no {shell}")
    subprocess.run([shell, "-n"], check=True, input=text)


@pytest.mark.parametrize("runs", ["vmsieve", "other"])
def test_makedumpfile_without_an_interpreter(runs: str, tmp_path: Path) -> None:
    """The makedumpfile of kdump is vmsieve; if its interpreter is missing, the original makedumpfile runs."""
    for name in ("vmsieve", "other"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name}: $*"\n')
        (tmp_path / name).chmod(0o755)
    if runs == "other":
        (tmp_path / "vmsieve").write_text("#!/no/such/python\n")
    wrapper = tmp_path / "makedumpfile"
    wrapper.write_bytes(fill("makedumpfile.sh", program=(f"{tmp_path}/vmsieve",), fallback=(f"{tmp_path}/other",)))
    ran = subprocess.run(["/bin/sh", wrapper, "-F", "/proc/vmcore"], check=True, capture_output=True, text=True)
    assert ran.stdout == f"{runs}: -F /proc/vmcore\n"


def test_suse(tmp_path: Path) -> None:
    """By default its settings stay; --capture sets KDUMP_TRANSFER, and can be undone."""
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


@pytest.mark.parametrize("name", ["kdump-utils", "suse"])
def test_the_module_of_a_package_stays(name: str, tmp_path: Path) -> None:
    """Setting up and undoing leaves it, even if the package was updated in between."""
    system = make(tmp_path, name)
    module = put(system, f"{MODULE}/module-setup.sh", module_change((sys.executable, "-m", "vmsieve")).content)
    before = snapshot(system)
    install(system, "--apply")
    module.write_text("# of a newer version\n")
    install(system, "--undo")
    assert module.read_text() == "# of a newer version\n"
    module.write_bytes(module_change((sys.executable, "-m", "vmsieve")).content)
    assert snapshot(system) == before


@pytest.mark.parametrize(
    ("variables", "collector", "script", "status"),
    [
        ("IN_KDUMP=1", "vmsieve-makedumpfile -l -d 31", "", 0),
        ("IN_KDUMP=1", "/opt/vmsieve/bin/vmsieve-makedumpfile -l -d 31", "", 0),
        ("IN_KDUMP=1", "makedumpfile -l -d 31", "", 255),
        ("dracutmodules=base", "vmsieve-makedumpfile -l -d 31", "", 255),
        ("add_dracutmodules=kdump", "", "makedumpfile", 0),
        ("add_dracutmodules=kdump", "", "vmsieve-kdump-transfer", 0),
        ("add_dracutmodules=kdump", "", "", 255),
    ],
)
def test_the_module_is_used_if_kdump_is_set_up(
    variables: str, collector: str, script: str, status: int, tmp_path: Path
) -> None:
    """A package installs the module in every system, so that its presence alone must change no initramfs."""
    conf = put(tmp_path, "kdump.conf", f"path /var/crash\ncore_collector {collector}\n" if collector else "")
    if script:
        put(tmp_path, script, "")
    module = module_change(("sh",)).content.decode().replace("/etc/kdump.conf", str(conf))
    command = f"{module}\nunset IN_KDUMP; {variables}; moddir={tmp_path}; check"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == status
