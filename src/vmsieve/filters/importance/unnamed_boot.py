"""Memory from boot, sooner than :mod:`boot <vmsieve.filters.importance.boot>`, as per-CPU areas are in it unnamed."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.filters.importance.boot import CLASS as BOOT
from vmsieve.formats.slim.typing import Final

CLASS: Final = Importance(
    "unnamed_boot", "per-CPU areas, among memory from before the allocators", 41, mark=BOOT.mark, without=BOOT.without,
    unless="__per_cpu_offset",
)  # fmt: skip
