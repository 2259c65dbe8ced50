"""The files that are put into a system, as they lie in ``files`` beside this module."""

from __future__ import annotations

import shlex

__all__ = ["fill", "read_template"]


def read_template(name: str) -> bytes:
    """The file ``name`` as it is."""
    with open(f"{__file__.rpartition('/')[0]}/files/{name}", "rb") as file:
        return file.read()


def fill(name: str, **words: tuple[str, ...]) -> bytes:
    """The file ``name`` with ``words``, quoted for a shell, where it says ``@NAME@``."""
    text = read_template(name)
    for key, some in words.items():
        quoted = " ".join(shlex.quote(word) for word in some)
        text = text.replace(f"@{key.upper()}@".encode(), quoted.encode("utf-8", "surrogateescape"))
    return text
