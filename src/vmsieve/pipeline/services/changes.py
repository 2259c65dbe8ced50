"""Changes to a system's files: what they are, and how a file is when one of them is taken back.

A change within a file of others replaces whole lines by a block between two marks, the old lines in it as comments. It
is taken back by putting the old lines where the block is, so what others changed elsewhere in the file stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.pipeline.services.settings import Setting

__all__ = ["MARK", "Change", "Draft", "Edit", "taken_back"]

#: In each line that begins or ends a block.
MARK: Final = "# vmsieve install-kdump:"
_BEGIN: Final = f"{MARK} begin ('vmsieve install-kdump --undo' takes this back)\n"
_END: Final = f"{MARK} end\n"


@record(frozen=True)
class Edit:
    """A piece of a file's text: what it was, and what it is now."""

    was: str
    now: str


@record(frozen=True)
class Change:
    """A file as it shall be.

    Attributes:
        path: Its path on the system.
        content: All of it.
        mode: Permissions of a file that is made; one that is there keeps its own.
        edits: What is different from how it was; empty: the whole file is ours.
    """

    path: str
    content: bytes
    mode: int = 0o644
    edits: tuple[Edit, ...] = ()


class Draft:
    """A configuration file that is being changed."""

    def __init__(self, path: str, content: bytes | None) -> None:
        """``content``: what it holds without our changes; None: it does not exist.

        Raises:
            UsageError: It does not exist.
        """
        if content is None:
            raise UsageError("it does not exist", file=path, hint="is the kdump service installed?")
        self.path = path
        self.text = content.decode("utf-8", "surrogateescape")
        self._edits: list[Edit] = []

    def set(self, old: Sequence[Setting], line: str) -> None:
        """Put ``line`` in the place of the lines ``old``, at the end if there are none."""
        if not old:
            glue = "" if not self.text or self.text.endswith("\n") else "\n"
            self._replace(len(self.text), Edit("", f"{glue}{_BEGIN}{line}\n{_END}"))
        at = 0
        for number, setting in enumerate(old):
            at = self._line(setting.line, at)
            old_line, now = setting.line.rstrip("\n"), f"{line}\n" if number == 0 else ""
            at = self._replace(at, Edit(setting.line, f"{_BEGIN}#{old_line}\n{now}{_END}"))

    def _line(self, line: str, start: int) -> int:
        """Where ``line`` is, from ``start`` on."""
        at = self.text.index(line, start)
        while at and self.text[at - 1] != "\n":
            at = self.text.index(line, at + 1)
        return at

    def _replace(self, at: int, edit: Edit) -> int:
        self.text = self.text[:at] + edit.now + self.text[at + len(edit.was) :]
        self._edits.append(edit)
        return at + len(edit.now)

    def change(self) -> Change:
        """What came of it."""
        return Change(self.path, self.text.encode("utf-8", "surrogateescape"), edits=tuple(self._edits))


def taken_back(content: bytes, edits: Sequence[Edit]) -> bytes | None:
    """``content`` without the ``edits``; None if it does not hold them as they were made.

    If nothing of them is left in it, it is as it shall be.
    """
    text = content.decode("utf-8", "surrogateescape")
    for edit in dict.fromkeys(edits):
        times = sum(edit == other for other in edits)
        if text.count(edit.now) != times:
            return content if MARK not in text else None
        text = text.replace(edit.now, edit.was)
    return text.encode("utf-8", "surrogateescape") if MARK not in text else None
