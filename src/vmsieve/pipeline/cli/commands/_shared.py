"""What several commands do alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.formats.systems import SYSTEMS, open_system
from vmsieve.formats.text import as_utf8, shown
from vmsieve.pipeline.process.saving import check_standard_output, files_read

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

__all__ = [
    "INPUT_HELP",
    "add_force",
    "add_input",
    "add_select",
    "add_vmlinux",
    "json_text",
    "opened",
    "print_json",
    "read_vmcoreinfo",
    "read_vmlinux",
    "tell",
]

#: What an input is, for a command's help.
INPUT_HELP = "/proc/vmcore or a dump; several volumes of one with commas between them"


def add_input(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The arguments of a command that looks at one dump."""
    parser.add_argument("input", metavar="INPUT", nargs="?" if optional else None, help=INPUT_HELP)
    parser.add_argument("--vmcoreinfo", metavar="FILE", help="VMCOREINFO text to use instead of the dump's")
    add_select(parser)


def add_vmlinux(parser: argparse.ArgumentParser) -> None:
    """The option that names the kernel's file."""
    parser.add_argument("--vmlinux", metavar="FILE", help="the kernel's vmlinux, for what VMCOREINFO does not tell")


def add_force(parser: argparse.ArgumentParser, what: str = "OUTPUT") -> None:
    """The option without which nothing is overwritten."""
    parser.add_argument("-f", dest="force", action="store_true", help=f"overwrite an existing {what}")


def add_select(parser: argparse.ArgumentParser) -> None:
    """The option that chooses one of two systems in a dump."""
    meanings = "; ".join(f"{name}: {what}" for name, what in SYSTEMS.items())
    parser.add_argument("--select", choices=list(SYSTEMS), help=f"of a dump that holds a crash kernel too, {meanings}")


@contextmanager
def opened(
    path: str, vmcoreinfo: str | None = None, select: str | None = None, vmlinux: str | None = None
) -> Iterator[tuple[Source, Knowledge]]:
    """The dump at ``path`` and what is known of its kernel; ``select``: which of two systems in it."""
    check_standard_output(files_read(path, vmcoreinfo, vmlinux))
    text, made = read_vmcoreinfo(vmcoreinfo), read_vmlinux(vmlinux)
    source = open_system(path, select)
    try:
        yield source, gather_knowledge(source, text, vmlinux=made)
    finally:
        source.close()


def read_vmcoreinfo(path: str | None) -> bytes | None:
    """The text that ``--vmcoreinfo`` names; None if it names none.

    Raises:
        UsageError: It can't be read.
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise UsageError(f"can't read the VMCOREINFO file: {error.strerror}", file=path) from error


def read_vmlinux(path: str | None) -> bytes | None:
    """VMCOREINFO made of the file that ``--vmlinux`` names; None if it names none.

    Raises:
        UsageError: It can't be read, here or at all.
        FormatError: It is no vmlinux file that can be used.
    """
    if path is None:
        return None
    try:
        from vmsieve.filters.linux.debuginfo.vmlinux import describe
    except ImportError as error:
        raise UsageError("an image for the crash kernel has nothing that reads a vmlinux file", file=path) from error
    return describe(path)


def json_text(value: dict[str, Any]) -> str:
    """``value`` as JSON: ASCII alone, and no half of a surrogate pair, which strict readers refuse."""
    import json

    return json.dumps(_valid(value), indent=1)


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, dict):
        return {_valid(key): _valid(one) for key, one in value.items()}
    return [_valid(one) for one in value] if isinstance(value, (list, tuple)) else value


def print_json(value: dict[str, Any]) -> None:
    """Print ``value`` for machines."""
    print(json_text(value), flush=True)


def tell(lines: Iterable[str]) -> None:
    """Say each line once, on standard error."""
    for line in dict.fromkeys(lines):
        print(f"vmsieve: {shown(line)}", file=sys.stderr)
