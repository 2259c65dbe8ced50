"""The files that are put into a system, as they lie in ``files`` beside this module."""

from __future__ import annotations

import shlex
from typing import Final

__all__ = ["filled", "text_of"]

_PROGRAM: Final = "@PROGRAM@"


def text_of(name: str) -> bytes:
    """The file ``name`` as it is."""
    with open(f"{__file__.rpartition('/')[0]}/files/{name}", "rb") as file:
        return file.read()


def filled(name: str, program: tuple[str, ...]) -> bytes:
    """The file ``name`` with the words that run vmsieve, quoted for a shell, where it says ``@PROGRAM@``."""
    words = " ".join(shlex.quote(word) for word in program)
    return text_of(name).replace(_PROGRAM.encode(), words.encode("utf-8", "surrogateescape"))
