"""The record of a capture while it runs: what was asked, each step and its end, the dump, the log, what is lost."""

from __future__ import annotations

import time

import vmsieve
from vmsieve.pipeline.capture.target import DUMP
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vmsieve.pipeline.capture.job import Job
    from vmsieve.pipeline.capture.ladder import Step
    from vmsieve.pipeline.capture.options import Request
    from vmsieve.pipeline.capture.target import Target

_RESULTS = {
    EXIT_OK: "whole", EXIT_FAILED: "failed", EXIT_WEAKER: "weaker", EXIT_INCOMPLETE: "incomplete",
}  # fmt: skip


class Record:
    """The record; ``docs/capture.md`` describes the keys of ``data``, its JSON object."""

    def __init__(self, request: Request, target: Target) -> None:
        self.began = time.monotonic()
        self.lost: list[str] = []  # sentences on what is missing from the dump or the log
        self.last_step: dict[str, Any] = {}
        self.data: dict[str, Any] = {
            "version": vmsieve.__version__, "result": "running", "exit_status": None, "input": request.input,
            "target": target.path,
            "asked": {"level": request.level, "codec": request.codec, "deadline": request.deadline},
            "began": int(time.time()), "seconds": 0.0, "dump": None, "log": None, "lost": self.lost, "steps": [],
            "notes": target.notes,
        }  # fmt: skip

    def add_step(self, step: Step, job: Job, seconds: float, share: float, outcome: dict[str, Any]) -> None:
        """Append a step that ended with ``outcome`` after copying ``share`` of its pages."""
        self.last_step = {
            "step": step.name, "facts": step.basis, "careful": step.careful, "level": job.level, "seconds": seconds,
            "end": outcome["end"], "error": outcome.get("error", ""), "done": round(share, 3),
            "notes": outcome.get("notes", []),
        }  # fmt: skip
        self.data["steps"].append(self.last_step)

    def finished(self, step: Step, target: Target, outcome: dict[str, Any]) -> None:
        """Enter the dump that ``step`` finished."""
        self.data["dump"] = {
            "file": target.full(DUMP), "step": step.name, "level": outcome["level"], "bytes": outcome["bytes"],
            "pages": outcome["pages"], "classes": outcome.get("classes", []), "complete": not outcome["incomplete"],
        }  # fmt: skip
        missing = outcome["pages"].get("unreadable", 0)
        if missing:
            self.lost.append(f"{missing} pages could not be read")
        elif outcome["incomplete"]:
            self.lost.append("the input is incomplete or unreadable in places: see the step's notes")

    def partial(self, path: str, size: int | None, classes: list[dict[str, Any]], share: float | None = None) -> None:
        """Enter the partial dump at ``path``; ``share``: of its pages. ``classes``: empty in address order."""
        self.data["dump"] = {"file": path, "bytes": size, "classes": classes, "complete": False}
        if share is None:
            self.lost.append("the dump ends early: the end of the stream is missing")
        else:
            self.data["dump"]["share"] = f"{100 * share:.0f} %"
            self.lost.append(f"the dump ends after {100 * share:.0f} % of its pages")
        if lost := lost_classes(classes):
            self.lost.append(lost)

    def close(self, status: int) -> str:
        """Enter the result; returns it as a sentence for the console."""
        self.data["result"], self.data["exit_status"] = _RESULTS[status], status
        dump, summary = self.data["dump"], "no dump"
        if dump:
            size = f"{dump['bytes'] / (1 << 20):.1f} MiB" if dump["bytes"] is not None else "a part"
            summary = f"{size} in {'standard output' if self.data['target'] == '-' else dump['file']}"
        lost = f" ({'; '.join(self.lost)})" if self.lost else ""
        return f"{_RESULTS[status]}: {summary}, {time.monotonic() - self.began:.1f} s{lost}"


def lost_classes(classes: list[dict[str, Any]]) -> str:
    """Say which classes of importance a dump lacks, in part or as a whole; empty: none."""
    part = [f"{one['title']} ({100 * one['written'] // one['pages']} %)" for one in classes
            if 0 < one["written"] < one["pages"]]  # fmt: skip
    missing = [one["title"] for one in classes if not one["written"]]
    groups = (("in part", part), ("missing", missing))
    return "; ".join(f"{name}: {', '.join(titles)}" for name, titles in groups if titles)
