"""A small synthetic dump, on which the commands run when an image is built and tested."""

from __future__ import annotations

import os
import struct
import sys

from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note
from vmsieve.formats.slim.typing import Final

_PAGE: Final = 4096
_PAGES: Final = 96
_START: Final = 1 << 20  # physical address of the first page
_TEXT: Final = b"OSRELEASE=0.0-sample\nPAGESIZE=4096\nCRASHTIME=1\n"


def write_sample(path: str) -> None:
    """Write an ELF core of this machine: zero, compressible and random pages, and VMCOREINFO without a kernel."""
    order, data = sys.byteorder, elf.ELFDATA2LSB if sys.byteorder == "little" else elf.ELFDATA2MSB
    note = build_note(b"VMCOREINFO", 0, _TEXT, sys.byteorder)
    header = elf.EHDR.format(order).pack(
        elf.MAGIC + bytes((elf.ELFCLASS64, data, elf.EV_CURRENT)), elf.ET_CORE, elf.MACHINES.get(os.uname().machine, 0),
        elf.EV_CURRENT, 0, elf.EHDR.size, 0, 0, elf.EHDR.size, elf.PHDR.size, 2, 0, 0, 0,
    )  # fmt: skip
    at = elf.EHDR.size + 2 * elf.PHDR.size
    size = _PAGES * _PAGE
    header += elf.PHDR.format(order).pack(elf.PT_NOTE, 0, at, 0, 0, len(note), len(note), 4)
    header += elf.PHDR.format(order).pack(elf.PT_LOAD, elf.PF_RWX, _PAGE, 0, _START, size, size, _PAGE)
    with open(path, "wb") as file:
        file.write((header + note).ljust(_PAGE, b"\0"))
        file.writelines(_page(number) for number in range(_PAGES))


def _page(number: int) -> bytes:
    kind = number % 3
    if kind == 0:
        return bytes(_PAGE)
    if kind == 1:
        return (b"page %d of a sample\n" % number * 400)[:_PAGE]
    value, words = number * 0x9E3779B97F4A7C15 & (1 << 64) - 1, []
    for _ in range(_PAGE // 8):  # xorshift64: does not pack
        value ^= value << 13 & (1 << 64) - 1
        value ^= value >> 7
        value ^= value << 17 & (1 << 64) - 1
        words.append(value)
    return struct.pack(f"<{len(words)}Q", *words)
