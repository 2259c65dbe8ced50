"""Memory that was allocated at boot, before the allocators (``PG_reserved``): sections, nodes, early tables."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.filters.loops.importance import RESERVED
from vmsieve.formats.slim.typing import Final

CLASS: Final = Importance(
    "boot", "memory from before the allocators", 45, mark=RESERVED,
    without=("data", "rodata", "orc", "text", "memmap"),
)  # fmt: skip
