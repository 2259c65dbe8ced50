"""Names of machines (``uname -m``) and their numbers in ELF headers (``e_machine``)."""

from __future__ import annotations

from typing import Final

from vmsieve.formats.layouts import elf

__all__ = ["machine_name", "machine_number"]

_NUMBERS: Final = {**elf.MACHINES, **elf.OTHER_MACHINES}
#: What a kernel says more exactly in its utsname: ``armv7l``, ``i686``.
_FAMILIES: Final = (("arm", "arm"), ("i386", "i386"), ("i486", "i386"), ("i586", "i386"), ("i686", "i386"))


def machine_name(number: int, byte_order: str) -> str | None:
    """The machine with ``e_machine`` ``number``; None if it is not known here."""
    if number == elf.MACHINES["ppc64"]:
        return "ppc64le" if byte_order == "little" else "ppc64"
    return next((name for name, known in _NUMBERS.items() if known == number), None)


def machine_number(name: str | None) -> int:
    """``e_machine`` of the machine called ``name``; EM_NONE (0) if it is not known here."""
    if not name:
        return 0
    family = next((known for start, known in _FAMILIES if name.startswith(start)), name)
    return _NUMBERS.get(family, 0)
