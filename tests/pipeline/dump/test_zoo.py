"""The page selection equals makedumpfile's, bit for bit, on the skeletons of real kernels in ``tests/zoo``."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.dumps import ROOT, unpacked
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ZOO = ROOT / "tests" / "zoo"
NAMES = sorted(path.stem for path in ZOO.glob("*.zst"))
#: Classes as makedumpfile counts them.
CLASSES = ("cache", "cache_private", "user", "free", "hwpoison", "offline")


def answers(name: str) -> Any:
    return json.loads((ZOO / f"{name}.json").read_text())


def digest(blocks: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(blocks).rstrip(b"\0")).hexdigest()


def test_the_zoo_is_complete() -> None:
    """Every skeleton has answers and an entry in the README, every answer has a skeleton, and all are small."""
    assert len(NAMES) > 10
    assert sorted(path.stem for path in ZOO.glob("*.json")) == NAMES
    readme = (ZOO / "README.md").read_text()
    for name in NAMES:
        assert f"`{name}`" in readme
        assert (ZOO / f"{name}.zst").stat().st_size <= 500_000
        assert len(answers(name)["levels"]) == 32


@pytest.mark.parametrize("name", NAMES)
def test_bitmaps_and_counts_equal_makedumpfiles(name: str, scratch: Path) -> None:
    """Both bitmaps and the count of each class, at all 32 levels; odd levels select as even ones do."""
    expected = answers(name)
    source = open_source(str(unpacked(ZOO / f"{name}.zst", scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.problem is None
    assert knowledge.page_size == expected["page_size"]
    for level in range(0, 32, 2):
        found, answer = scan(source, knowledge, level, Silent(), whole=False), expected["levels"][level]
        assert digest(found.exists) == expected["bitmap1"], level
        assert digest(found.kept) == answer["bitmap2"] == expected["levels"][level + 1]["bitmap2"], level
        assert found.kept.count() == answer["kept"], level
        counts = {rule: found.counts.get(rule, 0) for rule in CLASSES}
        counts["free"] += found.counts.get("unaccepted", 0)
        assert counts == {rule: answer["counts"][rule] for rule in CLASSES}, level
        assert not found.weaker
        assert found.notes == []
    source.close()


@pytest.mark.parametrize("name", NAMES)
def test_zero_pages_are_those_of_the_original(name: str) -> None:
    """Packed skeletons: one class count gives the kept pages of each level, and how many of those are zero."""
    expected = answers(name)["levels"]
    source = open_source(str(ZOO / f"{name}.zst"))
    class_counts = count_classes(source, gather_knowledge(source), Silent())
    for level in range(32):
        assert class_counts.level(level)["pages"] == expected[level]["kept"], level
        assert class_counts.pages(level)["zero"] == expected[level]["counts"]["zero"], level
    source.close()
