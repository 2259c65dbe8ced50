"""The checks of ``vmsieve doctor``: one file each, ending in ``CHECK``, a :class:`Check`.

A check reads the system through ``case.system`` and changes nothing.
"""

from __future__ import annotations

from vmsieve.formats.plugins import scan
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from vmsieve.pipeline.process.progress import Progress
    from vmsieve.pipeline.services.collector import Collector
    from vmsieve.pipeline.services.flavours import Flavour, Parts, Target
    from vmsieve.pipeline.services.system import System

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
CANT_TELL: Final = "can't tell"


@record(frozen=True)
class Finding:
    """The outcome of a check."""

    state: str  # :data:`OK`, :data:`WARN`, :data:`FAIL` or :data:`CANT_TELL`
    what: str  # a sentence without full stop
    then: str = ""  # advice on what to do next, or ""
    command: str = ""  # the shell command that does it, to paste, or ""


class Case:
    """The examined system, and its kdump service; ``quick``: skip long checks."""

    def __init__(self, system: System, flavour: Flavour | None, progress: Progress, *, quick: bool) -> None:
        self.system, self.flavour, self.progress, self.quick = system, flavour, progress, quick
        self.release = system.release()  # of the running kernel; empty: unknown
        self.config = system.text(flavour.config) if flavour is not None else None

    @property
    def collector(self) -> Collector | None:
        """The collector; None: unknown."""
        if self.flavour is None or self.config is None:
            return None
        return self.flavour.collector(self.system, self.config)

    @property
    def target(self) -> Target | None:
        """The target of dumps; None: unknown."""
        if self.flavour is None or self.config is None:
            return None
        return self.flavour.target(self.system, self.config)

    @property
    def parts(self) -> Parts | None:
        """The files of the crash kernel; None: unknown."""
        return self.flavour.parts(self.system, self.release) if self.flavour is not None else None


@record(frozen=True)
class Check:
    """A check."""

    name: str  # in JSON
    order: int
    title: str  # for people
    run: Callable[[Case], Finding]  # examines a case; may raise VmsieveError


def checks() -> list[Check]:
    """All checks by rank."""
    from vmsieve.pipeline.services.doctor import checks as room

    return sorted(scan(room, "CHECK", Check), key=lambda one: one.order)
