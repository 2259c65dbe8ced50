"""``docs/schemas``: the JSON document of each command is what its schema says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.kdump_system import make as make_system
from tests.dumps import ROOT
from vmsieve.pipeline.cli.commands import commands
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.process.options import listed

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "docs/schemas"
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
TYPES: dict[str, Any] = {
    "null": type(None), "boolean": bool, "integer": int, "number": (int, float), "string": str, "array": list,
    "object": dict,
}  # fmt: skip
#: The keywords that the schemas use, and this file checks.
KNOWN = {
    "$schema", "description", "type", "properties", "required", "additionalProperties", "items", "enum", "anyOf",
}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """Where ``value`` is not what ``schema`` says."""
    assert {*schema} <= KNOWN, at
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, TYPES[one]) and not (isinstance(value, bool) and one != "boolean") for one in kinds):
        return [f"{at}: {value!r} is no {kinds}"]
    found = [f"{at}: {value!r}"] * (value not in schema.get("enum", [value]))
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        found += [f"{at}/{key} is missing" for key in schema.get("required", []) if key not in value]
        if not any(all(key in value for key in one["required"]) for one in schema.get("anyOf", [{"required": []}])):
            found.append(f"{at}: keys are missing")
        for key, one in value.items():
            if key not in known and more is False:
                found.append(f"{at}/{key} is unknown")
            else:
                found += faults(one, known.get(key, more), f"{at}/{key}")
    if isinstance(value, list):
        found += [each for one in value for each in faults(one, schema.get("items", {}), f"{at}[]")]
    return found


@pytest.fixture(scope="module")
def folder(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump, a small one, a torn one, and a system with kdump."""
    made = tmp_path_factory.mktemp("json")
    (made / "vmcore").symlink_to(demo)
    assert main(["dump", "-q", "-d", "31", str(made / "vmcore"), str(made / "small")]) == 0
    assert main(["dump", "-q", "-d", "31", "--size-limit", "2M", str(made / "vmcore"), str(made / "torn")]) == 4
    make_system(made / "system", "kdump-tools")
    return made


@pytest.mark.parametrize(
    "line",
    [
        "dump -q -d 31 --json vmcore /dev/null",
        "dump -q -d 31 -E --json vmcore /dev/null",
        "dump -q -f -d 31 --size-limit 2M vmcore limited --json",
        "info --json vmcore",
        "info --json --codecs torn",
        "info --json --codecs",
        "classes --json vmcore",
        "classes --zones --json small",
        "verify --json vmcore small",
        "verify --json vmcore torn",
        "verify --json small vmcore",
        "skeleton -q -f vmcore skeleton --json",
        "bench --json --codec lzo --sample 1 --seconds 0.1 vmcore",
        "check-crashkernel --json vmcore",
        "doctor --json --root system",
    ],
)
def test_a_document_is_what_its_schema_says(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    main(line.split())
    told = json.loads(capsys.readouterr().out)
    assert faults(told, SCHEMAS[line.split(maxsplit=1)[0]]) == []


def test_the_record_of_a_capture(folder: Path, tmp_path: Path) -> None:
    assert main(["capture", "-q", str(folder / "vmcore"), str(tmp_path / "crash")]) == 0
    record = json.loads((tmp_path / "crash/vmcore-status.json").read_text())
    assert faults(record, SCHEMAS["capture"]) == []


def test_a_file_has_the_same_document(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a file, the report is printed as usual too; an existing file is not overwritten."""
    monkeypatch.chdir(folder)
    file = str(tmp_path / "report")
    for words in (["info", "vmcore"], ["classes", "small"], ["verify", "vmcore", "small"]):
        main([*words, "--json"])
        told = capsys.readouterr().out
        main(words)
        text = capsys.readouterr().out
        assert main([*words, "--json", file, "-f"]) == main([*words, f"--json={file}", "--force"])
        assert capsys.readouterr().out == text * 2
        assert (tmp_path / "report").read_text() == told
        assert main([*words, "--json", file]) == 1


def test_each_command_has_a_schema() -> None:
    """And each schema a section in docs/json.md; a schema that knows too much is noticed by its keys."""
    having = {command.name for command in commands() if any(one.name == "json" for one in listed(command.options))}
    assert {*SCHEMAS} == having | {"capture"}
    assert {*re.findall(r"\(schemas/(.*?)\.json\)", (ROOT / "docs/json.md").read_text())} == {*SCHEMAS}
    assert faults({"level": True}, {"properties": {"level": {"type": "integer"}}}) != []
    assert faults({}, SCHEMAS["verify"]) != []
    assert faults({"x": 1}, {"additionalProperties": False}) != []
