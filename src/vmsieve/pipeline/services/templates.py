"""Templates of the files installed in a system, from the directory ``files``."""

from __future__ import annotations

import shlex


def fill(name: str, **words: tuple[str, ...]) -> bytes:
    """Fill template ``name``: each ``@NAME@`` becomes the shell-quoted words of that keyword."""
    with open(f"{__file__.rpartition('/')[0]}/files/{name}", "rb") as file:
        text = file.read()
    for key, some in words.items():
        quoted = " ".join(shlex.quote(word) for word in some)
        text = text.replace(f"@{key.upper()}@".encode(), quoted.encode("utf-8", "surrogateescape"))
    return text
