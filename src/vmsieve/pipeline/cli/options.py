"""Options that several commands have."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.formats.systems import SYSTEMS
from vmsieve.pipeline.process.options import Option

INPUT_TEXT: Final = "/proc/vmcore or a dump; several volumes of a dump with commas between them"
VMCOREINFO: Final = Option("--vmcoreinfo", "VMCOREINFO text to use instead of the dump's", metavar="FILE")
VMLINUX: Final = Option("--vmlinux", "the kernel's vmlinux, for what VMCOREINFO lacks", metavar="FILE")
SELECT: Final = Option(
    "--select",
    "for a dump that also holds a crash kernel: " + "; ".join(f"{name}: {what}" for name, what in SYSTEMS.items()),
    choices=list(SYSTEMS),
)
#: The options of a command that examines one dump.
DUMP: Final = (Option("INPUT", INPUT_TEXT), VMCOREINFO, SELECT)
ROOT: Final = Option("--root", "a system below this directory, not the running one", metavar="DIR", default="/")
JSON: Final = Option("--json", "print JSON")


def force(what: str = "OUTPUT") -> Option:
    """The option ``-f``, without which nothing is overwritten."""
    return Option("-f", f"overwrite an existing {what}", name="force")
