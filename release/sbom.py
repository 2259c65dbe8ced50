"""The components of a wheel as CycloneDX JSON: its machine code, packages that it uses, packages that built it.

    python -m release.sbom dist/vmsieve-VERSION-py3-none-any.whl

Nothing in it depends on when or where it is made. Versions of packages are those of ``constraints.txt``.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any, Final

#: Names of licences in older metadata, which has no SPDX expression.
_SPDX: Final = {
    "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause", "BSD": "BSD-3-Clause", "MIT License": "MIT",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT", "Python Software Foundation License": "PSF-2.0",
}  # fmt: skip


def dependencies(folder: Path) -> list[str]:
    """Packages that the project uses."""
    return _names(_section(folder, "\ndependencies = ["))


def builders(folder: Path) -> list[str]:
    """Packages that build it."""
    return _names(_section(folder, "\nrequires = ["))


def _section(folder: Path, start: str) -> str:
    text = (folder / "pyproject.toml").read_text(encoding="utf-8").partition(start)[2]
    return re.split(r"\]\n", text, maxsplit=1)[0]


def _names(text: str) -> list[str]:
    return re.findall(r'"([A-Za-z0-9_.-]+?)[>=<~; "]', text)


def pins(folder: Path) -> dict[str, str]:
    """Versions in ``constraints.txt``."""
    text = (folder / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE))


def licence(name: str) -> str:
    """SPDX expression of an installed package; empty if unknown."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    titles = [text.rpartition(":: ")[2] for text in about.get_all("Classifier") or [] if text.startswith("License ::")]
    for text in (about["License-Expression"], about["License"], *titles):
        if text and (found := text if text in _SPDX.values() or about["License-Expression"] else _SPDX.get(text)):
            return str(found)
    return ""


def document(folder: Path, wheel: Path) -> dict[str, Any]:
    """The document of ``wheel``."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    name, version = wheel.name.split("-")[:2]
    itself = {
        **_package(name, version), "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }  # fmt: skip
    used = [_known(one, folder, "optional") for one in dependencies(folder)]
    made_by = [_known(one, folder, "excluded") for one in builders(folder)]
    code = _machine_code(wheel)
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "metadata": {"component": itself},
        "components": [*used, *made_by, *code],
        "dependencies": [{"ref": itself["bom-ref"], "dependsOn": [one["bom-ref"] for one in used]}],
    }  # fmt: skip


def _package(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _known(name: str, folder: Path, scope: str) -> dict[str, Any]:
    found = licence(name)
    licences = {"licenses": [{"expression": found}]} if found else {}
    return {**_package(name, pins(folder)[name]), "scope": scope, **licences}


def _machine_code(wheel: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".so"))
        digests = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}
    return [
        {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for name, digest in digests.items()
    ]


def write(folder: Path, wheel: Path) -> Path:
    """Write the document beside ``wheel``; return its path."""
    path = wheel.with_name("-".join(wheel.name.split("-")[:2]) + ".cdx.json")
    path.write_text(json.dumps(document(folder, wheel), indent=2) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write(Path(__file__).resolve().parents[1], Path(sys.argv[1])))
