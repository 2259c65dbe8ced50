"""The shared libraries of an image, and the paths where the loader looks for them."""

from __future__ import annotations

import os

from vmsieve.formats.layouts import elf
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PT_INTERP: Final = 3
#: Name prefixes of the libraries that every initramfs has.
_BASE: Final = ("ld-linux", "ld64.so", "ld.so", "libc.so", "libc-", "ld-")


def shared(mapped: Iterable[str]) -> list[str]:
    """Select the shared libraries, including the loader, from ``mapped`` files."""
    return [path for path in mapped if ".so" in os.path.basename(path)]


def is_base(path: str) -> bool:
    """True for the loader and the C library, which every initramfs has."""
    return os.path.basename(path).startswith(_BASE)


def names(path: str) -> Iterator[str]:
    """Yield ``path`` and the links to it in its directory: the loader opens ``libz.so.1``, a link."""
    yield path
    folder, real = os.path.split(path)
    stem = real.partition(".so")[0] + ".so"
    for name in sorted(os.listdir(folder)):
        link = os.path.join(folder, name)
        if name != stem and name.startswith(stem) and os.path.islink(link) and os.path.realpath(link) == path:
            yield link


def loader(program: str) -> str | None:
    """The path in the PT_INTERP header of ``program``; None for a static program."""
    with open(program, "rb") as file:
        head = file.read(elf.EHDR.size)
        if not head.startswith(elf.MAGIC) or head[elf.EI_CLASS] != elf.ELFCLASS64:
            return None
        order = "little" if head[elf.EI_DATA] == elf.ELFDATA2LSB else "big"
        header = elf.EHDR.unpack(head, order=order)
        for i in range(header.e_phnum):
            file.seek(header.e_phoff + i * elf.PHDR.size)
            segment = elf.PHDR.unpack(file.read(elf.PHDR.size), order=order)
            if segment.p_type == _PT_INTERP:
                file.seek(segment.p_offset)
                return file.read(segment.p_filesz).rstrip(b"\0").decode()
    return None
