"""The commands of ``vmsieve``: one file each, which ends in ``COMMAND``, a :class:`Command`.

Belongs here: a command's options, its examples, and how its result is printed.
Does not: the work itself, which is done in the rooms below.
"""

from __future__ import annotations

from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.pipeline.process.options import Letters, Option


class Arguments:
    """The values of a command's options, by attribute; ``command`` is the command."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


@record(frozen=True)
class Command:
    """A command."""

    name: str  # as the user types it
    order: int  # position in the help
    summary: str  # one line for the list of commands
    examples: str  # lines for the end of the command's help
    options: Sequence[Option | Letters]  # its options and operands, in the order of the help
    run: Callable[[Arguments], int]  # returns the exit status; raises VmsieveError, which is printed as one line


def commands() -> list[Command]:
    """All commands, in the order of the help."""
    from vmsieve.formats.plugins import scan
    from vmsieve.pipeline.cli import commands as room

    return sorted(scan(room, "COMMAND", Command), key=lambda c: c.order)


def is_command(name: str) -> bool:
    """True if a command is called ``name``; loads none."""
    from vmsieve.formats.plugins import names
    from vmsieve.pipeline.cli import commands as room

    return name.replace("-", "_") in names(room)


def only(name: str) -> list[Command]:
    """The command ``name``, without importing the others, to save memory and time; none if the name is unknown."""
    from vmsieve.formats.plugins import load
    from vmsieve.pipeline.cli import commands as room

    own = name.replace("-", "_")
    return [load(room, "COMMAND", own, "command", Command)] if is_command(name) else []
