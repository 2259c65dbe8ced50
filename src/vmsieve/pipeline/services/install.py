"""Installs vmsieve in a kdump service, and uninstalls it."""

from __future__ import annotations

import difflib
from functools import partial

from vmsieve.formats.errors import OutputError, UsageError, VmsieveError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.services.journal import Journal, digest, drop, enter, finish, forget, leftovers, load_journal
from vmsieve.pipeline.services.settings import lines_of
from vmsieve.pipeline.services.system_files import make_folders, put, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.pipeline.services.changes import Change
    from vmsieve.pipeline.services.flavours import Flavour, InstallRequest
    from vmsieve.pipeline.services.system import System


@record(frozen=True)
class FileUpdate:
    """A change of one file from content ``now`` to ``then``; None: the file does not exist."""

    path: str
    now: bytes | None
    then: bytes | None
    mode: int = 0o644


@record(frozen=True)
class Install:
    """A planned installation."""

    flavour: Flavour
    wanted: list[tuple[Change, bytes | None]]  # each change, with the original content of its file
    updates: list[FileUpdate]  # files that differ from the desired state
    journal: Journal | None  # record of an earlier installation

    def apply(self, system: System) -> None:
        """Write the files; on OutputError, a first installation is rolled back, and a later one can be undone."""
        finish(system, self.journal)
        if not self.updates:
            self._settle(system)
            return
        journal, undone = enter(system, self.flavour.name, self.wanted, self.journal)
        try:
            _write(system, self.updates)
        except OutputError:
            if self.journal is None:
                plan_undo(system).apply(system)
            raise
        drop(system, journal, undone)

    def _settle(self, system: System) -> None:
        """Remove journal entries that a killed process wrote but did not carry out."""
        if self.journal is not None:
            wanted = {(change.path, digest(change.content)) for change, _ in self.wanted}
            old = [one for one in self.journal.entries if (one.path, one.after) not in wanted]
            drop(system, self.journal, old)


@record(frozen=True)
class Undo:
    """A planned uninstallation."""

    journal: Journal  # record of the installation
    updates: list[FileUpdate]  # files to restore

    def apply(self, system: System) -> None:
        """Restore the files; after an OutputError it can be repeated."""
        finish(system, self.journal)
        _write(system, self.updates)
        forget(system, self.journal)


def _write(system: System, updates: list[FileUpdate]) -> None:
    for update in updates:
        if update.then is None:
            remove(system, update.path)
        else:
            make_folders(system, update.path.rpartition("/")[0] or "/")
            put(system, update.path, update.then, update.mode)


def plan_install(system: System, flavour: Flavour, request: InstallRequest) -> Install:
    """Plan an installation without changing anything.

    Raises UsageError if it is impossible, or our earlier changes have been modified.
    """
    journal = load_journal(system)
    if journal is not None and journal.flavour != flavour.name:
        hint = "vmsieve install-kdump --undo reverts that"
        raise UsageError(f"vmsieve is set up for {journal.flavour} here", hint=hint)
    known = journal or Journal(flavour.name)
    original = partial(known.undone, system)
    planned = [(change, original(change.path)) for change in flavour.changes(original, request)]
    # A file that a package installed is the package's to update and remove.
    wanted = [(change, before) for change, before in planned if change.content != before]
    updates = [
        FileUpdate(change.path, now, change.content, change.mode)
        for change, _ in wanted
        if (now := system.read(change.path)) != change.content
    ]
    still = {change.path for change, _ in wanted}
    for path in known.paths:
        if path not in still:
            updates += _undo_update(system, path, original(path))
    return Install(flavour, wanted, updates, journal)


def _undo_update(system: System, path: str, then: bytes | None) -> Iterator[FileUpdate]:
    now = system.read(path)
    if now != then:
        yield FileUpdate(path, now, then)


def plan_undo(system: System) -> Undo:
    """Plan the uninstallation without changing anything.

    Raises UsageError if nothing is installed, or later edits of a file can't be separated from ours.
    """
    journal = load_journal(system)
    if journal is None and leftovers(system):
        return Undo(Journal(""), [])
    if journal is None:
        raise UsageError("there is nothing to undo: vmsieve install-kdump was not applied here")
    updates: list[FileUpdate] = []
    refused: list[str] = []
    for path in journal.paths:
        try:
            updates += _undo_update(system, path, journal.undone(system, path))
        except VmsieveError as error:
            refused.append(str(error))
    if refused:
        raise UsageError("nothing was undone: " + "; ".join(refused))
    return Undo(journal, updates)


def differences(updates: list[FileUpdate]) -> str:
    """The updates in the format of ``diff -u``."""
    out: list[str] = []
    for update in updates:
        both = (update.now, update.then)
        before, after = (lines_of((one or b"").decode("utf-8", "backslashreplace")) for one in both)
        names = [update.path if one is not None else "/dev/null" for one in both]
        out += difflib.unified_diff(before, after, names[0], names[1])
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in out)
