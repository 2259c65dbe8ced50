"""Pages filled with zeros: recognised by their content. They stay in the dump, and share one block of data."""

from __future__ import annotations

from vmsieve.filters.rules import Rule
from vmsieve.formats.slim.typing import Final

RULE: Final = Rule("zero", "Pages filled with zero", 90, 1, None, lambda _: [])
