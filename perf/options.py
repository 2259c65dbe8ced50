"""Options that the measurements share, and the tools they name."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARED: Final[dict[str, dict[str, Any]]] = {
    "--scratch": {"type": Path, "default": Path(tempfile.gettempdir()), "help": "folder for what is written"},
    "--makedumpfile": {"help": "its path (default: VMSIEVE_MAKEDUMPFILE, or that in PATH)"},
    "--vmsieve": {"help": "the command (default: that of this Python)"},
    "--json": {"help": "file of results (default: that of this CPU in perf/results)"},
}


def parser(name: str, doc: str | None, rounds: int, *shared: str) -> argparse.ArgumentParser:
    """Return the parser of ``perf.<name>``, with ``--rounds`` and the shared options named."""
    made = argparse.ArgumentParser(prog=f"python -m perf.{name}", description=(doc or "").split("\n")[0])
    made.add_argument("--rounds", type=int, default=rounds, help=f"of each measurement (default: {rounds})")
    for option in shared:
        made.add_argument(option, **_SHARED[option])
    return made


def numbers(text: str) -> list[int]:
    """Parse '1,2'."""
    return [int(word) for word in text.split(",")]


def vmsieve_command(words: str | None) -> list[str]:
    """Return the command to measure: ``words``, or the vmsieve of this Python."""
    if words:
        return words.split()
    script = Path(sys.executable).with_name("vmsieve")
    return [str(script)] if script.exists() else [sys.executable, "-m", "vmsieve"]


def find_makedumpfile(path: str | None) -> str | None:
    """Find makedumpfile: ``path``, VMSIEVE_MAKEDUMPFILE or PATH; None, with a message, if it is missing."""
    found = path or os.environ.get("VMSIEVE_MAKEDUMPFILE") or shutil.which("makedumpfile")
    if found is None:
        print("makedumpfile is not installed: vmsieve alone is measured", file=sys.stderr)
    return found


def unsupported(makedumpfile: str) -> set[str]:
    """Return the page formats that makedumpfile was built without: asked for them, it packs nothing and is fast."""
    done = subprocess.run([makedumpfile, "-v"], capture_output=True, text=True, check=False)
    return set(re.findall(r"^(\w+)\s+disabled", done.stdout + done.stderr, re.MULTILINE))


def versions(vmsieve: Sequence[str], makedumpfile: str | None = None) -> dict[str, list[str]]:
    """Return the commands that print the tools' versions."""
    return {
        "vmsieve": [*vmsieve, "--version"],
        **({} if makedumpfile is None else {"makedumpfile": [makedumpfile, "-v"]}),
    }
