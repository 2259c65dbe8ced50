"""Dump formats that are read: one file each, which ends in ``FORMAT``; the content of a file selects the format.

Belongs here: an :class:`InputFormat` (a dump), or a :class:`Container` (a file within a file, such as a flattened one).
Does not: kernels and page classes; :func:`open_source` returns a :class:`Source`, which knows bytes alone.
"""

from __future__ import annotations

import os

from vmsieve.formats.errors import FormatError, ReadError, UnsupportedError, UsageError
from vmsieve.formats.layouts.elf import I386, machine_number
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable, Final
from vmsieve.formats.source import Cpu, LargeNote, LeftOut, MemoryRange, Source, VirtualRange

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = [
    "Container", "Cpu", "InputFormat", "LargeNote", "LeftOut", "MemoryRange", "Source", "VirtualRange", "formats",
    "input_paths", "open_file", "open_source",
]  # fmt: skip

#: Bytes of a file that a probe gets.
PROBE_SIZE = 65536
_FIRST: Final = 4096


@record(frozen=True)
class InputFormat:
    """A dump format."""

    name: str  # short and unique
    title: str  # for messages
    #: Probes run in ascending order. It matters if two accept one file: 100 for a magic number at the start, 900 for a
    #: probe that takes anything.
    order: int
    probe: Callable[[bytes], bool]  # true if up to :data:`PROBE_SIZE` bytes are the start of this format
    open: Callable[[ByteFile], Source]  # opens a file that the probe took; raises FormatError if it is unusable
    #: Opens a dump that consists of several files, in any order, all of which the probe took; None if the format has no
    #: such dumps.
    open_set: Callable[[list[ByteFile]], Source] | None = None


@record(frozen=True)
class Container:
    """A format that stores a file within a file.

    As :class:`InputFormat`; ``open`` returns the inner file, which is probed in turn, remarks, and True if incomplete.
    """

    name: str
    title: str
    order: int
    probe: Callable[[bytes], bool]
    open: Callable[[ByteFile], tuple[ByteFile, list[str], bool]]


def begins_with(*magic: bytes) -> Callable[[bytes], bool]:
    """Make a probe for files that begin with one of ``magic``."""
    return lambda start: start.startswith(magic)


#: Probed first, before other formats are even loaded: a crash kernel reads ELF, and kdump files are the most frequent.
_USUAL: Final = ("elf", "kdump")


def _format_of(start: bytes) -> InputFormat | Container | None:
    """The format of a file that begins with ``start``, or None."""
    from vmsieve.formats import inputs
    from vmsieve.formats.plugins import load

    for name in _USUAL:
        usual: Any = load(inputs, "FORMAT", name, "input format", InputFormat, Container)
        if usual.probe(start):
            found: InputFormat | Container = usual
            return found
    return next((f for f in formats() if f.probe(start)), None)


def formats() -> list[InputFormat | Container]:
    """All plugins of this room, in the order of their probes."""
    from vmsieve.formats import inputs
    from vmsieve.formats.plugins import scan

    found: list[InputFormat | Container] = scan(inputs, "FORMAT", InputFormat, Container)
    return sorted(found, key=lambda f: f.order)


def input_paths(path: str) -> list[str]:
    """Split ``path`` at commas, unless a file has that name as a whole."""
    parts = path.split(",")
    return parts if len(parts) > 1 and all(parts) and not os.path.lexists(path) else [path]


def open_source(path: str) -> Source:
    """Open the dump at ``path``, which may name several files: see :func:`input_paths`.

    Raises FormatError if it can't be opened, has an unknown format, or its headers are unusable; UsageError if several
    files are named, and the format has no dumps of several files.
    """
    from vmsieve.formats.files import PlainFile

    paths = input_paths(path)
    if len(paths) == 1:
        return open_file(PlainFile(path))
    files: list[ByteFile] = []
    try:
        files.extend(PlainFile(one) for one in paths)
        return _open_set(files)
    except BaseException:
        for file in files:
            file.close()
        raise


def open_file(file: ByteFile) -> Source:
    """Open the dump in ``file``, which is closed on failure. Up to four nested containers are unwrapped."""
    opened = [file]
    try:
        found, containers = _unwrap(opened, 0)
        source = found.open(opened[0])
        _complete(source)
    except BaseException:
        opened[0].close()
        raise
    containers.describe(source)
    return source


def _open_set(files: list[ByteFile]) -> Source:
    """Open a dump of several files. Containers in ``files`` are replaced by their inner files."""
    found = [_unwrap(files, i) for i in range(len(files))]
    plugin = found[0][0]
    other = next((i for i, (one, _) in enumerate(found) if one is not plugin), None)
    if other is not None:
        raise UsageError(
            "the files are of different formats", file=files[other].name,
            expected=plugin.title, found=found[other][0].title,
        )  # fmt: skip
    if plugin.open_set is None:
        raise UsageError(f"a dump of this format is one file: {plugin.title}", file=files[0].name)
    source = plugin.open_set(files)
    _complete(source)
    for _, containers in found:
        containers.describe(source)
    return source


def _complete(source: Source) -> None:
    """Find in memory what the headers of ``source`` lack: the machine, VMCOREINFO, registers."""
    if source.machine == I386 or machine_number(source.machine) == 0:
        from vmsieve.formats.inputs import _machine

        _machine.complete(source)
        if source.machine == I386 and source.narrow:
            raise UnsupportedError(
                "a dump of a 32-bit machine", file=source.file.name, hint="only 64-bit machines are supported"
            )
    if source.machine in ("s390x", "S390X") and source.byte_order == "big":  # the kernel's and QEMU's name
        from vmsieve.formats.inputs import _s390

        _s390.complete(source, source.prefixes)
    elif source.machine in ("ppc64", "ppc64le") and source.vmcoreinfo is None:
        from vmsieve.formats.inputs import _ppc64

        _ppc64.complete(source)


@record
class _Containers:
    """The containers around a dump."""

    remarks: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    torn: bool = False

    def describe(self, source: Source) -> None:
        source.remarks[:0] = self.remarks
        source.incomplete |= self.torn
        if self.titles:
            source.header = {"within": ", ".join(self.titles), **source.header}


def _start_of(file: ByteFile) -> bytes:
    """The bytes of ``file`` for probes; its first page if the rest can't be read."""
    start = bytearray(min(PROBE_SIZE, max(file.size, 0)))
    try:
        got = file.read_into(0, memoryview(start))
    except ReadError:
        # /proc/vmcore has its headers in sound memory; what follows may be unreadable.
        got = file.read_into(0, memoryview(start)[:_FIRST])
    return bytes(start[:got])


def _unwrap(files: list[ByteFile], i: int) -> tuple[InputFormat, _Containers]:
    """The format of ``files[i]``, which is replaced by its inner file as long as it is a container."""
    containers = _Containers()
    for _ in range(4):
        file = files[i]
        start = _start_of(file)
        plugin = _format_of(start)
        if plugin is None:
            from vmsieve.formats.inputs._foreign import refusal

            raise refusal(start, file.name, containers.titles[-1] if containers.titles else "")
        if isinstance(plugin, InputFormat):
            return plugin, containers
        files[i], remarks, incomplete = plugin.open(file)
        containers.remarks += remarks
        containers.titles.append(plugin.title)
        containers.torn |= incomplete
    raise FormatError("too many containers within each other", file=files[i].name)
