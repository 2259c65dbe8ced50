"""Web pages that are one file: the templates, styles and scripts in ``web``."""

from __future__ import annotations

import re


def web_file(name: str) -> str:
    """Return the text of a file in ``web``."""
    with open(f"{__file__.rpartition('/')[0]}/web/{name}", encoding="utf-8") as file:
        return file.read()


def fill(name: str, **words: str) -> str:
    """Fill template ``name``: each ``@key@`` becomes the HTML text of that keyword, which is not searched again."""
    return re.sub(r"@([a-z]+)@", lambda match: words[match[1]], web_file(name))
