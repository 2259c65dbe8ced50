"""Slab objects of the caches that tasks are in: ``task_struct``, ``signal_cache`` and the like."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.filters.loops.importance import TASKS
from vmsieve.formats.slim.typing import Final

CLASS: Final = Importance("task_slabs", "slab objects of tasks", 40, mark=TASKS)
