"""In a clone of the source: is the machine code made of the sources that are there?

The build leaves a digest of its sources beside the machine code. A wheel or an image has none: nothing is asked there.
"""

from __future__ import annotations

import os
from typing import Final

from vmsieve.formats.errors import UsageError

__all__ = ["DIGEST", "demand_fresh", "is_fresh", "source_digest"]

#: Name of the file, in the folder of the machine code.
DIGEST: Final = "digest"
_ROOT: Final = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir)
#: Whose modules are, or make, the loops.
_ROOMS: Final = ("formats/compiler", "formats/loops", "formats/codecs", "filters/loops", "filters/rules")


def _sources() -> list[str]:
    rooms = [os.path.join(_ROOT, room) for room in _ROOMS]
    return [os.path.join(room, name) for room in rooms for name in sorted(os.listdir(room)) if name[-3:] == ".py"]


def source_digest() -> str:
    """A digest of everything that the machine code is made of: it changes when the code must be built again."""
    import hashlib

    digest = hashlib.sha256()
    for path in _sources():
        with open(path, "rb") as file:
            digest.update(os.path.basename(path).encode() + b"\0" + file.read())
    return digest.hexdigest()


def is_fresh(objects: str) -> bool:
    """Whether the machine code in the folder ``objects`` is made of the sources that are there."""
    try:
        with open(os.path.join(objects, DIGEST), encoding="ascii") as file:
            return file.read() == source_digest()
    except OSError:
        return False


def demand_fresh(objects: str) -> None:
    """See that the machine code in ``objects`` fits the sources; reads them only if one is newer.

    Raises:
        UsageError: It does not. Its parameters may lie elsewhere, and pages be left out for no reason.
    """
    made = os.stat(os.path.join(objects, DIGEST)).st_mtime_ns
    if any(os.stat(path).st_mtime_ns > made for path in _sources()) and not is_fresh(objects):
        raise UsageError("the machine code is older than its sources", file=objects, hint="run 'make loops'")
