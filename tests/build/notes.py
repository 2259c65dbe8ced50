"""ELF notes made by hand."""

from __future__ import annotations

import struct

ORDERS = {"little": "<", "big": ">"}


def note(name: bytes, kind: int, descriptor: bytes, order: str = "little") -> bytes:
    """One note; ``name`` with its NUL."""
    head = struct.pack(ORDERS[order] + "III", len(name), len(descriptor), kind)
    return head + name + bytes(-len(name) % 4) + descriptor + bytes(-len(descriptor) % 4)


def prstatus(pid: int, registers: bytes, order: str = "little") -> bytes:
    """An NT_PRSTATUS note."""
    descriptor = bytearray(112 + len(registers) + 8)
    descriptor[32:36] = struct.pack(ORDERS[order] + "i", pid)
    descriptor[112 : 112 + len(registers)] = registers
    return note(b"CORE\0", 1, bytes(descriptor), order)


def vmcoreinfo(text: bytes, order: str = "little") -> bytes:
    """A VMCOREINFO note."""
    return note(b"VMCOREINFO\0", 0, text, order)
