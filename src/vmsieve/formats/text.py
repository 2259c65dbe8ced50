"""Text of a dump, or a file name, made safe for a terminal."""

from __future__ import annotations

#: Range to which :func:`os.fsdecode` maps bytes that are not UTF-8 (PEP 383).
_BYTE, _LAST_BYTE = 0xDC00, 0xDCFF


def shown(text: str, keep: str = "") -> str:
    r"""Escape everything in ``text`` that a terminal would obey or not show, as ``\xNN`` or ``\uNNNN``.

    These are the characters that Unicode calls not printable: control characters (C0 and C1), direction marks,
    invisible characters, line and paragraph separators, surrogates. Bytes that are not UTF-8 (:func:`os.fsdecode`) are
    shown as bytes.

    ``keep``: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _escaped(ord(one)) for one in text)


def _escaped(code: int) -> str:
    if _BYTE + 0x80 <= code <= _LAST_BYTE:
        code -= _BYTE
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def as_utf8(text: str) -> str:
    r"""Make ``text`` valid UTF-8: a byte of a file name that is not UTF-8 becomes ``\xNN``."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
