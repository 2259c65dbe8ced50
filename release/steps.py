"""The steps of the checklist: each returns what it found, or raises StepError or SkipError with the reason."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from release import sbom

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).resolve().parents[1]
#: Licences that Apache-2.0 code may depend on; SPDX names.
ALLOWED: Final = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MPL-2.0", "PSF-2.0"}
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class StepError(Exception):
    """The release would be wrong."""


class SkipError(Exception):
    """The step can't be done here, or was not to be."""


@dataclass(frozen=True)
class Work:
    """The project's folder, and the step's name."""

    folder: Path
    name: str

    @property
    def dist(self) -> Path:
        """Where packages are left."""
        return self.folder / "dist"

    def command(self, *words: str | Path, log: str = "", env: dict[str, str] | None = None) -> str:
        """Run a command in the project's folder; its output goes to a log, and is returned. Raises StepError."""
        ran = subprocess.run(
            [str(word) for word in words], cwd=self.folder, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", env=env,
        )  # fmt: skip
        path = self.folder / "build" / "release" / f"{log or self.name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ran.stdout)
        if ran.returncode:
            last = (ran.stdout.strip().splitlines() or ["no output"])[-1]
            raise StepError(
                f"{Path(words[0]).name} ended with {ran.returncode}: {last} ({path.relative_to(self.folder)})"
            )
        return ran.stdout

    def built(self, pattern: str) -> Path:
        """The package of this version in ``dist``; raises SkipError."""
        found = sorted(self.dist.glob(pattern), key=lambda path: path.stat().st_mtime)
        if not found:
            raise SkipError(f"there is no dist/{pattern}")
        return found[-1]


def versions(folder: Path) -> dict[str, str]:
    """The version that each file says; empty if it says none."""
    places = {
        "pyproject.toml": r'^version = "(.*)"$', "src/vmsieve/__init__.py": r'^__version__ = "(.*)"$',
        "CHANGELOG.md": r"^## (\S+)", "CITATION.cff": r"^version: (.*)$",
        "packaging/debian/changelog": r"^vmsieve \((.*)-", "packaging/vmsieve.spec": r"^Version: +(.*)$",
    }  # fmt: skip
    found = {name: re.search(pattern, (folder / name).read_text(), re.MULTILINE) for name, pattern in places.items()}
    return {name: match.group(1) if match else "" for name, match in found.items()}


def version(work: Work) -> str:
    """One version in all files, and its changes have a date."""
    found = versions(work.folder)
    if len(set(found.values())) > 1:
        raise StepError("; ".join(f"{name} says {text or 'none'}" for name, text in found.items()))
    heading = re.search(r"^## .*$", (work.folder / "CHANGELOG.md").read_text(), re.MULTILINE)
    if heading is None or not re.search(r" - \d{4}-\d\d-\d\d$", heading.group()):
        raise StepError(f"CHANGELOG.md: '{heading.group() if heading else ''}' has no date")
    return found["pyproject.toml"]


def tree(work: Work) -> str:
    """The working tree is what is committed."""
    changed = work.command("git", "status", "--porcelain").splitlines()
    if changed:
        raise StepError(f"{len(changed)} files are not committed: {changed[0].split()[-1]}")
    return work.command("git", "log", "-1", "--format=%h %s").strip()


def pins(work: Work) -> str:
    """What is installed here, and builds the release, is what ``constraints.txt`` says."""
    said = work.command(sys.executable, "-m", "pip", "freeze", "-q", "--exclude-editable")
    here = dict(line.split("==", 1) for line in said.splitlines() if "==" in line)
    wrong = [f"{name} {version}" for name, version in sbom.pins(work.folder).items() if here.get(name) != version]
    if wrong:
        raise StepError(f"not installed as constraints.txt says: {', '.join(wrong)}; 'make constraints' writes it")
    return f"{len(here)} packages as constraints.txt says"


def test(work: Work) -> str:
    """Lint, types, tests."""
    said = work.command("make", "test")
    return next((line.strip("= ") for line in reversed(said.splitlines()) if " passed" in line), "passed")


def perf(work: Work) -> str:
    """Speed in units of C code."""
    if not shutil.which("cc"):
        raise SkipError("no C compiler")
    work.command("make", "perf-check")
    return "no regression"


def licences(work: Work) -> str:
    """The licence is in place, and those of the dependencies allow it."""
    if "Apache License" not in (work.folder / "LICENSE").read_text():
        raise StepError("LICENSE is not the Apache License")
    found = {name: sbom.licence(name) for name in sbom.dependencies(work.folder)}
    for name, text in found.items():
        if not set(re.split(r" AND | OR |[()]", text)) - {""} <= ALLOWED:
            raise StepError(f"{name}: licence {text or 'unknown'}")
    return ", ".join(f"{name} {text}" for name, text in found.items())


def docs(work: Work) -> str:
    """The documentation, if there is a way to build it."""
    if not re.search(r"^docs:", (work.folder / "Makefile").read_text(), re.MULTILINE):
        raise SkipError("no 'make docs'")
    work.command("make", "docs")
    return "built"


def wheel(work: Work) -> str:
    """Wheel and sdist."""
    for path in work.dist.glob("vmsieve-*"):
        path.unlink()
    work.command(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", work.dist)
    return f"{work.built('vmsieve-*.whl').name}, {work.built('vmsieve-*.tar.gz').name}"


def install(work: Work) -> str:
    """Each of them in a new environment: a dump of the demo, verified."""
    demo = work.folder / "tests" / "demo" / "demo.elf.zst"
    for pattern in ("vmsieve-*.whl", "vmsieve-*.tar.gz"):
        package = work.built(pattern)
        place = work.folder / "build" / "release" / "environment"
        venv.create(place, clear=True, with_pip=True)
        options = ("-q", "-c", work.folder / "constraints.txt")
        work.command(place / "bin" / "python", "-m", "pip", "install", *options, package)
        program, dump = place / "bin" / "vmsieve", place / "dump"
        work.command(program, "dump", "-d", "31", demo, dump)
        if "The dump is right." not in work.command(program, "verify", demo, dump):
            raise StepError(f"the dump of {package.name} is wrong")
    return "wheel and sdist, each makes a right dump"


def components(work: Work) -> str:
    """The list of components."""
    path = sbom.write(work.folder, work.built("vmsieve-*.whl"))
    return path.name


def deb(work: Work) -> str:
    """Debian's package; its lint."""
    _need("dpkg-buildpackage", "dh", "pybuild")
    work.command("packaging/build-deb", env={"PATH": _PATH, "DEBEMAIL": "vmsieve@example.org"})
    changes = work.built("vmsieve_*.changes")
    if not shutil.which("lintian"):
        return f"{changes.stem}; no lintian"
    work.command("lintian", "--fail-on", "error", changes, log="lintian")
    return f"{changes.stem}; lintian finds no error"


def rpm(work: Work) -> str:
    """The RPM package; its lint."""
    _need("rpmbuild")
    work.command("packaging/build-rpm", "--prebuilt", env={"PATH": _PATH})
    package = work.built("vmsieve-*[!c].rpm")
    if not shutil.which("rpmlint"):
        return f"{package.name}; no rpmlint"
    work.command("rpmlint", "-c", "packaging/rpmlint.toml", "packaging/vmsieve.spec", package, log="rpmlint")
    return f"{package.name}; rpmlint finds no error"


def container(work: Work) -> str:
    """The container's image: it runs."""
    program = next((name for name in ("podman", "docker") if _runs(name, "info")), None)
    if program is None:
        raise SkipError("neither podman nor docker runs here")
    work.command(program, "build", "-t", "vmsieve:check", "-f", "packaging/Containerfile", ".")
    return work.command(program, "run", "--rm", "vmsieve:check", "--version").strip()


def _need(*programs: str) -> None:
    """Raise SkipError unless they and the system's hatchling are there."""
    for name in programs:
        if not shutil.which(name):
            raise SkipError(f"no {name}")
    if not _runs("/usr/bin/python3", "-c", "import hatchling"):
        raise SkipError("no python3-hatchling")


def _runs(*words: str) -> bool:
    return shutil.which(words[0]) is not None and not subprocess.run(words, check=False, capture_output=True).returncode


STEPS: Final[dict[str, Callable[[Work], str]]] = {
    "version": version, "tree": tree, "pins": pins, "test": test, "perf": perf, "licences": licences, "docs": docs,
    "wheel": wheel, "install": install, "sbom": components, "deb": deb, "rpm": rpm, "container": container,
}  # fmt: skip
