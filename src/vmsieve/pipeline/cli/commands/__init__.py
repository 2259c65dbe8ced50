"""The commands of ``vmsieve``: one file each, ending in ``COMMAND``, a :class:`Command`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    import argparse

__all__ = ["Command", "commands", "only"]


@record(frozen=True)
class Command:
    """A command.

    Attributes:
        name: What the user types.
        order: Place in the help.
        summary: One line for the list of commands.
        examples: Lines shown at the end of the command's help.
        configure: Adds the command's arguments to a parser.
        run: Does it; returns the exit status. Raises VmsieveError, which the command line turns into one line.
    """

    name: str
    order: int
    summary: str
    examples: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def commands() -> list[Command]:
    """All commands, in the order of the help."""
    from vmsieve.formats.plugins import scan
    from vmsieve.pipeline.cli import commands as room

    return sorted(scan(room, "COMMAND", Command), key=lambda c: c.order)


def only(name: str) -> list[Command]:
    """The command ``name`` without importing the others, which costs memory and time; all of them if there is none."""
    from vmsieve.formats.plugins import load, names
    from vmsieve.pipeline.cli import commands as room

    own = name.replace("-", "_")
    return [load(room, "COMMAND", own, "command", Command)] if own in names(room) else commands()
