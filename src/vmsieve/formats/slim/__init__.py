"""Stand-ins for modules of the standard library that cost a crash kernel too much memory and time.

Belongs here: ``records`` for dataclasses (saves half a megabyte and a third of a capture's import time, as
:mod:`dataclasses` imports ``inspect``, ``ast``, ``dis`` and ``tokenize``); ``contexts`` for contextlib (half a megabyte
and a tenth, for ``collections`` and ``functools``); ``cache`` for functools.lru_cache; ``typing`` for typing (1.9 MiB,
and a tenth of the start of any command); ``arrays`` for array. A crash kernel has 256 MiB in all. Does not: anything
the package would use if memory were plenty. Type checkers see the standard modules.
"""
