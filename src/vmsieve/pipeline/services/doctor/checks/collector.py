"""Checks that vmsieve is the collector, and accepts the options set for it."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.services.collector import refusal
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding


def _run(case: Case) -> Finding:
    flavour, collector = case.flavour, case.collector
    if flavour is None or collector is None:
        return Finding(CANT_TELL, "the collector is unknown")
    line = " ".join(collector.words)
    if not collector.ours:
        return Finding(WARN, f"memory is saved by {line}", "use vmsieve", "vmsieve install-kdump --apply")
    why = refusal(collector.options, streams=collector.streams) if collector.is_makedumpfile else ""
    if why:
        return Finding(FAIL, f"{line}: {why}", f"change {collector.origin}")
    return Finding(OK, f"{line} ({collector.origin})")


CHECK: Final = Check("collector", 60, "collector", _run)
