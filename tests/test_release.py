"""The checklist of a release, the list of components, and the constraints."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest
from release import sbom
from release.check import run
from release.steps import STEPS, SkipError, StepError, Work, versions

from tests.dumps import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def _passes(work: Work) -> str:
    return f"{work.name} is fine"


def _fails(work: Work) -> str:
    raise StepError(f"{work.name} is wrong")


def _can_not(work: Work) -> str:
    raise SkipError(f"no tool for {work.name}")


def test_a_line_for_each_step_and_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure does not end the checklist, and gives exit status 1; a skipped step gives its reason."""
    steps = {"one": _fails, "two": _can_not, "three": _passes, "four": _fails}
    assert run(steps, {"four"}, tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "failed   one       one is wrong", "skipped  two       no tool for two", "ok       three     three is fine",
        "skipped  four      as asked", "", "1 ok, 1 failed, 2 skipped",
    ]  # fmt: skip
    assert run({"two": _can_not, "three": _passes}, set(), tmp_path) == 0


def test_a_command_that_fails_names_its_last_line_and_log(tmp_path: Path) -> None:
    work = Work(tmp_path, "step")
    assert work.command("echo", "fine") == "fine\n"
    with pytest.raises(StepError, match=r"^sh ended with 3: last \(build/release/step\.log\)$"):
        work.command("sh", "-c", "echo first; echo last >&2; exit 3")
    assert (tmp_path / "build/release/step.log").read_text() == "first\nlast\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the project that say its version, with a dated changelog."""
    for name in versions(ROOT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    path = tmp_path / "CHANGELOG.md"
    path.write_text(re.sub(r"^(## \S+) - .*$", r"\1 - 2026-12-01", path.read_text(), count=1, flags=re.MULTILINE))
    return tmp_path


def test_the_version(project: Path) -> None:
    """Equal in all files; the first heading of the changelog has a date."""
    assert STEPS["version"](Work(project, "version")) == versions(ROOT)["pyproject.toml"]
    changes = project / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace(" - 2026-12-01", " - unreleased", 1))
    with pytest.raises(StepError, match="no date"):
        STEPS["version"](Work(project, "version"))


@pytest.mark.parametrize("name", versions(ROOT))
def test_another_version_in_one_file(name: str, project: Path) -> None:
    path, mine = project / name, versions(ROOT)["pyproject.toml"]
    path.write_text(path.read_text().replace(mine, "7.7.7"))
    with pytest.raises(StepError, match=re.escape(f"{name} says 7.7.7")):
        STEPS["version"](Work(project, "version"))


def test_the_tree_is_committed(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".gitignore").write_text("build\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    assert STEPS["tree"](Work(tmp_path, "tree")).endswith(" first")
    (tmp_path / "new").touch()
    with pytest.raises(StepError, match=r"1 files are not committed: new"):
        STEPS["tree"](Work(tmp_path, "tree"))


def test_licences_of_the_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are known and allowed; another one fails the step."""
    work = Work(ROOT, "licences")
    assert "zstandard BSD-3-Clause" in STEPS["licences"](work)
    monkeypatch.setattr(sbom, "licence", lambda name: "GPL-2.0-only" if name == "lz4" else "MIT")
    with pytest.raises(StepError, match=r"lz4: licence GPL-2\.0-only"):
        STEPS["licences"](work)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "vmsieve-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vmsieve/formats/compiler/objects/x86_64.so", b"code")
        archive.writestr("vmsieve/__init__.py", b"")
    return path


def test_the_components_of_a_wheel(wheel: Path) -> None:
    """CycloneDX: the wheel and its digest, machine code, what it uses and what built it, with versions and licences."""
    path = sbom.write(ROOT, wheel)
    assert path.name == "vmsieve-1.2.3.cdx.json"
    found = json.loads(path.read_text())
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", found["serialNumber"])
    itself = found["metadata"]["component"]
    assert itself["purl"] == "pkg:pypi/vmsieve@1.2.3"
    assert itself["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    by_name = {one["name"]: one for one in found["components"]}
    code = by_name.pop("vmsieve/formats/compiler/objects/x86_64.so")
    assert code["hashes"][0]["content"] == hashlib.sha256(b"code").hexdigest()
    scopes = {name: one["scope"] for name, one in by_name.items()}
    used = {name for name, scope in scopes.items() if scope == "optional"}
    assert used == {"isal", "lz4", "tqdm", "zstandard"}
    assert {name for name, scope in scopes.items() if scope == "excluded"} == {"hatchling", "llvmlite", "numba"}
    for name, one in by_name.items():
        assert one["version"] == sbom.pins(ROOT)[name]
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
    assert found["dependencies"][0]["dependsOn"] == [one["bom-ref"] for one in by_name.values() if one["name"] in used]
    references = [one["bom-ref"] for one in [itself, *found["components"]]]
    assert len(references) == len(set(references))


def test_the_components_depend_on_the_wheel_alone(wheel: Path) -> None:
    first = sbom.write(ROOT, wheel).read_bytes()
    assert sbom.write(ROOT, wheel).read_bytes() == first


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_constraints_meet_what_the_project_asks_for() -> None:
    """Every package to run, build and develop is pinned, to a version that is new enough: 'make constraints'."""
    pins = {name.lower(): version for name, version in sbom.pins(ROOT).items()}
    text = (ROOT / "pyproject.toml").read_text()
    sections = [sbom._section(ROOT, f"\n{start} = [") for start in ("requires", "dependencies", "dev")]
    assert all(sections), text
    asked = [pair for section in sections for pair in re.findall(r'"([A-Za-z0-9_.-]+)>=([0-9.]+)', section)]
    assert len(asked) > 12
    assert not [name for name, oldest in asked if _numbers(pins.get(name.lower(), "")) < _numbers(oldest)]


def test_ci_uses_the_constraints() -> None:
    path = ROOT / ".ci" / "run"
    if not path.exists():
        pytest.skip("the sdist has no .ci")
    assert "CONSTRAINTS=constraints.txt" in path.read_text()
