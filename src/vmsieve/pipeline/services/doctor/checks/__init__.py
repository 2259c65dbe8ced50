"""What is looked into: one file each, ending in ``CHECK``, a :class:`Check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.plugins import scan
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.pipeline.services.collector import Collector
    from vmsieve.pipeline.services.flavours import Flavour, Target, Parts
    from vmsieve.pipeline.services.system import System
    from vmsieve.pipeline.process.progress import Progress

__all__ = ["CANT_TELL", "FAIL", "OK", "WARN", "Case", "Check", "Finding", "checks"]

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
CANT_TELL: Final = "can't tell"


@record(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: :data:`OK`, :data:`WARN`, :data:`FAIL` or :data:`CANT_TELL`.
        what: A sentence without its full stop.
        then: What to do next, the same; empty: nothing.
    """

    state: str
    what: str
    then: str = ""


class Case:
    """What is looked at.

    Attributes:
        system: The system.
        flavour: Its kdump service; None: it has none that is known.
        progress: To be told how far a check that takes long is.
        quick: Such checks are not wanted.
        release: Of the running kernel; empty: not known.
        config: Text of the service's configuration file; None: it can't be read.
    """

    def __init__(self, system: System, flavour: Flavour | None, progress: Progress, *, quick: bool) -> None:
        self.system, self.flavour, self.progress, self.quick = system, flavour, progress, quick
        self.release = system.release()
        self.config = system.text(flavour.config) if flavour is not None else None

    @property
    def collector(self) -> Collector | None:
        """What saves memory; None: not known."""
        if self.flavour is None or self.config is None:
            return None
        return self.flavour.collector(self.system, self.config)

    @property
    def target(self) -> Target | None:
        """Where dumps go; None: not known."""
        if self.flavour is None or self.config is None:
            return None
        return self.flavour.target(self.system, self.config)

    @property
    def parts(self) -> Parts | None:
        """What is loaded as the crash kernel; None: not known."""
        return self.flavour.parts(self.system, self.release) if self.flavour is not None else None


@record(frozen=True)
class Check:
    """A check.

    Attributes:
        name: For machines.
        order: Place among the others.
        title: For people.
        run: Does it. Raises VmsieveError if it can't.
    """

    name: str
    order: int
    title: str
    run: Callable[[Case], Finding]


def checks() -> list[Check]:
    """All checks, in their order."""
    from vmsieve.pipeline.services.doctor import checks as room

    return sorted(scan(room, "CHECK", Check), key=lambda one: one.order)
