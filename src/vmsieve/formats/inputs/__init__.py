"""Dump formats read: what a dump holds, whatever its format.

A plugin is one file that ends in ``FORMAT``, an :class:`InputFormat` (a dump) or a :class:`Container` (another way to
store a file, such as the flattened one). Inputs are told apart by content, never by name.

Formats meet here and nowhere else: what comes out of :func:`open_source` is a :class:`Source`, which knows bytes (what
physical memory there is, the notes, the byte order) and knows nothing of kernels or page classes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Final

from vmsieve.formats.errors import FormatError, ReadError, UnsupportedError, UsageError
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.source import Cpu, LargeNote, LeftOut, MemoryRange, Source, VirtualRange

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = [
    "Container", "Cpu", "InputFormat", "LargeNote", "LeftOut", "MemoryRange", "Source", "VirtualRange", "formats",
    "input_paths", "open_file", "open_source",
]  # fmt: skip

#: How much of a file a probe is shown.
PROBE_SIZE = 65536
_FIRST: Final = 4096


@record(frozen=True)
class InputFormat:
    """A dump format.

    Attributes:
        name: Short and unique.
        title: For people.
        order: Probes run in ascending order; a probe that takes anything comes last.
        probe: Shown the file's first :data:`PROBE_SIZE` bytes (or fewer): is it this format at all?
        open: Opens it.  Raises FormatError when it is this format but can't be used.
        open_set: Opens a dump that lies on several files, given in any order, all of which the probe took; None: this
            format does not know such dumps.
    """

    name: str
    title: str
    order: int
    probe: Callable[[bytes], bool]
    open: Callable[[ByteFile], Source]
    open_set: Callable[[list[ByteFile]], Source] | None = None


@record(frozen=True)
class Container:
    """A way to store a file within a file. ``open`` gives the inner file, which is probed in turn.

    Attributes as of :class:`InputFormat`; ``open`` returns the inner file and sentences on what is odd about the
    container, and raises FormatError when it can't be used.
    """

    name: str
    title: str
    order: int
    probe: Callable[[bytes], bool]
    open: Callable[[ByteFile], tuple[ByteFile, list[str], bool]]


#: Asked first, before any other is even loaded: what a crash kernel reads, and what is reprocessed most.
_USUAL: Final = ("elf", "kdump")


def _format_of(start: bytes) -> InputFormat | Container | None:
    """The format whose files begin with ``start``."""
    from vmsieve.formats import inputs
    from vmsieve.formats.plugins import load

    for name in _USUAL:
        usual: Any = load(inputs, "FORMAT", name, "input format", InputFormat, Container)
        if usual.probe(start):
            found: InputFormat | Container = usual
            return found
    return next((f for f in formats() if f.probe(start)), None)


def formats() -> list[InputFormat | Container]:
    """All plugins of this room, in probing order."""
    from vmsieve.formats import inputs
    from vmsieve.formats.plugins import scan

    found: list[InputFormat | Container] = scan(inputs, "FORMAT", InputFormat, Container)
    return sorted(found, key=lambda f: f.order)


def input_paths(path: str) -> list[str]:
    """The files that ``path`` names: one, or several with commas between them if no file is called so as a whole."""
    parts = path.split(",")
    return parts if len(parts) > 1 and all(parts) and not os.path.lexists(path) else [path]


def open_source(path: str) -> Source:
    """Open the dump at ``path``, which may name several files: see :func:`input_paths`.

    Raises:
        FormatError: It can't be opened, is of no known format, or its headers are not usable.
        UsageError: Several files are named, and the format does not know dumps on several.
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
    """Open the dump stored in ``file``; closes it on failure. Containers are unwrapped, four deep at the most."""
    opened = [file]
    try:
        found, within = _unwrap(opened, 0)
        source = found.open(opened[0])
    except BaseException:
        opened[0].close()
        raise
    within.tell(source)
    return source


def _open_set(files: list[ByteFile]) -> Source:
    """Open the dump that lies on ``files``, which are replaced by what containers hold."""
    found = [_unwrap(files, i) for i in range(len(files))]
    plugin = found[0][0]
    other = next((i for i, (one, _) in enumerate(found) if one is not plugin), None)
    if other is not None:
        raise UsageError(
            "the files are of different formats", file=files[other].name,
            expected=plugin.title, found=found[other][0].title,
        )  # fmt: skip
    if plugin.open_set is None:
        raise UsageError(f"a dump of this format lies in one file: {plugin.title}", file=files[0].name)
    source = plugin.open_set(files)
    for _, within in found:
        within.tell(source)
    return source


@record
class _Within:
    """What the containers around a dump told."""

    oddities: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    torn: bool = False

    def tell(self, source: Source) -> None:
        source.oddities[:0] = self.oddities
        source.incomplete |= self.torn
        if self.titles:
            source.header = {"within": ", ".join(self.titles), **source.header}


def _start_of(file: ByteFile) -> bytes:
    """What probes are shown of ``file``: all of it, or, if that can't be read, its first page."""
    for size in (PROBE_SIZE, _FIRST):
        start = bytearray(min(size, max(file.size, 0)))
        try:
            return bytes(start[: file.read_into(0, memoryview(start))])
        except ReadError:
            # Of /proc/vmcore the headers are in sound memory, and behind them is what is not.
            if size == _FIRST:
                raise
    raise AssertionError


def _unwrap(files: list[ByteFile], i: int) -> tuple[InputFormat, _Within]:
    """The format of file ``i``, which is replaced by the file within it while that is a container."""
    within = _Within()
    for _ in range(4):
        file = files[i]
        start = _start_of(file)
        plugin = _format_of(start)
        if plugin is None:
            raise UnsupportedError(
                "not a dump of a known format",
                file=file.name,
                found=start[:8].hex(" ") or "an empty file",
            )
        if isinstance(plugin, InputFormat):
            return plugin, within
        files[i], odd, incomplete = plugin.open(file)
        within.oddities += odd
        within.titles.append(plugin.title)
        within.torn |= incomplete
    raise FormatError("too many containers within each other", file=files[i].name)
