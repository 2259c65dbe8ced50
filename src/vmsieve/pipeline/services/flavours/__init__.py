"""The kdump services: one file each, ending in ``FLAVOUR``, a :class:`Flavour`.

Facts of one distribution's service belong here, shared mechanisms in the package above.
"""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.plugins import load, names, scan
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from vmsieve.pipeline.services.changes import Change
    from vmsieve.pipeline.services.collector import Collector
    from vmsieve.pipeline.services.system import System


@record(frozen=True)
class Target:
    """The target of dumps."""

    kind: str  # ``folder``, ``device``, ``mount`` (a file system that is not mounted) or ``remote``
    location: str  # a path on the system, or a host
    origin: str  # the setting that names it


@record(frozen=True)
class Parts:
    """The files of the crash kernel; None: unknown."""

    kernel: str | None
    initramfs: str | None
    in_initramfs: bool  # programs of the initramfs save the dump, not of the root file system


@record(frozen=True)
class InstallRequest:
    """The requested installation."""

    program: tuple[str, ...]  # the command that runs vmsieve on the system
    options: str | None = None  # makedumpfile's options; None: those configured now
    capture: bool = False  # replace the service's own procedure by ``vmsieve capture`` if the service supports it


@record(frozen=True)
class Flavour:
    """A kdump service."""

    name: str  # name on the command line
    order: int  # rank: the first installed service is used
    title: str  # name for people
    marks: tuple[str, ...]  # files that identify it; one is enough
    config: str  # its configuration file
    systems: tuple[str, ...]  # distributions that have it: ID or ID_LIKE of /etc/os-release
    install: str  # shell command that installs its package
    reserve: str  # shell command that sets crashkernel=, with ``{size}`` for the size; takes effect at the next boot
    load: str  # shell command that loads the crash kernel
    rebuild: str  # shell command that rebuilds the crash kernel's initramfs
    outside: tuple[str, ...]  # path prefixes of files outside the initramfs: changing them requires no rebuild
    collector: Callable[[System, str], Collector]  # its collector, by the text of its configuration file
    target: Callable[[System, str], Target]  # the target of dumps, by the same text
    parts: Callable[[System, str], Parts]  # the crash kernel's files, by the release of the running kernel
    # Changes that make it use vmsieve, or UsageError, by a reader of files as they are without vmsieve.
    changes: Callable[[Callable[[str], bytes | None], InstallRequest], list[Change]]
    captures: bool = False  # supports ``InstallRequest.capture``


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


def for_distribution(system: System) -> Flavour | None:
    """The kdump service that the distribution of ``system`` has, installed or not; None: unknown."""
    from vmsieve.pipeline.services.settings import value_of

    text = system.text("/etc/os-release") or system.text("/usr/lib/os-release") or ""
    names = [value_of(text, "ID"), *value_of(text, "ID_LIKE").split()]
    return next((one for one in flavours() if any(name in one.systems for name in names)), None)


def choose(system: System, name: str | None) -> Flavour:
    """The service called ``name``, or by default that of ``system``; raises UsageError if none is installed."""
    if name is not None:
        from vmsieve.pipeline.services import flavours as room

        return load(room, "FLAVOUR", name.replace("-", "_"), "kdump service", Flavour)
    found = detect(system)
    if found is None:
        hint = f"known are {', '.join(one.title for one in flavours())}; --flavour says which one to set up for"
        raise UsageError("no kdump service is installed here", hint=hint)
    return found
