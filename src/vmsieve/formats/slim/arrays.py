"""``array.array``, without ``collections``, which :mod:`array` imports only to register itself in an abstract class.

``collections`` takes 1.5 ms of every start (``python3 -c pass`` takes 10), with ``operator``, ``keyword`` and
``reprlib``, and 0.6 MiB.
"""

from __future__ import annotations

import _collections_abc
import sys

_ALIASES = ("collections", "collections.abc")
_lent = () if any(name in sys.modules for name in _ALIASES) else _ALIASES
sys.modules.update(dict.fromkeys(_lent, _collections_abc))
try:
    from array import array
finally:
    for _name in _lent:
        del sys.modules[_name]

__all__ = ["array"]
