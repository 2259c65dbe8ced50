"""vmsieve put into a kdump service, and taken out again."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.errors import OutputError, UsageError, VmsieveError
from vmsieve.formats.slim.records import record
from vmsieve.pipeline.services.journal import Journal, digest, drop, enter, finish, forget, leftovers, load_journal
from vmsieve.pipeline.services.settings import lines_of
from vmsieve.pipeline.services.system_files import make_folders, put, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.pipeline.services.changes import Change
    from vmsieve.pipeline.services.flavours import Flavour, InstallRequest
    from vmsieve.pipeline.services.system import System

__all__ = ["Install", "Step", "Undo", "differences", "plan_install", "plan_undo"]

_MOST: Final = 16 << 20


@record(frozen=True)
class Step:
    """One file: what it holds now and what it shall hold; None: it does not exist."""

    path: str
    now: bytes | None
    then: bytes | None
    mode: int = 0o644


@record(frozen=True)
class Install:
    """What has to be done for a service to use vmsieve.

    Attributes:
        flavour: The service.
        wanted: Each change, and what the file held before any of ours.
        steps: Files that are not yet as they shall be.
        journal: What was done at an earlier time.
    """

    flavour: Flavour
    wanted: list[tuple[Change, bytes | None]]
    steps: list[Step]
    journal: Journal | None

    def apply(self, system: System) -> None:
        """Do it.

        Raises:
            OutputError: A file can't be written. If nothing was set up before, nothing is now; else what is done can
                be undone.
        """
        finish(system, self.journal)
        if not self.steps:
            self._settle(system)
            return
        journal, undone = enter(system, self.flavour.name, self.wanted, self.journal)
        try:
            _take(system, self.steps)
        except OutputError:
            if self.journal is None:
                plan_undo(system).apply(system)
            raise
        drop(system, journal, undone)

    def _settle(self, system: System) -> None:
        """All files are as they shall be: leave out of the journal what a process that was killed did not."""
        if self.journal is not None:
            wanted = {(change.path, digest(change.content)) for change, _ in self.wanted}
            old = [one for one in self.journal.entries if (one.path, one.after) not in wanted]
            drop(system, self.journal, old)


@record(frozen=True)
class Undo:
    """What has to be done for a system to be as it was.

    Attributes:
        journal: What was done.
        steps: The files that are to be changed.
    """

    journal: Journal
    steps: list[Step]

    def apply(self, system: System) -> None:
        """Do it.

        Raises:
            OutputError: A file can't be written; it can be tried again.
        """
        finish(system, self.journal)
        _take(system, self.steps)
        forget(system, self.journal)


def _take(system: System, steps: list[Step]) -> None:
    for step in steps:
        if step.then is None:
            remove(system, step.path)
        else:
            make_folders(system, step.path.rpartition("/")[0] or "/")
            put(system, step.path, step.then, step.mode)


def plan_install(system: System, flavour: Flavour, request: InstallRequest) -> Install:
    """What has to be done; nothing is changed.

    Raises:
        UsageError: It can't be done, or something done earlier has been changed since.
        FormatError: A file can't be read.
    """
    journal = load_journal(system)
    if journal is not None and journal.flavour != flavour.name:
        raise UsageError(
            f"vmsieve is set up for {journal.flavour} here", hint="vmsieve install-kdump --undo takes that back"
        )
    original = _original(system, journal)
    wanted = [(change, original(change.path)) for change in flavour.changes(original, request)]
    steps = [
        Step(change.path, now, change.content, change.mode)
        for change, _ in wanted
        if (now := system.read(change.path, _MOST)) != change.content
    ]
    still = {change.path for change, _ in wanted}
    if journal is not None:
        for path in journal.paths:
            if path not in still:
                steps += _undo_step(system, path, journal.undone(system, path))
    return Install(flavour, wanted, steps, journal)


def _original(system: System, journal: Journal | None) -> Callable[[str], bytes | None]:
    """A reader of files as they are without our changes."""

    def read(path: str) -> bytes | None:
        if journal is None or path not in journal.paths:
            return system.read(path, _MOST)
        return journal.undone(system, path)

    return read


def _undo_step(system: System, path: str, then: bytes | None) -> Iterator[Step]:
    now = system.read(path, _MOST)
    if now != then:
        yield Step(path, now, then)


def plan_undo(system: System) -> Undo:
    """What has to be done for all to be as it was; nothing is changed.

    Raises:
        UsageError: Nothing was done, or a file has been changed since in a way that can't be undone.
        FormatError: A file can't be read.
    """
    journal = load_journal(system)
    if journal is None and leftovers(system):
        return Undo(Journal(""), [])
    if journal is None:
        raise UsageError("there is nothing to undo: vmsieve install-kdump was not applied here")
    steps: list[Step] = []
    refused: list[str] = []
    for path in journal.paths:
        try:
            steps += _undo_step(system, path, journal.undone(system, path))
        except VmsieveError as error:
            refused.append(str(error))
    if refused:
        raise UsageError("this can't be undone, and nothing was: " + "; ".join(refused))
    return Undo(journal, steps)


def differences(steps: list[Step]) -> str:
    """What the steps change, as ``diff -u`` would show it."""
    out: list[str] = []
    for step in steps:
        before, after = (_lines(one) for one in (step.now, step.then))
        names = [step.path if one is not None else "/dev/null" for one in (step.now, step.then)]
        out += difflib.unified_diff(before, after, names[0], names[1])
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in out)


def _lines(content: bytes | None) -> list[str]:
    return lines_of((content or b"").decode("utf-8", "backslashreplace"))
