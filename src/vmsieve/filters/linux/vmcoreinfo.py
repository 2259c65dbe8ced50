"""VMCOREINFO: the text in which a kernel describes itself to dump tools.

Text of lines ``KEY=VALUE``, written by the kernel at boot and at the crash (Linux kernel/vmcore_info.c, before v6.9
kernel/crash_core.c; the keys are described in Documentation/admin-guide/kdump/vmcoreinfo.rst)::

    OSRELEASE=6.1.0-56-cloud-amd64
    SYMBOL(init_uts_ns)=ffffffffb35f9b60
    OFFSET(page.mapping)=24
    NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129

Symbols are hexadecimal; other numbers are decimal, or hexadecimal if they do not parse as decimal. The first of two
lines with one key counts. Malformed lines are skipped and counted.
"""

from __future__ import annotations

from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.typing import Callable

#: Longest text. The kernel's is one page; files made by tools are not much longer.
MAX_SIZE = 1 << 20

_PRINTABLE = bytes(range(0x20, 0x7F))
_HEXADECIMAL = "0123456789abcdefABCDEF"
_MOST_DECIMAL, _MOST_HEXADECIMAL, _MOST_VERSION = 20, 16, 5  # digits
_WORD = (1 << 64) - 1


class VmcoreInfo:
    """The keys and values of one VMCOREINFO text, which may be damaged or empty.

    Attributes:
        text: The text as given, cut at :data:`MAX_SIZE`, without trailing NULs. A file of it can be read back.
        skipped: Number of lines that are not ``KEY=VALUE`` of printable ASCII.
        used: Keys that were looked up and found, for reports.
        unusable: Keys that were looked up and have no usable number.
        resolver: Called for missing or unusable keys: returns value and origin, or None. Once a key; with
            ``doubted=True`` for keys that the text has.
        origins: Origin of keys that the text lacks or has wrong, by key.
        rejected: Keys of the text that are treated as missing.
    """

    def __init__(self, text: bytes) -> None:
        self.text = bytes(text[:MAX_SIZE]).rstrip(b"\0")
        self.skipped = 0
        self.used: set[str] = set()
        self.unusable: set[str] = set()
        self.resolver: Callable[..., tuple[str, str] | None] | None = None
        self.origins: dict[str, str] = {}
        self.rejected: set[str] = set()
        self._seconds: dict[str, tuple[str, str]] = {}
        self._asked: set[str] = set()
        self._values: dict[str, str] = {}
        # Checked once for the whole text, or else for each line, which takes twice as long.
        plain = not self.text.translate(None, _PRINTABLE + b"\n")
        for line in self.text.split(b"\n"):
            key, sign, value = line.rstrip(b"\r").partition(b"=")
            valid = sign and key and not key.startswith(b" ")
            if valid and (plain or not (key + value).translate(None, _PRINTABLE)):
                self._values.setdefault(key.decode("ascii"), value.decode("ascii"))
            elif line:
                self.skipped += 1

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the text."""
        return tuple(self._values)

    def peek(self, key: str) -> str | None:
        """The value of ``key`` if it is known, without resolving it or marking it as used."""
        return self._values.get(key)

    def peek_number(self, key: str) -> int | None:
        """:meth:`peek` parsed as an integer, or None."""
        return _as_number(self.peek(key) or "", only_hex=False)

    def peek_address(self, key: str) -> int:
        """:meth:`peek` parsed as an address, or 0."""
        return _as_number(self.peek(key) or "", only_hex=True) or 0

    def text_number(self, key: str) -> int | None:
        """The number that the text itself has for ``key``, before any correction, or None."""
        mark = key.encode("ascii") + b"="
        line = next((line for line in self.text.split(b"\n") if line.startswith(mark)), mark)
        return _as_number(line[len(mark) :].strip().decode("ascii", "replace"), only_hex=False)

    def second_opinion(self, key: str) -> int | None:
        """The number that the resolver has for ``key``, to compare with the text's; None if it has none."""
        answer = None if self.resolver is None else self.resolver(key, doubted=True)
        if answer is None:
            return None
        self._seconds[key] = answer
        return _as_number(answer[0], only_hex=False)

    def correct(self, key: str) -> None:
        """Replace the text's value by what :meth:`second_opinion` found."""
        self._values[key], self.origins[key] = self._seconds[key]

    def reject(self, key: str) -> None:
        """Treat ``key`` as missing, in the text and for the resolver."""
        self._values.pop(key, None)
        self._asked.add(key)
        self.rejected.add(key)

    def looks_valid(self) -> bool:
        """True if the text has a release, and a symbol or the page size."""
        return bool(self._values.get("OSRELEASE")) and (
            "PAGESIZE" in self._values or any(key.startswith("SYMBOL(") for key in self._values)
        )

    def value(self, key: str) -> str | None:
        """The value of ``key`` (``"OSRELEASE"``, ``"OFFSET(page.flags)"``) as text, resolved if missing, or None."""
        found = self._values.get(key)
        if found is None:
            found = self._ask(key)
        if found is not None:
            self.used.add(key)
        return found

    def _ask(self, key: str) -> str | None:
        """Ask the resolver for ``key``, once."""
        if self.resolver is None or key in self._asked:
            return None
        self._asked.add(key)
        answer = self.resolver(key)
        if answer is None:
            return None
        self._values[key], self.origins[key] = answer
        return answer[0]

    def missing(self) -> str | None:
        """A sentence on the keys that the resolver supplied, or None."""
        by_origin: dict[str, list[str]] = {}
        for key, origin in self.origins.items():
            by_origin.setdefault(origin, []).append(key)
        parts = [f"{', '.join(sorted(keys))} from {origin}" for origin, keys in by_origin.items()]
        return f"taken where VMCOREINFO lacks them or is wrong: {'; '.join(parts)}" if parts else None

    def lookup(self, kind: str, name: str) -> int | None:
        """The number of the key ``KIND(name)``, ``kind`` being SYMBOL, OFFSET, SIZE, LENGTH or NUMBER.

        None if the key is missing or its number out of range: over 64 bits, negative except for NUMBER, a symbol at 0
        or all ones.
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
        """As :meth:`lookup`, but raises KernelError instead of returning None."""
        found = self.lookup(kind, name)
        if found is None:
            key = f"{kind}({name})"
            raise KernelError(f"VMCOREINFO has no usable {key}", found=self._values.get(key))
        return found

    def symbol(self, name: str) -> int | None:
        """Virtual address of the symbol ``name``, KASLR offset included; never 0 or all ones."""
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
        """The variable ``name``, an address or mask, as 64 bits unsigned however it was printed."""
        found = self.lookup("NUMBER", name)
        return None if found is None else found & _WORD

    @property
    def release(self) -> str | None:
        """``uname -r`` of the kernel (OSRELEASE)."""
        return self.value("OSRELEASE") or None

    @property
    def version(self) -> tuple[int, int, int]:
        """The release as numbers, (0, 0, 0) if unknown. Only for defaults of missing keys."""
        first, _, rest = (self.value("OSRELEASE") or "").partition(".")
        second = _leading(rest)
        if first != _leading(first) or not (first and second):
            return 0, 0, 0
        rest = rest[len(second) :]
        return int(first), int(second), int((_leading(rest[1:]) if rest.startswith(".") else "") or 0)

    @property
    def page_size(self) -> int | None:
        """Page size in bytes (PAGESIZE): a power of two from 4 KiB to 1 MiB, else None."""
        found = self._number("PAGESIZE")
        if found is None or not 4096 <= found <= 1 << 20 or found & (found - 1):
            return None
        return found

    @property
    def crash_time(self) -> int | None:
        """Time of the crash in seconds since 1970 (CRASHTIME); None if the kernel did not crash."""
        found = self._number("CRASHTIME")
        return found if found is not None and found > 0 else None

    @property
    def kernel_offset(self) -> int | None:
        """Bytes by which KASLR moved the kernel (KERNELOFFSET); the symbols include it."""
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
    """Parse a number of 64 bits; None if ``text`` is not one."""
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
    """The leading digits of ``text``, at most as many as a version number has."""
    part = text[:_MOST_VERSION]
    return part[: len(part) - len(part.lstrip("0123456789"))]
