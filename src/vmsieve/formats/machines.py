"""Names of machines (``uname -m``), and their numbers in ELF headers (``e_machine``)."""

from __future__ import annotations

from typing import Final

from vmsieve.formats.layouts import elf

#: Label of a 32-bit x86 machine; QEMU's label of an x86_64 one that is not in long mode.
I386: Final = "i386"
_NUMBERS: Final = {**elf.MACHINES, **elf.OTHER_MACHINES}
_ALIASES: Final = {"arm64": "aarch64", "S390X": "s390x", "powerpc64": "ppc64", "powerpc64le": "ppc64le"}
#: Prefixes of more precise names in utsname, such as ``armv7l`` and ``i686``.
_FAMILIES: Final = (("arm", "arm"), ("i386", I386), ("i486", I386), ("i586", I386), ("i686", I386))


def machine_name(number: int, byte_order: str) -> str | None:
    """The machine with ``e_machine`` ``number``, or None."""
    if number == elf.MACHINES["ppc64"]:
        return "ppc64le" if byte_order == "little" else "ppc64"
    return next((name for name, known in _NUMBERS.items() if known == number), None)


def machine_number(name: str | None) -> int:
    """``e_machine`` of the machine called ``name``; EM_NONE (0) if unknown."""
    if not name:
        return 0
    known = _NUMBERS.get(_ALIASES.get(name, name))
    if known is not None:
        return known
    return next((_NUMBERS[family] for start, family in _FAMILIES if name.startswith(start)), 0)
