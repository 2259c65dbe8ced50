"""The journal of changes to a system, written before they are made, so that they can be undone after a crash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.services.changes import Change, Edit, reverted
from vmsieve.pipeline.services.dracut import IMAGE
from vmsieve.pipeline.services.system_files import make_folders, put, remove, remove_folders, remove_unfinished

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

FOLDER: Final = "/var/lib/vmsieve/install-kdump"
_JOURNAL: Final = f"{FOLDER}/journal.json"
_ORIGINAL: Final = f"{FOLDER}/original"
_VERSION: Final = 1


@record(frozen=True)
class Entry:
    """A changed file."""

    path: str  # path on the system
    edits: tuple[Edit, ...]  # our edits; empty: the whole file is ours
    after: str  # digest of the new content
    before: str | None  # digest of the original; None: the file did not exist
    backup: str  # path of the original; empty: the file did not exist

    def undone(self, system: System) -> bytes | None:
        """Content of the file with the change undone; None: no file. UsageError if the file was modified since."""
        now = system.read(self.path)
        if now is None or digest(now) == self.before:
            return now
        if digest(now) == self.after:
            if self.before is None:
                return None
            saved = system.read(self.backup)
            if saved is not None and digest(saved) == self.before:
                return saved
        found = reverted(now, self.edits) if self.edits else None
        if found is None:
            what = "vmsieve's lines in it have been changed since" if self.edits else "it has been changed since"
            hint = f"what it was before is in {self.backup}" if self.backup else "remove it by hand if it may go"
            raise UsageError(what, file=self.path, hint=hint)
        return found


@record
class Journal:
    """All changes."""

    flavour: str  # name of the kdump service
    # A file has two if the process was killed while changing it from one to the other.
    entries: list[Entry] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # directories created for them, parents first

    @property
    def paths(self) -> list[str]:
        """The files, each once."""
        return list(dict.fromkeys(one.path for one in self.entries))

    def undone(self, system: System, path: str) -> bytes | None:
        """Content of ``path`` without our change; see :meth:`Entry.undone`."""
        problem: UsageError | None = None
        for entry in (one for one in self.entries if one.path == path):
            try:
                return entry.undone(system)
            except UsageError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return system.read(path)


def digest(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


def load_journal(system: System) -> Journal | None:
    """Read the journal; returns None if nothing is installed. Raises UsageError if it is damaged."""
    data = system.read(_JOURNAL)
    if data is None:
        return None
    try:
        content = json.loads(data)
        if content["version"] != _VERSION:
            raise ValueError("made by another version of vmsieve")
        entries = [_entry(one) for one in content["files"]]
        return Journal(_string(content["flavour"]), entries, [_string(one) for one in content["folders"]])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the journal is damaged: {error}", file=_JOURNAL) from error


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a string is missing")
    return value


def _entry(item: Any) -> Entry:
    edits = tuple(Edit(_string(one["was"]), _string(one["now"])) for one in item["edits"])
    before = None if item["before"] is None else _string(item["before"])
    return Entry(_string(item["path"]), edits, _string(item["after"]), before, _string(item["backup"]))


def enter(
    system: System, flavour: str, wanted: list[tuple[Change, bytes | None]], earlier: Journal | None
) -> tuple[Journal, list[Entry]]:
    """Save a journal of the ``wanted`` changes (each with the original content) before they are made.

    Returns it, and the entries of ``earlier`` that are superseded: pass them to :func:`drop` afterwards.
    """
    journal = Journal(flavour, folders=list(earlier.folders) if earlier is not None else _missing(system, _JOURNAL))
    make_folders(system, _ORIGINAL)
    for change, before in wanted:
        backup = f"{_ORIGINAL}/{change.path.strip('/').replace('/', '+')}" if before is not None else ""
        if before is not None:
            put(system, backup, before, 0o600)
        known = digest(before) if before is not None else None
        journal.entries.append(Entry(change.path, change.edits, digest(change.content), known, backup))
        journal.folders += [one for one in _missing(system, change.path) if one not in journal.folders]
    old = [one for one in earlier.entries if one not in journal.entries] if earlier is not None else []
    journal.entries += old
    _write(system, journal)
    return journal, old


def drop(system: System, journal: Journal, undone: list[Entry]) -> None:
    """Remove entries ``undone`` from the journal, and backups that it no longer needs."""
    if undone:
        journal.entries = [one for one in journal.entries if one not in undone]
        _write(system, journal)
    needed = {one.backup for one in journal.entries}
    for name in system.names(_ORIGINAL):
        if f"{_ORIGINAL}/{name}" not in needed:
            remove(system, f"{_ORIGINAL}/{name}")


def leftovers(system: System) -> bool:
    """True if a process was killed before it wrote the journal, or after it removed it."""
    return not system.exists(_JOURNAL) and system.exists(os.path.dirname(FOLDER)) and (
        system.exists(FOLDER) or not system.names(os.path.dirname(FOLDER))
    )  # fmt: skip


def finish(system: System, journal: Journal | None) -> None:
    """Remove leftovers of a killed process: temporary files, and directories without a journal."""
    for path in journal.paths if journal is not None else ():
        remove_unfinished(system, path)
    remove_unfinished(system, f"{FOLDER}/")
    remove_unfinished(system, f"{_ORIGINAL}/")
    if leftovers(system):
        shutil.rmtree(system.resolve(FOLDER), ignore_errors=True)
        remove_folders(system, [os.path.dirname(FOLDER)])


def _missing(system: System, path: str) -> list[str]:
    """Missing parent directories of ``path``, topmost first."""
    parts = path.split("/")[1:-1]
    above = ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
    return [one for one in above if not system.exists(one)]


def _write(system: System, journal: Journal) -> None:
    files = [{**vars(one), "edits": [vars(edit) for edit in one.edits]} for one in journal.entries]
    content = {"version": _VERSION, "flavour": journal.flavour, "folders": journal.folders, "files": files}
    put(system, _JOURNAL, json.dumps(content, indent=1).encode() + b"\n", 0o600)


def forget(system: System, journal: Journal) -> None:
    """Remove the journal, its backups, and empty directories, after everything was undone."""
    shutil.rmtree(system.resolve(IMAGE), ignore_errors=True)
    folders = [_ORIGINAL, *reversed(journal.folders)]
    drop(system, Journal(journal.flavour), [])
    # Twice: the journal's own directories are empty only after its removal, and are known without it.
    remove_folders(system, folders)
    remove(system, _JOURNAL)
    remove_folders(system, folders)
