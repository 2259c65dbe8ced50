"""Shared libraries that an image needs, and where its loader looks for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vmsieve.formats.layouts import elf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["is_base", "loader", "names", "shared"]

_PT_INTERP: Final = 3
#: What every initramfs with a program in it has, by the beginning of its name.
_BASE: Final = ("ld-linux", "ld64.so", "ld.so", "libc.so", "libc-", "ld-")


def shared(mapped: Iterable[str]) -> list[str]:
    """Those of the mapped files that are shared libraries, the loader among them."""
    return [path for path in mapped if ".so" in os.path.basename(path)]


def is_base(path: str) -> bool:
    """Whether every initramfs has this library: the loader and the C library."""
    return os.path.basename(path).startswith(_BASE)


def names(path: str) -> Iterator[str]:
    """Names in its folder that ``path`` goes by, itself first: a loader asks for ``libz.so.1``, a link."""
    yield path
    folder, real = os.path.split(path)
    stem = real.partition(".so")[0] + ".so"
    for name in sorted(os.listdir(folder)):
        link = os.path.join(folder, name)
        if name != stem and name.startswith(stem) and os.path.islink(link) and os.path.realpath(link) == path:
            yield link


def loader(program: str) -> str | None:
    """The loader that ``program`` names, as it names it; None if it needs none."""
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
