"""The kdump services of the distributions: one file each, ending in ``FLAVOUR``, a :class:`Flavour`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from vmsieve.formats.errors import UsageError
from vmsieve.formats.plugins import load, names, scan
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.pipeline.services.changes import Change
    from vmsieve.pipeline.services.collector import Collector
    from vmsieve.pipeline.services.system import System

__all__ = ["Flavour", "Target", "Parts", "InstallRequest", "choose", "detect", "flavour_names", "flavours"]


@record(frozen=True)
class Target:
    """Where dumps go.

    Attributes:
        kind: ``folder``, ``device``, ``mount`` (a file system that is not mounted now) or ``remote``.
        where: A path of the system's, or a host.
        origin: The setting that says so.
    """

    kind: str
    where: str
    origin: str


@record(frozen=True)
class Parts:
    """What is loaded as the crash kernel; None: not known.

    Attributes:
        kernel, initramfs: Paths.
        in_initramfs: The dump is saved by programs of the initramfs, not of the root file system.
    """

    kernel: str | None
    initramfs: str | None
    in_initramfs: bool


@record(frozen=True)
class InstallRequest:
    """What is to be set up.

    Attributes:
        program: The words that run vmsieve on the system.
        options: makedumpfile's options to be used; None: those that are set now.
        capture: Run ``vmsieve capture`` in place of the service's own procedure, where that can be.
    """

    program: tuple[str, ...]
    options: str | None = None
    capture: bool = False


@record(frozen=True)
class Flavour:
    """A kdump service.

    Attributes:
        name: What the user types.
        order: When several are installed, the first is meant.
        title: Name for people.
        marks: Files of which it has at least one.
        config: Its configuration file.
        load: The command that loads the crash kernel, for a shell.
        rebuild: The command that makes the crash kernel's initramfs again, the same.
        outside: How paths begin of files that are not in the initramfs: it need not be made again when they change.
        collector: What it runs to save memory, by the text of its configuration file.
        target: Where dumps go.
        parts: What it loads, for the release of the running kernel.
        changes: What has to change for it to use vmsieve, given a reader of files as they are without vmsieve.
            Raises UsageError if that can't be.
        captures: It can be told to run a command in place of its own procedure.
    """

    name: str
    order: int
    title: str
    marks: tuple[str, ...]
    config: str
    load: str
    rebuild: str
    outside: tuple[str, ...]
    collector: Callable[[System, str], Collector]
    target: Callable[[System, str], Target]
    parts: Callable[[System, str], Parts]
    changes: Callable[[Callable[[str], bytes | None], InstallRequest], list[Change]]
    captures: bool = False


def flavours() -> list[Flavour]:
    """All services that are known."""
    from vmsieve.pipeline.services import flavours as room

    return sorted(scan(room, "FLAVOUR", Flavour), key=lambda one: one.order)


def flavour_names() -> list[str]:
    """What users call them."""
    from vmsieve.pipeline.services import flavours as room

    return [name.replace("_", "-") for name in names(room)]


def detect(system: System) -> Flavour | None:
    """The service that ``system`` has."""
    return next((one for one in flavours() if any(system.exists(mark) for mark in one.marks)), None)


def choose(system: System, name: str | None) -> Flavour:
    """The service called ``name``, else the one that ``system`` has.

    Raises:
        UsageError: It has none.
    """
    if name is not None:
        from vmsieve.pipeline.services import flavours as room

        return load(room, "FLAVOUR", name.replace("-", "_"), "kdump service", Flavour)
    found = detect(system)
    if found is None:
        known = ", ".join(one.title for one in flavours())
        raise UsageError(
            "no kdump service is installed here", hint=f"known are {known}; --flavour says which one to set up for"
        )
    return found
