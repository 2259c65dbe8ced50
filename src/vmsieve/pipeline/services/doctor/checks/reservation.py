"""Checks that enough memory is reserved for the crash kernel.

The estimate follows kdump-utils (63f248c, kdumpctl estimate): the kernel image and its run-time memory; three times the
initramfs (packed, unpacked, and reserve, because its file system may fill half of memory); the programs in it.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, OK, WARN, Case, Check, Finding

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_SIZE: Final = "/sys/kernel/kexec_crash_size"
_FADUMP: Final = "/sys/kernel/fadump/mem_reserved"
_MIB: Final = 1 << 20
_KERNEL: Final = 48 * _MIB  # code, data and page tables of a running kernel
_PROGRAMS: Final = 16 * _MIB
_OURS: Final = 13 * _MIB  # peak of vmsieve with one thread


def _run(case: Case) -> Finding:
    reserved = max(case.system.number(_SIZE) or 0, case.system.number(_FADUMP) or 0)
    if case.system.number(_SIZE) is None and not reserved:
        return Finding(CANT_TELL, f"{_SIZE} is missing", "use a kernel with CONFIG_KEXEC and CONFIG_CRASH_DUMP")
    if reserved == 0:
        return Finding(
            FAIL, "no memory is reserved for a crash kernel",
            "put crashkernel=256M on the kernel's command line, as the distribution's documents say, and restart",
        )  # fmt: skip
    parts = case.parts
    sizes = [_size(case.system, path) for path in (parts.kernel, parts.initramfs)] if parts is not None else []
    if len(sizes) < 2 or 0 in sizes:
        return Finding(CANT_TELL, f"{_mib(reserved)} are reserved, but the crash kernel's files were not found")
    kernel, initramfs = sizes
    need = kernel + _KERNEL + 3 * initramfs + _PROGRAMS + _OURS
    said = f"{_mib(reserved)} are reserved; about {_mib(need)} are needed (initramfs of {_mib(initramfs)})"
    if reserved >= need:
        return Finding(OK, said)
    # With less, even the initramfs does not fit.
    state = FAIL if reserved < kernel + _KERNEL + 2 * initramfs else WARN
    enough = -(-need // (64 * _MIB)) * 64
    return Finding(state, said, f"put crashkernel={enough}M on the kernel's command line, and restart")


def _size(system: System, path: str | None) -> int:
    status = system.status(path) if path is not None else None
    return status.st_size if status is not None else 0


def _mib(size: int) -> str:
    return f"{-(-size // _MIB)} MiB"


CHECK: Final = Check("reservation", 20, "reserved memory", _run)
