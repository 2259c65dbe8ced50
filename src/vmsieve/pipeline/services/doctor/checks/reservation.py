"""Checks that enough memory is reserved for the crash kernel.

The estimate follows kdump-utils (63f248c, kdumpctl estimate): the kernel image and its run-time memory; three times the
initramfs (packed, unpacked, and reserve, because its file system may fill half of memory); the programs in it. What is
needed beyond the loaded files may come from ``crashkernel=SIZE,cma`` too (Linux commit 35c18f2933c5 (Add a new optional
",cma" suffix to the crashkernel= command line option), v6.17).
"""

from __future__ import annotations

import re

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_SIZE: Final = "/sys/kernel/kexec_crash_size"
_FADUMP: Final = "/sys/kernel/fadump/mem_reserved"
_MIB: Final = 1 << 20
_KERNEL: Final = 48 * _MIB  # code, data and page tables of a running kernel
_PROGRAMS: Final = 16 * _MIB
_USUAL: Final = 256 * _MIB  # enough for most
_CMA: Final = re.compile(r"(?:^|\s)crashkernel=(\d{1,6})([KMGkmg]?),cma(?=\s|$)")
_UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30}
_OURS: Final = 13 * _MIB  # peak of vmsieve with one thread


def _run(case: Case) -> Finding:
    reserved = max(case.system.number(_SIZE) or 0, case.system.number(_FADUMP) or 0)
    if case.system.number(_SIZE) is None and not reserved:
        return Finding(CANT_TELL, f"{_SIZE} is missing", "use a kernel with CONFIG_KEXEC and CONFIG_CRASH_DUMP")
    cma = _cma(case.system)
    parts = case.parts
    sizes = [_size(case.system, path) for path in (parts.kernel, parts.initramfs)] if parts is not None else []
    kernel, initramfs = sizes if len(sizes) == 2 and 0 not in sizes else (0, 0)
    need = kernel + _KERNEL + 3 * initramfs + _PROGRAMS + _OURS
    if reserved == 0:
        return Finding(FAIL, "no memory is reserved for a crash kernel", *_advice(case, max(need, _USUAL)))
    if not kernel:
        return Finding(CANT_TELL, f"{_mib(reserved)} are reserved, but the crash kernel's files were not found")
    said = f"{_mib(reserved)} are reserved{f', and {_mib(cma)} of CMA' if cma else ''}; about {_mib(need)} are needed"
    said += f" (initramfs of {_mib(initramfs)})"
    # Loaded files don't fit into CMA: the running system uses it until the crash.
    if reserved + cma >= need and reserved >= kernel + initramfs:
        return Finding(OK, said)
    # With less, even the initramfs does not fit.
    state = FAIL if reserved + cma < kernel + _KERNEL + 2 * initramfs or reserved < kernel + initramfs else WARN
    return Finding(state, said, *_advice(case, need))


def _advice(case: Case, need: int) -> tuple[str, str]:
    """Advice and command to reserve ``need`` bytes, rounded up."""
    size = f"{-(-need // (64 * _MIB)) * 64}M"
    if case.flavour is None:
        return f"put crashkernel={size} on the kernel's command line, and restart", ""
    return "reserve more, and restart", case.flavour.reserve.format(size=size)


def _cma(system: System) -> int:
    """Bytes of ``crashkernel=SIZE,cma`` on the kernel's command line; the last one counts."""
    found = _CMA.findall(system.text("/proc/cmdline") or "")
    return int(found[-1][0]) << _UNITS[found[-1][1].upper()] if found else 0


def _size(system: System, path: str | None) -> int:
    status = system.status(path) if path is not None else None
    return status.st_size if status is not None else 0


def _mib(size: int) -> str:
    return f"{-(-size // _MIB)} MiB"


CHECK: Final = Check("reservation", 20, "reserved memory", _run)
