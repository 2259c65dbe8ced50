"""A BTF section made by hand, after Documentation/bpf/btf.rst."""

from __future__ import annotations

import struct

__all__ = ["TypeTable"]


class TypeTable:
    """Collects types; ``order``: their byte order, as struct writes it."""

    def __init__(self, order: str = "<") -> None:
        self.order = order
        self.strings = bytearray(b"\0")
        self.records = bytearray()
        self.count = 0

    def name(self, text: str) -> int:
        """The offset of a string, which is stored once."""
        at = self.strings.find(b"\0" + text.encode() + b"\0")
        if not text:
            return 0
        if at < 0:
            at = len(self.strings) - 1
            self.strings += text.encode() + b"\0"
        return at + 1

    def add(self, name: str, kind: int, size: int, count: int = 0, extra: bytes = b"", *, flag: bool = False) -> int:
        """A record; returns the type's number."""
        info = int(flag) << 31 | kind << 24 | count
        self.records += struct.pack(self.order + "3I", self.name(name), info, size) + extra
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.add(name, 1, size, 0, struct.pack(self.order + "I", size * 8))

    def pointer(self, to: int) -> int:
        return self.add("", 2, to)

    def array(self, of: int, length: int) -> int:
        return self.add("", 3, 0, 0, struct.pack(self.order + "3I", of, of, length))

    def structure(self, name: str, size: int, members: list[tuple[str, int, int]], *, union: bool = False) -> int:
        """Members: name, type, offset in bytes."""
        extra = b"".join(struct.pack(self.order + "3I", self.name(n), t, at * 8) for n, t, at in members)
        return self.add(name, 5 if union else 4, size, len(members), extra)

    def enumeration(self, name: str, values: dict[str, int], *, wide: bool = False) -> int:
        """``wide``: of 64 bits. Signed where a value is negative."""
        signed = min(values.values(), default=0) < 0
        extra = b""
        for text, value in values.items():
            low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
            extra += struct.pack(self.order + ("3I" if wide else "2I"), self.name(text), low, *[high] * wide)
        return self.add(name, 19 if wide else 6, 8 if wide else 4, len(values), extra, flag=signed)

    def alias(self, name: str, of: int) -> int:
        return self.add(name, 8, of)

    def section(self) -> bytes:
        """The whole of it."""
        types, strings = bytes(self.records), bytes(self.strings)
        head = struct.pack(self.order + "HBB5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
        return head + types + strings
