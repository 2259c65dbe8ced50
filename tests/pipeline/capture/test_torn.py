"""Torn dumps of a capture: what the record says is in them, and whether level 31 replaces one of a lower level."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.capture.capture_kit import breaking, capture, die, limited, names, steps
from tests.pipeline.cli_kit import vmsieve
from tests.pipeline.kit import make, readable
from vmsieve.formats.inputs import open_source
from vmsieve.formats.order_note import shares
from vmsieve.pipeline.capture import child, ladder, run, work
from vmsieve.pipeline.capture.heartbeat import Heartbeat
from vmsieve.pipeline.capture.record import lost_classes
from vmsieve.pipeline.capture.target import Target
from vmsieve.pipeline.dump.order import EXTRA

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTOR = 24


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No OOM protection of the tests' process; the log counts as written."""
    monkeypatch.setattr(run, "protect", lambda: None)
    monkeypatch.setattr(child, "protect", lambda _: None)
    monkeypatch.setattr(work, "_log", lambda _, __: {"complete": True})


@pytest.fixture(scope="module")
def reports(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """Reports of whole dumps by level, with their pages under ``"content"``."""
    out, found = tmp_path_factory.mktemp("torn") / "whole", {}
    for level in (1, 31):
        found[level] = make(demo, out, level, codec="none", order="importance", force=True).json()
        found[level]["content"] = set(readable(out))
    return found


def pages(report: dict[str, Any]) -> dict[str, int]:
    return {one["name"]: one["pages"] for one in report["classes"]}


def test_pages_that_level_31_leaves_out_come_last(reports: dict[int, dict[str, Any]]) -> None:
    """All classes before the last are those of a level 31 dump, page for page."""
    low, high = pages(reports[1]), pages(reports[31])
    assert ladder._EXTRA == EXTRA[0] == list(low)[-1]
    extra = low.pop(EXTRA[0])
    assert low == high
    assert extra == reports[1]["pages"]["kept"] + reports[1]["pages"]["zero"] - sum(high.values()) > 0


def in_file(path: Path) -> list[tuple[str, int, int]]:
    source = open_source(str(path))
    found = [(one.name, one.total, one.written) for one in shares(source)]
    source.close()
    return found


def entered(told: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(one["name"], one["pages"], one["written"]) for one in told["dump"]["classes"]]


def test_the_record_lists_classes_of_a_full_target(
    demo: Path, reports: dict[int, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classes in the file, as ``info`` shows them, and a sentence on the missing ones."""
    breaking(monkeypatch, lambda plan: limited(plan, reports[31]["bytes"]["out"] // 4))
    status, told = capture(demo, tmp_path / "out", codec="none")
    assert (status, steps(told)) == (4, [("as asked", "full")])
    classes = entered(told)
    assert classes == in_file(tmp_path / "out" / "vmcore-incomplete")
    assert classes[0][1] == classes[0][2] > 0
    assert classes[-1][2] == 0
    assert "the kernel's page tables" not in told["lost"][-1]
    assert told["lost"][-1].endswith("all other pages")


def test_the_record_lists_classes_after_a_kill(
    demo: Path, reports: dict[int, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The children are killed half-way, in each step: the file is read to tell. No later step's part replaces it."""
    real = Heartbeat.advance

    def advance(beat: Any, parts: int) -> None:
        real(beat, parts)
        if beat._phase == child.COPYING and beat._done > beat._total // 2:
            die(signal.SIGKILL)

    monkeypatch.setattr(Heartbeat, "advance", advance)
    monkeypatch.setattr(work, "_plain", lambda *_: die(signal.SIGKILL))
    status, told = capture(demo, tmp_path / "out", codec="none")
    assert (status, {end for _, end in steps(told)}) == (4, {"crashed"})
    assert steps(told)[-2][0] == "unfiltered"
    classes = entered(told)
    assert classes == in_file(tmp_path / "out" / "vmcore-incomplete")
    # Steps that know less of the kernel find other classes, of the same pages.
    assert sum(total for _, total, _ in classes) == sum(pages(reports[31]).values())
    assert 0 < sum(written for _, _, written in classes) < sum(total for _, total, _ in classes)


def test_the_record_of_a_whole_dump_lists_classes(
    demo: Path, reports: dict[int, dict[str, Any]], tmp_path: Path
) -> None:
    status, told = capture(demo, tmp_path / "out", codec="none")
    assert (status, told["lost"]) == (0, [])
    assert entered(told) == [(name, count, count) for name, count in pages(reports[31]).items()]


def test_a_torn_dump_with_all_of_level_31_stays(
    demo: Path, reports: dict[int, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level 1 does not fit, level 31 would: the torn dump has all its pages and more, and is kept."""
    more = (sum(pages(reports[1]).values()) - sum(pages(reports[31]).values())) * DESCRIPTOR
    least = reports[31]["bytes"]["out"] + more
    limit = (least + reports[1]["bytes"]["out"]) // 2
    assert least < limit
    breaking(monkeypatch, lambda plan: limited(plan, limit))
    status, told = capture(demo, tmp_path / "out", level=1, codec="none")
    assert (status, steps(told)) == (4, [("as asked", "full")])
    assert reports[31]["content"] < set(readable(tmp_path / "out" / "vmcore-incomplete"))
    assert told["lost"][-1].startswith(f"in part: {EXTRA[1]} (")


@pytest.mark.parametrize(("order", "name"), [("importance", "smaller"), ("address", None)])
def test_where_not_even_descriptors_fit(
    order: str, name: str | None, demo: Path, reports: dict[int, dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The page descriptors of level 1 take all of the space: a part of level 31 is better than no dump."""
    breaking(monkeypatch, lambda plan: limited(plan, 4096 if plan.level == 1 else reports[31]["bytes"]["out"] // 2))
    status, told = capture(demo, tmp_path / "out", level=1, codec="none", order=order)
    twice = [("as asked", "full")] * 2  # once more without the record
    if name is None:
        assert (status, steps(told)) == (1, twice)
        return
    assert (status, steps(told)) == (4, [*twice, ("smaller", "full")])
    assert entered(told)[0][1] == entered(told)[0][2]
    assert names(tmp_path / "out") == {"vmcore-incomplete", "vmcore-status.json"}


def test_a_part_of_level_31_is_kept_where_the_estimate_was_wrong(
    demo: Path, reports: dict[int, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level 31 was to fit and does not: its part has the most important pages; level 1 is not begun again."""
    limit = reports[31]["bytes"]["out"] // 2
    breaking(monkeypatch, lambda plan: limited(plan, limit))
    status, told = capture(demo, tmp_path / "out", level=1, codec="none")
    assert (status, steps(told)) == (4, [("as asked", "full"), ("smaller", "full")])
    assert [total for _, total, _ in entered(told)] == list(pages(reports[31]).values())


def test_the_better_part_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of importance before by page frame, then the larger share."""
    monkeypatch.chdir(tmp_path)
    target = Target(str(tmp_path), "directory", "", [], held=os.open(tmp_path, os.O_RDONLY))
    kept = []
    for share, ordered in ((0.2, True), (0.9, False), (0.1, True), (0.3, True)):
        (tmp_path / target.partial).write_text("x")
        target.keep(share, ordered=ordered)
        assert target.kept is not None
        kept.append(target.kept[1])
    target.release()
    assert kept == [0.2, 0.2, 0.2, 0.3]


def test_half_a_stream_still_tells_its_classes(demo: Path, tmp_path: Path) -> None:
    """``dump`` of half a stream has the same pages: it has the note on their order, too."""
    stream, out = tmp_path / "flat", tmp_path / "out"
    report = make(demo, stream, 31, flattened=True)
    stream.write_bytes(stream.read_bytes()[: stream.stat().st_size // 3])
    assert vmsieve("dump", stream, out).status == 4
    found = in_file(out)
    assert [(name, total) for name, total, _ in found] == list(pages(report.json()).items())
    assert 0 < sum(written for *_, written in found) == len(readable(out))


def test_a_sentence_on_lost_classes() -> None:
    one = {"name": "a", "title": "stacks", "pages": 8, "written": 8}
    assert lost_classes([]) == lost_classes([one]) == ""
    classes = [one, {**one, "written": 2}, {**one, "written": 0}, {**one, "title": "text", "written": 0}]
    assert lost_classes(classes) == "in part: stacks (25 %); missing: stacks, text"


def test_ordering_pages_is_not_late(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for the order takes part of the second half of the deadline; classification must not."""
    for phase, end in ((child.CLASSIFYING, "late"), (child.ORDERING, "finished")):

        def perform(board: child.Board, phase: int = phase) -> dict[str, Any]:
            board.tell(phase, 0, 1)
            time.sleep(2)
            return {"end": "finished"}

        watcher = child.Watcher()
        assert watcher.run(perform, child.Board(), child.Limits(first=time.monotonic()))["end"] == end
        watcher.close()
    seen = []
    real = Heartbeat.step

    def step(beat: Any, name: str, total: int, unit: int = 1) -> None:
        real(beat, name, total, unit)
        seen.append(beat._phase)
        (tmp_path / "phases").write_text(repr(seen))

    monkeypatch.setattr(Heartbeat, "step", step)
    assert capture(core, tmp_path / "out")[0] == 0
    assert eval((tmp_path / "phases").read_text()) == [child.CLASSIFYING, child.ORDERING, child.COPYING]
