"""The kdump services: one file each, ending in ``FLAVOUR``, a :class:`Flavour`.

Facts of one distribution's service belong here, shared mechanisms in the package above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from vmsieve.formats.errors import UsageError
from vmsieve.formats.plugins import load, names, scan
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.pipeline.services.changes import Change
    from vmsieve.pipeline.services.collector import Collector
    from vmsieve.pipeline.services.system import System


@record(frozen=True)
class Target:
    """The target of dumps.

    Attributes:
        kind: ``folder``, ``device``, ``mount`` (a file system that is not mounted) or ``remote``.
        location: A path on the system, or a host.
        origin: The setting that names it.
    """

    kind: str
    location: str
    origin: str


@record(frozen=True)
class Parts:
    """The files of the crash kernel.

    Attributes:
        kernel, initramfs: Paths; None: unknown.
        in_initramfs: Programs of the initramfs save the dump, not of the root file system.
    """

    kernel: str | None
    initramfs: str | None
    in_initramfs: bool


@record(frozen=True)
class InstallRequest:
    """The requested installation.

    Attributes:
        program: The command that runs vmsieve on the system.
        options: makedumpfile's options; None: those configured now.
        capture: Replace the service's own procedure by ``vmsieve capture`` if the service supports it.
    """

    program: tuple[str, ...]
    options: str | None = None
    capture: bool = False


@record(frozen=True)
class Flavour:
    """A kdump service.

    Attributes:
        name: Name on the command line.
        order: Rank: the first installed service is used.
        title: Name for people.
        marks: Files that identify it; one is enough.
        config: Its configuration file.
        load: Shell command that loads the crash kernel.
        rebuild: Shell command that rebuilds the crash kernel's initramfs.
        outside: Path prefixes of files outside the initramfs: changing them requires no rebuild.
        collector: Its collector, by the text of its configuration file.
        target: The target of dumps, by the same text.
        parts: The crash kernel's files, by the release of the running kernel.
        changes: Changes that make it use vmsieve, given a reader of files as they are without vmsieve. Raises
            UsageError if that is impossible.
        captures: Supports ``InstallRequest.capture``.
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
    """All known services by rank."""
    from vmsieve.pipeline.services import flavours as room

    return sorted(scan(room, "FLAVOUR", Flavour), key=lambda one: one.order)


def flavour_names() -> list[str]:
    """Names on the command line."""
    from vmsieve.pipeline.services import flavours as room

    return [name.replace("_", "-") for name in names(room)]


def detect(system: System) -> Flavour | None:
    """The kdump service of ``system``, or None."""
    return next((one for one in flavours() if any(system.exists(mark) for mark in one.marks)), None)


def choose(system: System, name: str | None) -> Flavour:
    """The service called ``name``, or by default that of ``system``; raises UsageError if none is installed."""
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
