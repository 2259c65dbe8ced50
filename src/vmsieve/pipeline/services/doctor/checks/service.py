"""Checks that a kdump service is installed and its configuration readable."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.services.doctor.checks import FAIL, OK, WARN, Case, Check, Finding
from vmsieve.pipeline.services.flavours import flavours, for_distribution


def _run(case: Case) -> Finding:
    flavour = case.flavour
    if flavour is None:
        known = ", ".join(one.title for one in flavours())
        own = for_distribution(case.system)
        advice = ("install it", own.install) if own is not None else ("install the distribution's package", "")
        return Finding(FAIL, f"no kdump service is installed (looked for {known})", *advice)
    if case.config is None:
        return Finding(WARN, f"{flavour.title} is installed, but {flavour.config} can't be read", "run this as root")
    return Finding(OK, f"{flavour.title}, set up in {flavour.config}")


CHECK: Final = Check("service", 10, "kdump service", _run)
