"""Stand-ins for modules of the standard library that cost a crash kernel too much memory and time.

Belongs here: ``records`` for dataclasses, ``contexts`` for contextlib, ``remembered`` for functools.lru_cache.
Does not: anything that the rest of the package would use if memory were plenty.
"""
