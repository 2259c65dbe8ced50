"""Text of a dump, or a file's name, as it may be shown: it may hold anything, and a terminal obeys what it is sent."""

from __future__ import annotations

__all__ = ["as_utf8", "shown"]

#: What :func:`os.fsdecode` makes of a byte that is not UTF-8: that byte behind this (PEP 383).
_BYTE, _LAST_BYTE = 0xDC00, 0xDCFF


def shown(text: str, keep: str = "") -> str:
    r"""``text`` with everything that a terminal would obey, or that can't be seen, as ``\xNN`` or ``\uNNNN``.

    That is what Unicode calls no printable character: control characters (C0 and C1), what turns the direction of
    writing around or is invisible, line and paragraph separators, halves of surrogate pairs. Bytes that are not UTF-8
    (:func:`os.fsdecode`) are shown as bytes.

    Args:
        text: Any.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _escaped(ord(one)) for one in text)


def _escaped(code: int) -> str:
    if _BYTE + 0x80 <= code <= _LAST_BYTE:
        code -= _BYTE
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def as_utf8(text: str) -> str:
    r"""``text`` as UTF-8 can hold it: a byte of a file's name that is not UTF-8 becomes ``\xNN``."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
