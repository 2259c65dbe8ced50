"""Checks that a crash kernel is loaded (kernel/ksysfs.c), or fadump registered (arch/powerpc/kernel/fadump.c)."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, Case, Check, Finding

_KEXEC: Final = "/sys/kernel/kexec_crash_loaded"
_FADUMP: Final = ("/sys/kernel/fadump/registered", "/sys/kernel/fadump_registered")


def _run(case: Case) -> Finding:
    number = case.system.number
    if 1 in [number(path) for path in _FADUMP]:
        return Finding(OK, "a firmware-assisted dump is registered")
    loaded = number(_KEXEC)
    if loaded is None:
        return Finding(CANT_TELL, f"{_KEXEC} is missing", "use a kernel with CONFIG_KEXEC and CONFIG_CRASH_DUMP")
    if loaded == 1:
        return Finding(OK, f"{_KEXEC} says so")
    command = case.flavour.load if case.flavour is not None else "kexec -p"
    return Finding(FAIL, "no crash kernel is loaded", "load it; if that fails, its messages say why", command)


CHECK: Final = Check("loaded", 30, "crash kernel loaded", _run)
