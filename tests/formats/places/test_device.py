"""A flattened stream on a device that held another one: a reader finds its end wherever it is torn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vmsieve.formats.inputs.flattened import rebuild
from vmsieve.formats.places import FlattenedPlace
from vmsieve.formats.places.device import DeviceStream

if TYPE_CHECKING:
    from pathlib import Path

PIECES = [(0, b"a" * 300), (1000, b"b" * 300), (5000, b"c" * 300)]


def write(path: Path, mark: bytes, calls: int) -> None:
    """Write a stream of three pieces; all writes after the first ``calls`` are lost, as after a kill."""
    fd, left = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), [calls]
    real = os.pwrite

    def pwrite(where: int, data: bytes, at: int) -> int:
        left[0] -= 1
        return real(where, data, at) if left[0] >= 0 else len(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        place = FlattenedPlace(DeviceStream(fd).write, "device")
        for offset, data in PIECES:
            place.put(offset, data.replace(data[:1], mark))
            place.flush()
        place.finish()
    os.close(fd)


def read(path: Path) -> tuple[dict[int, bytes], bool]:
    found: dict[int, bytes] = {}
    with path.open("rb") as file:
        whole = rebuild(file.read, found.__setitem__)
    return found, whole


def test_a_stream_torn_anywhere_does_not_go_on_with_an_older_one(tmp_path: Path) -> None:
    """After each write to the device, a reader gets a beginning of the new stream, or the old one."""
    wholes = []
    for calls in range(16):
        device = tmp_path / f"device{calls}"
        write(device, b"old", 1000)
        write(device, b"new", calls)
        found, whole = read(device)
        assert len({data[:3] for data in found.values()}) <= 1, "two dumps are taken for one"
        wholes.append(whole)
        assert not whole or len(found) == len(PIECES)
    assert not wholes[4]
    assert wholes[15]
