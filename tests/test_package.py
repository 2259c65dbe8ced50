"""The package as installed: the content of wheel and sdist, and that it works.

Build backends leave files out silently, so the wheel's content is checked here.
"""

from __future__ import annotations

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

import vmsieve
from tests.build import elf_core
from tests.dumps import PACKAGE, ROOT, dump
from vmsieve.pipeline.manual.make import shared_files

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINES = ("aarch64", "loongarch64", "ppc64le", "riscv64", "s390x", "x86_64", "x86_64-v1", "x86_64-v3")
ROOMS = ("filters", "formats", "pipeline")


def attempt(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` with no more of this process's environment than an installed package has."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("VMSIEVE_")}
    return subprocess.run(
        command, cwd=cwd, env={**inherited, **(env or {})}, check=False, capture_output=True, text=True, timeout=900
    )


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``command``; a failure shows its output."""
    ran = attempt(*command, cwd=cwd, env=env)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def build(kind: str, project: Path, out: Path) -> Path:
    """The one ``kind`` (wheel, sdist) that hatchling makes of ``project``."""
    pytest.importorskip("hatchling", reason="hatchling builds the package")
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, cwd=project)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def data_folder(wheel: Path) -> str:
    """The folder in ``wheel`` whose content goes to ``share``."""
    return f"{'-'.join(wheel.name.split('-')[:2])}.data/data/share/"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content only, as an installer leaves it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def sources() -> set[str]:
    """Names of the package's Python files as installed, of scripts that it puts into systems, and of parts of pages."""
    kinds = ("*.py", "*.sh", "*.html", "*.css", "*.js")
    found = [path for room in ROOMS for kind in kinds for path in (PACKAGE / room).rglob(kind)]
    rooms = {f"vmsieve/{path.relative_to(PACKAGE).as_posix()}" for path in found}
    assert len(rooms) > 60
    return rooms | {"vmsieve/__init__.py", "vmsieve/__main__.py"}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Python files of the rooms, machine code for every machine, man pages and completion, the metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    metadata = {f"{info}/{n}" for n in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    objects = {f"vmsieve/formats/compiler/objects/{machine}.so" for machine in MACHINES}
    share = {f"{data_folder(wheel)}{name}" for name in shared_files("0")}
    assert sorted(names) == sorted(sources() | objects | metadata | share | {"vmsieve/py.typed"})


def test_man_pages_and_completion_in_the_wheel_are_those_of_the_options(wheel: Path) -> None:
    """Not those of an earlier build."""
    with zipfile.ZipFile(wheel) as archive:
        for name, text in shared_files(vmsieve.__version__).items():
            assert archive.read(f"{data_folder(wheel)}{name}").decode() == text


def test_the_metadata_says_whose_it_is_and_where_it_runs(wheel: Path) -> None:
    """Authors, licence, one classifier for each Python from the oldest on; no address, as the project has none."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Author"] == "vmsieve developers"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.9"
    versions = [c.rpartition(" ")[2] for c in metadata.get_all("Classifier", []) if ":: Python :: 3." in c]
    assert versions == [f"3.{minor}" for minor in range(9, 15)]
    assert not metadata.get_all("Project-URL")


def test_one_version_everywhere() -> None:
    """The package, its metadata, the changelog, and how it is cited."""
    project = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    cited = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert project == cited == changes[:1] == [vmsieve.__version__]


def test_one_wheel_serves_all_machines_and_pythons(wheel: Path) -> None:
    """Machine code is chosen at run time, so the wheel fits all platforms."""
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_sdist_is_the_project(sdist: Path) -> None:
    """The package, tests, measurements and the build hook; the links at the top would add everything twice."""
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    names = {str(PurePosixPath(*PurePosixPath(m.name).parts[1:])) for m in members}
    assert all(m.isfile() for m in members)
    assert not [n for n in names if n.startswith(ROOMS)]
    assert {"hatch_build.py", "LICENSE", "README.md", "Makefile", "tests/conftest.py", "perf/__init__.py"} <= names
    assert {"CHANGELOG.md", "CITATION.cff", "SECURITY.md"} <= names
    assert {n for n in names if n.startswith("src/")} == {f"src/{n}" for n in (*sources(), "vmsieve/py.typed")}
    assert not [n for n in names if n.endswith((".so", ".pyc"))]


def test_a_wheel_from_the_sdist_is_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Byte for byte, machine code included: it is compiled again, with the same result."""
    run("tar", "-C", tmp_path, "-xf", sdist)
    (project,) = tmp_path.iterdir()
    again = build("wheel", project, tmp_path / "out")
    assert again.name == wheel.name
    with zipfile.ZipFile(again) as new, zipfile.ZipFile(wheel) as old:
        assert {n: new.read(n) for n in new.namelist()} == {n: old.read(n) for n in old.namelist()}


def test_an_installation_works_with_nothing_beside_it(wheel: Path, tmp_path: Path) -> None:
    """In a clean environment without dependencies: the script exists, and makes a dump of a small core."""
    pytest.importorskip("pip", reason="pip installs the wheel")
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    script = tmp_path / "env" / "bin" / "vmsieve"
    assert run(script, "--version").stdout == f"vmsieve {wheel.name.split('-')[1]}\n"
    core, out = tmp_path / "core", tmp_path / "out"
    core.write_bytes(elf_core.core("@0x1000 fill 01020304 x64\n@0x41000 zero x8\n"))
    run(script, "dump", "-d", "1", "-c", core, out, env={"VMSIEVE_KERNELS": "aot"})
    assert (tmp_path / "env" / "share" / "man" / "man1" / "vmsieve-dump.1").exists()
    assert "The dump is right." in run(script, "verify", core, out).stdout
    assert run(python, "-c", "import vmsieve; print(vmsieve.__path__[0])", cwd=tmp_path).stdout.startswith(
        str(tmp_path / "env")
    )
    for room in ROOMS:
        refused = attempt(python, "-c", f"import {room}", cwd=tmp_path)
        assert "ModuleNotFoundError" in refused.stderr, f"{room} is installed under a name that belongs to all"


def test_an_editable_installation_is_the_checkout(tmp_path: Path) -> None:
    """``pip install -e .``: a path file that names ``src``, so that edited files are the ones that run."""
    pytest.importorskip("pip", reason="pip installs it")
    pytest.importorskip("hatchling", reason="hatchling builds it")
    hook = "from hatchling.build import build_editable; import sys; build_editable(sys.argv[1])"
    run(sys.executable, "-c", hook, tmp_path, cwd=ROOT)
    (made,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", made)
    where = run(python, "-c", "import vmsieve.pipeline.cli.main as m; print(m.__file__)", cwd=tmp_path).stdout.strip()
    assert Path(where).resolve() == PACKAGE / "pipeline" / "cli" / "main.py"
    assert run(tmp_path / "env" / "bin" / "vmsieve", "--version", cwd=tmp_path).stdout.startswith("vmsieve ")


def test_tests_pass_on_the_installed_package(unpacked: Path, scratch: Path) -> None:
    """Users run the wheel: the page selection of the demo dump is tested on it instead of the checkout."""
    env = {"PYTHONPATH": str(unpacked), "VMSIEVE_KERNELS": "aot"}
    where = run(sys.executable, "-c", "import vmsieve; print(vmsieve.__file__)", cwd=scratch, env=env).stdout
    assert where.startswith(str(unpacked))
    ran = run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=.", "-k", "demo",
        "tests/pipeline/dump/test_levels.py", cwd=ROOT, env=env,
    )  # fmt: skip
    assert " passed" in ran.stdout


def old_python() -> Iterator[Path]:
    """Interpreters of Python 3.9, the oldest supported version."""
    found = shutil.which("python3.9")
    if found:
        yield Path(found)
    yield from Path.home().glob(".pyenv/versions/3.9.*/bin/python")


@pytest.fixture(scope="module")
def python39() -> Path:
    for path in old_python():
        if attempt(path, "-c", "import ctypes, zlib").returncode == 0:
            return path
    pytest.skip("no Python 3.9 (python3.9 in PATH, or pyenv's)")


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(), str(path), feature_version=(3, 9))


def test_every_file_is_python_39() -> None:
    """By its syntax, and by the parameters that later versions gave to dataclass and zip."""
    late = []
    for name, tree in parsed():
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)):
            taken = {keyword.arg for keyword in call.keywords}
            assert isinstance(call.func, ast.Name)
            if taken & {"dataclass": {"slots", "kw_only", "match_args"}, "zip": {"strict"}}.get(call.func.id, set()):
                late.append(f"{name}:{call.lineno}")
    assert not late


def test_python_39_imports_every_module(unpacked: Path, python39: Path) -> None:
    """All but the two that belong to numba, which such a Python need not have."""
    files = [path.relative_to(unpacked).with_suffix("") for path in sorted(unpacked.rglob("*.py"))]
    ours = [".".join(f.parts).replace(".__init__", "") for f in files if f.name not in ("numba_backend", "__main__")]
    assert len(ours) > 60
    code = f"import importlib\nfor name in {ours!r}: importlib.import_module(name)"
    run(python39, "-W", "error", "-c", code, env={"PYTHONPATH": str(unpacked)})


@pytest.mark.parametrize("codec", ["-c", "-l", "-p", "-z"])
def test_python_39_makes_a_dump(codec: str, unpacked: Path, python39: Path, scratch: Path, tmp_path: Path) -> None:
    """The demo dump, start to end, with the packages of that Python and its system."""
    source, out = dump("demo.elf", scratch), tmp_path / "out"
    env = {"PYTHONPATH": str(unpacked), "VMSIEVE_KERNELS": "aot"}
    if codec == "-z" and "no" in run(python39, "-c", HAS_ZSTD, env=env).stdout:
        pytest.skip("neither the zstandard module nor libzstd.so.1 is there")
    command = (python39, "-W", "error", "-m", "vmsieve")
    assert "Pages with data" in run(*command, "dump", "-d", "31", codec, source, out, env=env).stderr
    assert "The dump is right." in run(*command, "verify", source, out, env=env).stdout


HAS_ZSTD = """
from vmsieve.formats.codecs import codec
from vmsieve.formats.errors import UsageError
try:
    codec("zstd").open_compressor(1, 4096)
except UsageError:
    print("no")
"""


def test_python_39_tells_about_a_dump(unpacked: Path, python39: Path, scratch: Path) -> None:
    """The other commands."""
    source = dump("demo.elf", scratch)
    command = (python39, "-W", "error", "-m", "vmsieve")
    env = {"PYTHONPATH": str(unpacked)}
    said = {one: run(*command, one, source, env=env).stdout for one in ("info", "classes", "dmesg")}
    assert "6.12.95-vmsieve-demo" in said["info"]
    assert "Free pages" in said["classes"]
    assert "Kernel panic" in said["dmesg"]
