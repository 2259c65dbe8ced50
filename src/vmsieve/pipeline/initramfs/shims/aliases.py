"""``encodings.aliases`` in an image: other names of the one encoding that is there. The real one has three hundred."""

from __future__ import annotations

aliases = {"u8": "utf_8", "utf": "utf_8", "utf8": "utf_8"}
