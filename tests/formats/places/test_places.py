"""Files, flattened streams and pipes: the same dump reaches each of them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.output_kit import Medium
from tests.formats.places import places_kit as kit
from vmsieve.formats import places
from vmsieve.formats.places import FilePlace, FlattenedPlace, PipePlace

if TYPE_CHECKING:
    from vmsieve.formats.outputs import Place


@pytest.mark.parametrize("save", [kit.kdump, kit.elf])
@pytest.mark.parametrize("gathered", [1, 700, 256 * 1024])
def test_a_file_holds_what_was_put(save: object, gathered: int, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "GATHERED", gathered)
    medium = Medium()
    save(medium, kit.memory())  # type: ignore[operator]
    place = FilePlace(file, "dump")
    save(place, kit.memory())  # type: ignore[operator]
    place.finish()
    assert kit.content(file) == bytes(medium.data)


@pytest.mark.parametrize("save", [kit.kdump, kit.elf])
@pytest.mark.parametrize("gathered", [1, 700, 256 * 1024])
def test_a_flattened_stream_rebuilds_to_what_was_put_and_sends_no_byte_twice(
    save: object, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "GATHERED", gathered)
    medium, stream = Medium(), io.BytesIO()
    save(medium, kit.memory())  # type: ignore[operator]
    place = FlattenedPlace(stream.write, "stdout")
    save(place, kit.memory())  # type: ignore[operator]
    place.finish()
    assert kit.rebuilt(stream.getvalue()) == bytes(medium.data)
    spans = sorted((offset, offset + len(data)) for offset, data in kit.pieces(stream.getvalue()))
    assert all(one[1] <= two[0] for one, two in zip(spans, spans[1:]))


@pytest.mark.parametrize("gathered", [1, 700, 256 * 1024])
def test_a_pipe_gets_what_was_put_with_the_holes_filled(gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "GATHERED", gathered)
    medium, stream = Medium(), io.BytesIO()
    kit.elf(medium, kit.memory())
    place = PipePlace(stream.write, "stdout")
    kit.elf(place, kit.memory())
    place.finish()
    assert stream.getvalue() == bytes(medium.data)


def test_zeros_at_the_end_reach_every_place(file: int) -> None:
    streams = [io.BytesIO(), io.BytesIO()]
    every: list[Place] = [
        FilePlace(file, "dump"), FlattenedPlace(streams[0].write, "flat"), PipePlace(streams[1].write, "pipe")
    ]  # fmt: skip
    for place in every:
        place.put(0, b"abc")
        place.extend(200_000)
        place.finish()
    expected = b"abc".ljust(200_000, b"\0")
    assert [kit.content(file), kit.rebuilt(streams[0].getvalue()), streams[1].getvalue()] == [expected] * 3


def test_a_longer_file_is_not_cut(file: int) -> None:
    os.pwrite(file, b"x" * 10, 0)
    place = FilePlace(file, "dump")
    place.extend(5)
    place.finish()
    assert len(kit.content(file)) == 10


def test_a_pipe_does_not_go_back() -> None:
    place = PipePlace(io.BytesIO().write, "stdout")
    place.put(0, b"12345")
    with pytest.raises(ValueError, match="offset 3"):
        place.put(3, b"x")


def test_an_empty_flattened_stream_has_header_and_end() -> None:
    stream = io.BytesIO()
    FlattenedPlace(stream.write, "stdout").finish()
    assert kit.pieces(stream.getvalue()) == []


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 900)), max_size=60))
def test_interleaved_streams_arrive_whole(puts: list[tuple[int, int]]) -> None:
    """Four streams, two more than are buffered side by side."""
    stream, expected, ends = io.BytesIO(), bytearray(400_000), [i * 100_000 for i in range(4)]
    place = FlattenedPlace(stream.write, "stdout")
    for number, (which, size) in enumerate(puts):
        data = bytes([number % 255 + 1]) * size
        place.put(ends[which], data)
        expected[ends[which] : ends[which] + size] = data
        ends[which] += size
    place.finish()
    rebuilt = kit.rebuilt(stream.getvalue())
    assert rebuilt == bytes(expected[: len(rebuilt)])
    assert not any(expected[len(rebuilt) :])


def test_gathering_makes_few_writes_and_bounds_memory(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.pwrite

    def count(fd: int, data: bytes, at: int) -> int:
        sizes.append(len(data))
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", count)
    place = FilePlace(file, "dump")
    for i in range(20_000):
        place.put(1_000_000 + i * 400, bytes(400))
        place.put(i * 24, bytes(24))
    place.finish()
    assert sum(sizes) == 20_000 * 424
    assert len(sizes) <= 2 * (sum(sizes) // places.GATHERED + 1)
    assert max(sizes) <= places.GATHERED + 400


@pytest.mark.parametrize(("upward", "first"), [(False, 16384), (True, 4096)])
def test_the_write_order_of_gathered_runs(upward: bool, first: int, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data precede pointers to them; without pointers the lower offset comes first: a torn file has no holes."""
    offsets: list[int] = []

    def note(_: int, data: memoryview, at: int) -> int:
        offsets.append(at)
        return len(data)

    monkeypatch.setattr(os, "pwrite", note)
    place = FilePlace(file, "dump", upward=upward)
    place.put(4096, bytes(4096))
    place.put(16384, bytes(4096))
    place.flush()
    assert offsets == [first, 4096 + 16384 - first]
