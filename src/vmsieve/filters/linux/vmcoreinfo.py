"""VMCOREINFO: what a kernel says of itself for the readers of its dumps.

Text of lines ``KEY=VALUE``, written by the kernel at boot and at the crash (Linux kernel/vmcore_info.c, before v6.9
kernel/crash_core.c; the keys are described in Documentation/admin-guide/kdump/vmcoreinfo.rst)::

    OSRELEASE=6.1.0-56-cloud-amd64
    SYMBOL(init_uts_ns)=ffffffffb35f9b60
    OFFSET(page.mapping)=24
    NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129

Symbols are hexadecimal; all else is decimal, or hexadecimal where it is no decimal number. Of two lines with one key
the first counts. What is no such line is skipped and counted.
"""

from __future__ import annotations

from typing import Callable

from vmsieve.formats.errors import KernelError

__all__ = ["MAX_SIZE", "VmcoreInfo"]

#: Bytes of text looked at. The kernel's is one page; files made by tools are not much longer.
MAX_SIZE = 1 << 20

_PRINTABLE = bytes(range(0x20, 0x7F))
_HEXADECIMAL = "0123456789abcdefABCDEF"
_MOST_DECIMAL, _MOST_HEXADECIMAL, _MOST_VERSION = 20, 16, 5  # digits
_WORD = (1 << 64) - 1


class VmcoreInfo:
    """The keys and values of one VMCOREINFO text.

    Attributes:
        text: The text as given, without what lies beyond :data:`MAX_SIZE` and without trailing NULs. Writing it to a
            file makes a file that can be read back.
        skipped: How many lines were no ``KEY=VALUE`` of printable ASCII.
        used: The keys that were looked up and found, for reports.
        unusable: The keys that were looked up, are there, and hold no number.
        beyond: Asked for keys that are missing or unusable: their value and where it is from, or None. Once a key. With
            ``doubted=True`` for those that are there.
        origins: Where keys are from that the text does not have, or not right, by key.
        rejected: The keys of the text that are taken to be missing.
    """

    def __init__(self, text: bytes) -> None:
        self.text = bytes(text[:MAX_SIZE]).rstrip(b"\0")
        self.skipped = 0
        self.used: set[str] = set()
        self.unusable: set[str] = set()
        self.beyond: Callable[..., tuple[str, str] | None] | None = None
        self.origins: dict[str, str] = {}
        self.rejected: set[str] = set()
        self._seconds: dict[str, tuple[str, str]] = {}
        self._asked: set[str] = set()
        self._values: dict[str, str] = {}
        for line in self.text.split(b"\n"):
            key, sign, value = line.rstrip(b"\r").partition(b"=")
            if sign and key and not key.startswith(b" ") and not (key + value).translate(None, _PRINTABLE):
                self._values.setdefault(key.decode("ascii"), value.decode("ascii"))
            elif line:
                self.skipped += 1

    @classmethod
    def parse(cls, text: bytes) -> VmcoreInfo:
        """Read ``text``, which may be damaged or empty; never fails."""
        return cls(text)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the text."""
        return tuple(self._values)

    def peek(self, key: str) -> str | None:
        """The value of ``key`` as far as it is known; not asked for beyond the text, and not noted as used."""
        return self._values.get(key)

    def peek_number(self, key: str) -> int | None:
        """The number that :meth:`told` is; None if it is none."""
        return _as_number(self.peek(key) or "", only_hex=False)

    def peek_address(self, key: str) -> int:
        """The address of the symbol, from :meth:`told`; 0 if it is not told."""
        return _as_number(self.peek(key) or "", only_hex=True) or 0

    def text_number(self, key: str) -> int | None:
        """The number that the text itself has for ``key``, whatever was put right since; None if it has none."""
        mark = key.encode("ascii") + b"="
        line = next((line for line in self.text.split(b"\n") if line.startswith(mark)), mark)
        return _as_number(line[len(mark) :].strip().decode("ascii", "replace"), only_hex=False)

    def second(self, key: str) -> int | None:
        """The number that the rest of the dump has for ``key``, which the text tells; None if that does not know it."""
        answer = None if self.beyond is None else self.beyond(key, doubted=True)
        if answer is None:
            return None
        self._seconds[key] = answer
        return _as_number(answer[0], only_hex=False)

    def correct(self, key: str) -> None:
        """Believe what :meth:`second` found instead of the text."""
        self._values[key], self.origins[key] = self._seconds[key]

    def reject(self, key: str) -> None:
        """Take ``key`` to be missing, here and elsewhere."""
        self._values.pop(key, None)
        self._asked.add(key)
        self.rejected.add(key)

    def looks_valid(self) -> bool:
        """Is this the text of a kernel: does it name a release, and a symbol or the page size?"""
        return bool(self._values.get("OSRELEASE")) and (
            "PAGESIZE" in self._values or any(key.startswith("SYMBOL(") for key in self._values)
        )

    def value(self, key: str) -> str | None:
        """The value of ``key`` (``"OSRELEASE"``, ``"OFFSET(page.flags)"``) as text; None where there is no such key."""
        found = self._values.get(key)
        if found is None:
            found = self._ask(key)
        if found is not None:
            self.used.add(key)
        return found

    def _ask(self, key: str) -> str | None:
        """The value of a key that the text lacks, from beyond it; None where that does not know it either."""
        if self.beyond is None or key in self._asked:
            return None
        self._asked.add(key)
        answer = self.beyond(key)
        if answer is None:
            return None
        self._values[key], self.origins[key] = answer
        return answer[0]

    def missing(self) -> str | None:
        """What was taken from beyond the text, as a sentence; None if nothing was."""
        by_origin: dict[str, list[str]] = {}
        for key, origin in self.origins.items():
            by_origin.setdefault(origin, []).append(key)
        parts = [f"{', '.join(sorted(keys))} from {origin}" for origin, keys in by_origin.items()]
        return f"taken where VMCOREINFO lacks them or is wrong: {'; '.join(parts)}" if parts else None

    def lookup(self, kind: str, name: str) -> int | None:
        """The number of the key ``KIND(name)``, ``kind`` being SYMBOL, OFFSET, SIZE, LENGTH or NUMBER.

        None where the key is missing or holds no number that such a key can have: 64 bits at most, only a NUMBER is
        negative, and no symbol is 0 or all ones.
        """
        key = f"{kind}({name})"
        found = self._believable(kind, key)
        if found is None and key in self.unusable and self._ask(key) is not None:
            found = self._believable(kind, key)
        return found

    def _believable(self, kind: str, key: str) -> int | None:
        found = self._number(key, only_hex=kind == "SYMBOL")
        if found is None or kind == "NUMBER" or (0 < found < _WORD if kind == "SYMBOL" else found >= 0):
            return found
        self.unusable.add(key)
        return None

    def need(self, kind: str, name: str) -> int:
        """As :meth:`lookup`, for what nothing works without.

        Raises:
            KernelError: The key is missing or holds no number.
        """
        found = self.lookup(kind, name)
        if found is None:
            key = f"{kind}({name})"
            raise KernelError(f"VMCOREINFO has no usable {key}", found=self._values.get(key))
        return found

    def symbol(self, name: str) -> int | None:
        """Virtual address of the symbol ``name`` (at run time: with the KASLR offset); never 0 or all ones."""
        return self.lookup("SYMBOL", name)

    def offset(self, name: str) -> int | None:
        """Byte offset of the member ``name`` (``"page.flags"``) in its structure."""
        return self.lookup("OFFSET", name)

    def size(self, name: str) -> int | None:
        """Size of the structure ``name`` in bytes."""
        return self.lookup("SIZE", name)

    def length(self, name: str) -> int | None:
        """Number of elements of the array ``name``."""
        return self.lookup("LENGTH", name)

    def number(self, name: str) -> int | None:
        """The constant or variable ``name``; may be negative."""
        return self.lookup("NUMBER", name)

    def number_unsigned(self, name: str) -> int | None:
        """The variable ``name`` where it is an address or a mask: 64 bits, unsigned, however it was printed."""
        found = self.lookup("NUMBER", name)
        return None if found is None else found & _WORD

    @property
    def release(self) -> str | None:
        """``uname -r`` of the kernel (OSRELEASE)."""
        return self.value("OSRELEASE") or None

    @property
    def version(self) -> tuple[int, int, int]:
        """The release as numbers, (0, 0, 0) when unknown. Only for defaults of keys that are missing."""
        first, _, rest = (self.value("OSRELEASE") or "").partition(".")
        second = _leading(rest)
        if first != _leading(first) or not (first and second):
            return 0, 0, 0
        rest = rest[len(second) :]
        return int(first), int(second), int((_leading(rest[1:]) if rest.startswith(".") else "") or 0)

    @property
    def page_size(self) -> int | None:
        """Bytes a page (PAGESIZE): a power of two of 4 KiB to 1 MiB, else None."""
        found = self._number("PAGESIZE")
        if found is None or not 4096 <= found <= 1 << 20 or found & (found - 1):
            return None
        return found

    @property
    def crash_time(self) -> int | None:
        """Seconds since 1970 at the crash (CRASHTIME); None in a dump of a kernel that did not crash."""
        found = self._number("CRASHTIME")
        return found if found is not None and found > 0 else None

    @property
    def build_id(self) -> str | None:
        """The kernel image's build id in hexadecimal (BUILD-ID, since v5.9)."""
        return self.value("BUILD-ID") or None

    @property
    def kernel_offset(self) -> int | None:
        """By how much KASLR moved the kernel's virtual addresses, in bytes (KERNELOFFSET); the symbols include it."""
        return self._number("KERNELOFFSET", only_hex=True)

    def _number(self, key: str, *, only_hex: bool = False) -> int | None:
        text = self.value(key)
        if text is None:
            return None
        found = _as_number(text, only_hex=only_hex)
        if found is None:
            self.unusable.add(key)
        return found


def _as_number(text: str, *, only_hex: bool) -> int | None:
    """``text`` as a number of 64 bits; None if it is none."""
    digits = text[1:] if text.startswith(("+", "-")) else text
    if not only_hex and digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DECIMAL:
        found = int(text, 10)
    elif _is_hexadecimal(digits):
        found = int(text, 16)
    else:
        return None
    return found if -(1 << 63) <= found <= _WORD else None


def _is_hexadecimal(text: str) -> bool:
    digits = text[2:] if text.startswith(("0x", "0X")) else text
    return 0 < len(digits) <= _MOST_HEXADECIMAL and not digits.strip(_HEXADECIMAL)


def _leading(text: str) -> str:
    """The digits that ``text`` begins with, as many as a number of a version has."""
    part = text[:_MOST_VERSION]
    return part[: len(part) - len(part.lstrip("0123456789"))]
