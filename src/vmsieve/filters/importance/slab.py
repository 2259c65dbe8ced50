"""Slab objects that can't be reclaimed: most of the kernel's structures."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.filters.loops.importance import SLAB
from vmsieve.formats.slim.typing import Final

CLASS: Final = Importance("slab", "slab objects", 80, mark=SLAB)
