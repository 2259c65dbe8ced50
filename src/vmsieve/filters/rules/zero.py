"""Pages filled with zeros: recognised by their content. They stay in the dump, and share one block of data."""

from __future__ import annotations

from typing import Final

from vmsieve.filters.rules import Rule

RULE: Final = Rule("zero", "Pages filled with zero", 90, 1, None, lambda _: [])
