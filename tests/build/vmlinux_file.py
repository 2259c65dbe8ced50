"""ELF files with sections of any name, as a vmlinux file has them."""

from __future__ import annotations

import struct

__all__ = ["elf_file"]


def elf_file(sections: dict[str, tuple[int, bytes]]) -> bytes:
    """An ELF file for x86_64: sections by name, each an address and its bytes; ``.symtab`` goes with ``.strtab``."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*sections, ".shstrtab"])
    order = [*sections, ".shstrtab"]
    body, heads = b"", [bytes(64)]
    for name in order:
        address, data = sections.get(name, (0, names))
        kind = {".symtab": 2, ".strtab": 3, ".shstrtab": 3}.get(name, 1)
        link, each = (order.index(".strtab") + 1, 24) if name == ".symtab" else (0, 0)
        place = names.index(b"\0" + name.encode() + b"\0") + 1
        heads.append(struct.pack("<IIQQQQIIQQ", place, kind, 2, address, 64 + len(body), len(data), link, 0, 8, each))
        body += data + bytes(-len(data) % 8)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(heads), len(heads) - 1)
    return head + body + b"".join(heads)
