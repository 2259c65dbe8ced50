"""Machine code for other architectures selects the same pages, from dumps of either byte order."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS, STRUCT_PAGE
from tests.filters.classify_kit import classifier, classify, random_pages
from tests.formats.foreign import MACHINES, Program, shipped
from vmsieve.filters.loops import parameters as at

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 1500
FIRST = 0x4321


@pytest.fixture(params=MACHINES)
def program(request: pytest.FixtureRequest) -> Program:
    """A program for a machine, with the code that the package ships for it."""
    return shipped(request.param)


def test_pages_are_classified_as_here(program: Program, tmp_path: Path) -> None:
    """Random struct pages of kernels with different encodings of orders and types, counted by class."""
    expected, places = [], []
    for number, name in enumerate(LAYOUTS):
        for order in ("little", "big"):
            layout = LAYOUTS[name]
            judge = classifier(layout, 31, thorough=bool(number % 2), byte_order=order)
            words = list(judge.parameters.words)
            words[at.SWAP // 8] = int((order == "big") != (program.order == ">"))
            pages = random_pages(layout, number, COUNT, order)
            names = [rule.name for rule in judge.rules]
            here = classify(judge, FIRST, pages)
            expected.append(bytes(sum(1 << names.index(n) for n in here[FIRST + i]) for i in range(COUNT)))
            parameters = program.place(struct.pack(f"{program.order}{len(words)}Q", *words))
            out = program.place(bytes(COUNT))
            program.call("classify_pages", parameters, program.place(pages), FIRST, COUNT, 0, out)
            kept, histogram = program.place(b"\xff" * (COUNT // 8 + 1)), program.place(bytes(2048))
            program.call("apply_classes", out, COUNT, kept, 0, judge.drop, histogram)
            places.append((out, histogram, judge.drop))
    done = program.run(tmp_path)
    assert STRUCT_PAGE == 64
    for i, (classes, (out, histogram, drop)) in enumerate(zip(expected, places)):
        assert done.at(out, COUNT) == classes
        assert done.results[2 * i] == sum(1 for which in classes if which)
        assert done.results[2 * i + 1] == sum(1 for which in classes if which & drop)
        counted = struct.unpack(f"{program.order}256Q", done.at(histogram, 2048))
        assert list(counted) == [classes.count(which) for which in range(256)]
