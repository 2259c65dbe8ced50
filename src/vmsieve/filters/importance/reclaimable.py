"""Slab objects that can be reclaimed: dentries and inodes, which grow to fill a machine."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.filters.loops.importance import RECLAIMABLE
from vmsieve.formats.slim.typing import Final

CLASS: Final = Importance("reclaimable", "slab objects that can be reclaimed", 85, mark=RECLAIMABLE)
