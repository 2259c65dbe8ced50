"""Packages of distributions: what they say of the project is right, and a .deb has the right files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

import vmsieve
from tests.dumps import PACKAGE, ROOT
from vmsieve.formats.compiler.lowering import TARGETS
from vmsieve.pipeline.services.dracut import MODULE_SETUP, module_change

if TYPE_CHECKING:
    from pathlib import Path

PACKAGING = ROOT / "packaging"
#: What Debian calls machines.
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el", "loongarch64": "loong64"}
SYSTEM_PYTHON = "/usr/bin/python3"


def field(name: str, path: str) -> str:
    """The value of the first ``name: value`` in a file of ``packaging``."""
    found = re.search(rf"^{name}:\s*(.*)$", (PACKAGING / path).read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_packages_have_the_version() -> None:
    changes = (PACKAGING / "debian/changelog").read_text()
    assert changes.startswith(f"vmsieve ({vmsieve.__version__}-")
    assert field("Version", "vmsieve.spec") == vmsieve.__version__
    assert re.search(
        rf"^\* .* - {re.escape(vmsieve.__version__)}-1$", (PACKAGING / "vmsieve.spec").read_text(), re.MULTILINE
    )


def test_packages_are_for_the_machines_with_machine_code() -> None:
    machines = {target.name.partition("-")[0] for target in TARGETS}
    assert set(field("ExclusiveArch", "vmsieve.spec").split()) == machines
    assert set(field("Architecture", "debian/control").split()) == {DEBIAN.get(one, one) for one in machines}


def test_packages_need_what_the_project_needs() -> None:
    """The same oldest versions to build with; the dependencies that are optional are recommended."""
    project = (ROOT / "pyproject.toml").read_text()
    for name, oldest in re.findall(r'"(hatchling|numba|llvmlite)>=([0-9.]+)"', project.partition("[project]")[0]):
        assert f"python3-{name} (>= {oldest})" in (PACKAGING / "debian/control").read_text()
        assert f"python3-{name} >= {oldest}" in (PACKAGING / "vmsieve.spec").read_text()
    needs = re.findall(
        r'^    "([a-z0-9]+)>=', project.partition("\ndependencies = [")[2].partition("\n]")[0], re.MULTILINE
    )
    assert len(needs) == 4
    for name in needs:
        assert f"python3-{name}" in field("Recommends", "debian/control")
        assert re.search(rf"^Recommends: +python3-{name}$", (PACKAGING / "vmsieve.spec").read_text(), re.MULTILINE)


def test_the_dracut_module_is_that_of_install_kdump() -> None:
    """Then ``install-kdump`` of the packaged program has nothing to change in it."""
    printed = subprocess.run([PACKAGING / "dracut-module", "/usr/bin/vmsieve"], check=True, capture_output=True).stdout
    assert printed == module_change(("/usr/bin/vmsieve",)).content
    folder = MODULE_SETUP.rpartition("/")[0].lstrip("/")
    assert folder in (PACKAGING / "debian/rules").read_text()
    assert f"%global module %{{_prefix}}/{folder.partition('/')[2]}\n" in (PACKAGING / "vmsieve.spec").read_text()


@pytest.mark.parametrize("name", ["build-deb", "build-rpm", "debian/vmsieve.prerm", "debian/vmsieve.postrm"])
def test_scripts_can_be_read(name: str) -> None:
    text = (PACKAGING / name).read_text()
    shell = "bash" if "bash" in text.splitlines()[0] else "sh"
    subprocess.run([shell, "-n"], check=True, input=text, text=True)


@pytest.mark.parametrize(("argument", "journal", "undone"), [("remove", True, True), ("remove", False, False),
                                                              ("upgrade", True, False)])  # fmt: skip
def test_removing_the_deb_restores_kdump(argument: str, journal: bool, undone: bool, tmp_path: Path) -> None:
    """If it is set up to use vmsieve. A failure to restore is told, and does not keep the package installed."""
    (tmp_path / "vmsieve").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\nexit 2\n')
    (tmp_path / "vmsieve").chmod(0o755)
    if journal:
        (tmp_path / "journal.json").touch()
    script = (PACKAGING / "debian/vmsieve.prerm").read_text()
    script = script.replace("/var/lib/vmsieve/install-kdump/journal.json", f"{tmp_path}/journal.json")
    ran = subprocess.run(
        ["sh", "-s", argument],
        input=script,
        env={"PATH": f"{tmp_path}:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "calls").exists() == undone
    assert ("by hand" in ran.stderr) == undone
    if undone:
        assert (tmp_path / "calls").read_text() == "install-kdump --undo\n"


def test_a_wheel_for_one_machine(tmp_path: Path) -> None:
    """As packages have it: only that machine's code, in a wheel that fits no other machine."""
    pytest.importorskip("hatchling", reason="hatchling builds the package")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env={**os.environ, "VMSIEVE_MACHINE": "x86_64"})
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == f"vmsieve-{vmsieve.__version__}-py3-none-linux_x86_64.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist() if name.endswith(".so")}
    assert names == {"x86_64.so", "x86_64-v1.so", "x86_64-v3.so"}
    unknown = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "VMSIEVE_MACHINE": "vax"}
    )
    assert "VMSIEVE_MACHINE=vax" in unknown.stderr


def test_the_container_has_what_it_copies() -> None:
    """From a checkout, an unpacked sdist, or the stage before; without hidden files, such as a clone's history."""
    text = (PACKAGING / "Containerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists()
    assert 'ENTRYPOINT ["vmsieve"]' in text
    if (ROOT / ".git").exists():
        assert (ROOT / ".dockerignore").read_text().splitlines()[0] == ".*"


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with this checkout's machine code."""
    for program in ("dpkg-buildpackage", "dh", "pybuild", SYSTEM_PYTHON):
        if not shutil.which(program):
            pytest.skip(f"no {program}")
    if subprocess.run([SYSTEM_PYTHON, "-c", "import hatchling"], check=False, capture_output=True).returncode:
        pytest.skip("no python3-hatchling")
    out = tmp_path_factory.mktemp("deb")
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "VIRTUAL_ENV")}
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBEMAIL": "builder@example.org"}
    command = [str(PACKAGING / "build-deb"), "--prebuilt", str(out)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    (made,) = out.glob("*.deb")
    return made


def test_the_deb_has_the_files(deb: Path) -> None:
    """Every module, machine code of this machine only, programs, the dracut module, documentation; nothing else."""
    listed = subprocess.run(["dpkg-deb", "-c", deb], check=True, capture_output=True, text=True).stdout.splitlines()
    names = {line.split()[5][1:] for line in listed if not line.startswith("d")}
    site = "/usr/lib/python3/dist-packages/vmsieve"
    machine = os.uname().machine
    objects = {f"{site}/formats/compiler/objects/{t.name}.so" for t in TARGETS if t.name.partition("-")[0] == machine}
    ours = {f"{site}/{p.relative_to(PACKAGE).as_posix()}" for p in PACKAGE.rglob("*.py")}
    assert ours | objects | {MODULE_SETUP, "/usr/bin/vmsieve", "/usr/bin/vmsieve-makedumpfile"} <= names
    assert {name for name in names if name.endswith(".so")} == objects
    assert {"/usr/share/doc/vmsieve/copyright", "/usr/share/doc/vmsieve/SECURITY.md"} <= names
    places = (f"{site}/", f"{site}-{vmsieve.__version__}.dist-info/", "/usr/share/")
    assert {n for n in names if not n.startswith(places)} == {
        MODULE_SETUP, "/usr/bin/vmsieve", "/usr/bin/vmsieve-makedumpfile"
    }  # fmt: skip


def test_lintian_finds_no_error(deb: Path) -> None:
    if not shutil.which("lintian"):
        pytest.skip("no lintian")
    (changes,) = deb.parent.glob("*.changes")
    ran = subprocess.run(["lintian", "--fail-on", "error", changes], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
