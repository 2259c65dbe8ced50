"""Changes to a system's files, and how to revert them.

A change to another package's file replaces whole lines by a block between two markers, with the old lines as comments.
Reverting replaces the block by the old lines, so that later edits elsewhere in the file survive.
"""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.pipeline.services.settings import Setting

MARK: Final = "# vmsieve install-kdump:"  # start of the lines that begin and end a block
_BEGIN: Final = f"{MARK} begin ('vmsieve install-kdump --undo' takes this back)\n"
_END: Final = f"{MARK} end\n"


@record(frozen=True)
class Edit:
    """Replacement of the text ``was`` by ``now``."""

    was: str
    now: str


@record(frozen=True)
class Change:
    """The desired state of a file."""

    path: str  # path on the system
    content: bytes  # whole content
    mode: int = 0o644  # permissions of a new file; an existing one keeps its own
    edits: tuple[Edit, ...] = ()  # differences from the original; empty: the whole file is ours


class Draft:
    """A configuration file being edited."""

    def __init__(self, path: str, content: bytes | None) -> None:
        """``content``: without our changes; UsageError if it is None: the file does not exist."""
        if content is None:
            raise UsageError("it does not exist", file=path, hint="is the kdump service installed?")
        self.path = path
        self.text = content.decode("utf-8", "surrogateescape")
        self._edits: list[Edit] = []

    def set(self, old: Sequence[Setting], line: str) -> None:
        """Replace the lines ``old`` by ``line``; without old lines, append it."""
        if not old:
            glue = "" if not self.text or self.text.endswith("\n") else "\n"
            self._replace(len(self.text), Edit("", f"{glue}{_BEGIN}{line}\n{_END}"))
        at = 0
        for number, setting in enumerate(old):
            at = self._line(setting.line, at)
            old_line, now = setting.line.rstrip("\n"), f"{line}\n" if number == 0 else ""
            at = self._replace(at, Edit(setting.line, f"{_BEGIN}#{old_line}\n{now}{_END}"))

    def _line(self, line: str, start: int) -> int:
        """Offset of ``line`` at or after ``start``."""
        at = self.text.index(line, start)
        while at and self.text[at - 1] != "\n":
            at = self.text.index(line, at + 1)
        return at

    def _replace(self, at: int, edit: Edit) -> int:
        self.text = self.text[:at] + edit.now + self.text[at + len(edit.was) :]
        self._edits.append(edit)
        return at + len(edit.now)

    def change(self) -> Change:
        """The resulting change."""
        return Change(self.path, self.text.encode("utf-8", "surrogateescape"), edits=tuple(self._edits))


def reverted(content: bytes, edits: Sequence[Edit]) -> bytes | None:
    """Revert ``edits`` in ``content``; None if others modified them. Content without our marker is unchanged."""
    text = content.decode("utf-8", "surrogateescape")
    for edit in dict.fromkeys(edits):
        times = sum(edit == other for other in edits)
        if text.count(edit.now) != times:
            return content if MARK not in text else None
        text = text.replace(edit.now, edit.was)
    return text.encode("utf-8", "surrogateescape") if MARK not in text else None
