"""The input of a command: a dump, and files that describe its kernel."""

from __future__ import annotations

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.process.saving import check_standard_output, files_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source


@contextmanager
def opened(
    path: str, vmcoreinfo: str | None = None, select: str | None = None, vmlinux: str | None = None
) -> Iterator[tuple[Source, Knowledge]]:
    """Open the dump at ``path`` and gather knowledge of its kernel, also from the files ``vmcoreinfo`` and ``vmlinux``.

    ``select``: which of two systems in the dump.
    """
    check_standard_output(files_read(path, vmcoreinfo, vmlinux))
    text, made = read_vmcoreinfo(vmcoreinfo), read_vmlinux(vmlinux)
    source = open_system(path, select)
    try:
        yield source, gather_knowledge(source, text, vmlinux=made)
    finally:
        source.close()


def read_vmcoreinfo(path: str | None) -> bytes | None:
    """The text in the file that ``--vmcoreinfo`` names, or None; raises UsageError if it can't be read."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise UsageError(f"can't read the VMCOREINFO file: {error.strerror}", file=path) from error


def read_vmlinux(path: str | None) -> bytes | None:
    """VMCOREINFO made from the file that ``--vmlinux`` names, or None.

    Raises:
        UsageError: It can't be read, or this is an image for the crash kernel, which has no reader for it.
        FormatError: It is not a usable vmlinux file.
    """
    if path is None:
        return None
    try:
        from vmsieve.filters.linux.debuginfo.vmlinux import describe
    except ImportError as error:
        raise UsageError("an image for the crash kernel can't read vmlinux files", file=path) from error
    return describe(path)
