"""Check in a source checkout that the machine code matches its sources.

The build stores a digest of the sources beside the machine code. Wheels and images have none and are not checked.
"""

from __future__ import annotations

import os

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import Final

#: File in the folder of the machine code.
DIGEST: Final = "digest"
_ROOT: Final = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir)
#: Rooms with loops, inline functions or the compiler.
_ROOMS: Final = ("formats/compiler", "formats/loops", "formats/codecs", "filters/loops", "filters/rules")


def _sources() -> list[str]:
    rooms = [os.path.join(_ROOT, room) for room in _ROOMS]
    return [os.path.join(room, name) for room in rooms for name in sorted(os.listdir(room)) if name[-3:] == ".py"]


def source_digest() -> str:
    """Digest all sources of the machine code."""
    import hashlib

    digest = hashlib.sha256()
    for path in _sources():
        with open(path, "rb") as file:
            digest.update(os.path.basename(path).encode() + b"\0" + file.read())
    return digest.hexdigest()


def is_fresh(objects: str) -> bool:
    """True if the machine code in the folder ``objects`` was made from these sources."""
    try:
        with open(os.path.join(objects, DIGEST), encoding="ascii") as file:
            return file.read() == source_digest()
    except OSError:
        return False


def demand_fresh(objects: str) -> None:
    """Raise UsageError if ``objects`` are not of these sources; reads the sources only if one is newer.

    Parameters may have moved, and pages would be dropped wrongly.
    """
    made = os.stat(os.path.join(objects, DIGEST)).st_mtime_ns
    if any(os.stat(path).st_mtime_ns > made for path in _sources()) and not is_fresh(objects):
        raise UsageError("the machine code is older than its sources", file=objects, hint="run 'make loops'")
