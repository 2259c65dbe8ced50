"""Options that several commands have."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Any, Final
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
QUIET: Final = Option("-q --quiet", "print errors only")


def _file(text: str) -> str:
    if not text:
        raise ValueError("a file's name")
    return text


#: The option of commands that report; :class:`vmsieve.pipeline.cli.printing.Report` obeys it.
JSON: Final = Option("--json", "report as JSON on standard output, or with FILE in a file", metavar="FILE", const="-",
                     bare=True, convert=_file)  # fmt: skip


def force(what: str = "OUTPUT") -> Option:
    """The option without which nothing is overwritten."""
    return Option("-f --force", f"overwrite an existing {what}")


def output(text: str, default: str | None = None, **more: Any) -> tuple[Option, Option]:
    """The operand OUTPUT, and the option in its place."""
    return (
        Option("OUTPUT", text, default=default, **more),
        Option("-o --output", "the same as the operand OUTPUT", metavar="OUTPUT", default=default, convert=_file),
    )
