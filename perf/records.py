"""Results: one file a CPU model in ``perf/results``, with all suites measured on it.

Each suite has its date, the version measured, the kernel, the load and its rows. A suite that is measured again
replaces the one before. ``superseded`` (set by hand) is the reason why a result no longer describes vmsieve: such a
suite counts in the figures only where no other machine has it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf.measure import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS: Final = Path(__file__).parent / "results"


def machine(tools: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Describe this machine now. ``tools``: commands that print a version in their first line; vmsieve is the first."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "version": version(*tools.get("vmsieve", ())),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30), 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "tools": {name: _first_line(command) for name, command in tools.items()},
    }


def version(*command: str) -> str:
    """Return ``git describe`` of the checkout that ``command`` lies in (default: this one), or what it prints."""
    program = shutil.which(command[0]) if command else __file__
    folder = Path(program or __file__).parent
    git = ["git", "-C", str(folder)]
    try:
        told = subprocess.run(
            [*git, "describe", "--always", "--abbrev=10"], capture_output=True, text=True, check=False
        )
        # Only the package counts: results that are written beside it change no figure.
        same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ":/src"], capture_output=True, check=False)
    except OSError:
        return "unknown"
    if told.returncode:
        return _first_line(command) if command else "unknown"
    return told.stdout.strip() + ("-dirty" if same.returncode else "")


def cpu_model(text: str | None = None) -> str:
    """Return the CPU's name and, where /proc/cpuinfo has them, family and model: clouds hide the rest of the name."""
    if text is None:
        try:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    names = (fields[key] for key in ("model name", "cpu", "uarch", "Model") if fields.get(key))
    found = re.sub(r"\((R|TM)\)", "", next(names, platform.machine()))
    numbers = [f"{word} {fields[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in fields]
    return " ".join([found, f"({', '.join(numbers)})"] if numbers else [found])


def path_of(cpu: str) -> Path:
    """Return the file of a CPU model."""
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-") + ".json")


def load(paths: Sequence[Path] | None = None) -> list[dict[str, Any]]:
    """Read the results of all machines, or those named."""
    return [
        json.loads(p.read_text(encoding="utf-8")) for p in (sorted(RESULTS.glob("*.json")) if paths is None else paths)
    ]


def measured(suite: str, path: str | None) -> dict[str, Any] | None:
    """Return the result of a suite on this machine, or None."""
    where = Path(path) if path else path_of(cpu_model())
    found: dict[str, Any] | None = load([where])[0]["suites"].get(suite) if where.exists() else None
    return found


def save(suite: str, result: dict[str, Any], path: str | None = None) -> Path:
    """Add a suite's result to ``path``, or to this machine's file; return the path."""
    cpu = cpu_model()
    where = Path(path) if path else path_of(cpu)
    suites = load([where])[0]["suites"] if where.exists() else {}
    suites[suite] = result
    part = where.with_suffix(".part")
    part.write_text(to_text({"cpu": cpu, "suites": dict(sorted(suites.items()))}), encoding="utf-8")
    part.rename(where)
    return where


def to_text(value: dict[str, Any]) -> str:
    """Format a machine's results as JSON with a line for each row."""
    suites = []
    for name, suite in value["suites"].items():
        head = json.dumps({key: item for key, item in suite.items() if key != "rows"})
        rows = ",\n".join(f"   {json.dumps(row)}" for row in suite["rows"])
        suites.append(f'  {json.dumps(name)}: {head[:-1]}, "rows": [\n{rows}\n  ]}}')
    return f'{{"cpu": {json.dumps(value["cpu"])}, "suites": {{\n' + ",\n".join(suites) + "\n}}\n"


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    return next(iter((done.stdout + done.stderr).splitlines()), "unknown")
