"""DWARF made by hand, after the standard's version 5 (and 2, 4), in every form that the reader supports."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Union

__all__ = ["DwarfSections", "Node", "array", "enumeration", "member", "structure", "typedef"]

Value = Union[int, str, bytes, "Node"]

NAME, BYTE_SIZE, CONST_VALUE, UPPER_BOUND, LOCATION, DECLARATION, TYPE = 0x03, 0x0B, 0x1C, 0x2F, 0x38, 0x3C, 0x49
SIBLING, STRING_OFFSETS_BASE = 0x01, 0x72
STRING, FLAG_PRESENT, REF4, REF_ADDR, STRP, STRX2, SDATA, DATA4, SEC_OFFSET, EXPRLOC, BLOCK1, UDATA = (
    0x08, 0x19, 0x13, 0x10, 0x0E, 0x26, 0x0D, 0x06, 0x17, 0x18, 0x0A, 0x0F,
)  # fmt: skip


@dataclass(eq=False)
class Node:
    """An entry: its tag, attributes and children. ``far``: other units refer to it."""

    tag: int
    values: dict[int, Value] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    far: bool = False
    at: int = 0


def structure(name: str, size: int, *members: Node, union: bool = False, declared: bool = False) -> Node:
    values: dict[int, Value] = {NAME: name} if name else {}
    values |= {DECLARATION: b""} if declared else {BYTE_SIZE: size}
    return Node(0x17 if union else 0x13, values, list(members))


def member(name: str, kind: Node, at: int | bytes) -> Node:
    return Node(0x0D, {**({NAME: name} if name else {}), TYPE: kind, LOCATION: at})


def typedef(name: str, kind: Node) -> Node:
    return Node(0x16, {NAME: name, TYPE: kind})


def array(kind: Node, length: int) -> Node:
    return Node(0x01, {TYPE: kind}, [Node(0x21, {UPPER_BOUND: length - 1})])


def enumeration(name: str, values: dict[str, int]) -> Node:
    return Node(0x04, {NAME: name}, [Node(0x28, {NAME: one, CONST_VALUE: value}) for one, value in values.items()])


def leb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        last = value == (-1 if byte & 0x40 else 0)
        out.append(byte | (0 if last else 0x80))
        if last:
            return bytes(out)


def uleb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


class DwarfSections:
    """Collects units and builds sections of them.

    Args:
        order: ``<`` or ``>``.
        version: 2, 4 or 5.
        wide: The format of 64 bits.
        strings: ``strp``: names in ``.debug_str``; ``string``: in the entry; ``strx``: by number, version 5 alone.
        siblings: Entries with children have DW_AT_sibling.
    """

    def __init__(
        self, order: str = "<", version: int = 5, *, wide: bool = False, strings: str = "strp", siblings: bool = True
    ) -> None:
        self.order, self.version, self.wide, self.names, self.siblings = order, version, wide, strings, siblings
        self.info, self.abbrev, self.strings, self.offsets = bytearray(), bytearray(), bytearray(b"\0"), bytearray()
        if strings == "strx":
            self.offsets += bytes(16 if wide else 8)

    def offset(self, value: int) -> bytes:
        return struct.pack(self.order + ("Q" if self.wide else "I"), value)

    def string(self, text: str) -> int:
        at = self.strings.find(b"\0" + text.encode() + b"\0")
        if at < 0:
            at = len(self.strings) - 1
            self.strings += text.encode() + b"\0"
        return at + 1

    def unit(self, name: str, *children: Node, tag: int = 0x11) -> Node:
        """A unit of a source file; its entry, for imports."""
        top = Node(tag, {NAME: name}, list(children))
        if self.names == "strx":
            top.values[STRING_OFFSETS_BASE] = 16 if self.wide else 8
        kinds: dict[bytes, int] = {}
        head = (12 if self.wide else 4) + 2 + (2 if self.version >= 5 else 1) + (8 if self.wide else 4)
        start = len(self.info)
        # Offsets have a fixed size: the first pass computes them, the second one writes them.
        for _ in range(2):
            body = self._entry(top, start, head, kinds)
        table = len(self.abbrev)
        self.abbrev += b"".join(uleb(number) + kind for kind, number in kinds.items()) + b"\0"
        fields = struct.pack(self.order + "H", self.version)
        fields += b"\1\x08" + self.offset(table) if self.version >= 5 else self.offset(table) + b"\x08"
        size = self.offset(len(fields) + len(body))
        self.info += (b"\xff" * 4 if self.wide else b"") + size + fields + body
        return top

    def _entry(self, node: Node, start: int, at: int, kinds: dict[bytes, int]) -> bytes:
        node.at = start + at
        pairs, data = b"", b""
        if self.siblings and node.children and node.tag != 0x11:
            pairs += uleb(SIBLING) + uleb(REF4)
            data += struct.pack(self.order + "I", 0)
        for attribute, value in node.values.items():
            form, packed = self._value(attribute, value, start)
            pairs += uleb(attribute) + uleb(form)
            data += packed
        kind = uleb(node.tag) + bytes((bool(node.children),)) + pairs + b"\0\0"
        code = uleb(kinds.setdefault(kind, len(kinds) + 1))
        out = code + data
        for child in node.children:
            out += self._entry(child, start, at + len(out), kinds)
        if node.children:
            out += b"\0"
        if self.siblings and node.children and node.tag != 0x11:
            out = code + struct.pack(self.order + "I", at + len(out)) + out[len(code) + 4 :]
        return out

    def _value(self, attribute: int, value: Value, start: int) -> tuple[int, bytes]:
        if isinstance(value, Node):
            if value.far:
                return REF_ADDR, self.offset(value.at)
            return REF4, struct.pack(self.order + "i", value.at - start)
        if isinstance(value, str):
            if self.names == "string":
                return STRING, value.encode() + b"\0"
            if self.names == "strx":
                self.offsets += self.offset(self.string(value))
                number = len(self.offsets) // (8 if self.wide else 4) - 3
                return STRX2, struct.pack(self.order + "H", number)
            return STRP, self.offset(self.string(value))
        if isinstance(value, bytes):
            if attribute == DECLARATION:
                return (FLAG_PRESENT, b"") if self.version >= 4 else (0x0C, b"\1")
            return (EXPRLOC if self.version >= 4 else BLOCK1), bytes((len(value),)) + value
        if attribute == STRING_OFFSETS_BASE:
            return SEC_OFFSET, self.offset(value)
        if value < 0:
            return SDATA, leb(value)
        return (UDATA, uleb(value)) if value % 3 else (DATA4, struct.pack(self.order + "I", value))

    def sections(self) -> dict[str, bytes]:
        return {
            ".debug_info": bytes(self.info), ".debug_abbrev": bytes(self.abbrev), ".debug_str": bytes(self.strings),
            ".debug_str_offsets": bytes(self.offsets),
        }  # fmt: skip
