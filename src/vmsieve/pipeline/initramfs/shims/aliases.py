"""``encodings.aliases`` of an image: names of UTF-8, its only encoding, instead of three hundred."""

from __future__ import annotations

aliases = {"u8": "utf_8", "utf": "utf_8", "utf8": "utf_8"}
