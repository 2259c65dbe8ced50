"""kdump-compressed files: makedumpfile's, and within a flattened file those of QEMU's ``dump-guest-memory -z``.

The files of a split dump (``makedumpfile --split``) are read as one dump, even if some are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._kdump_parts import PartsSource
from vmsieve.formats.inputs._kdump_source import KdumpSource
from vmsieve.formats.layouts import kdump
from vmsieve.formats.machines import I386, machine_number

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile


def _probe(start: bytes) -> bool:
    return start.startswith((kdump.SIGNATURE, kdump.OLD_SIGNATURE))


def _open(file: ByteFile) -> KdumpSource:
    source = KdumpSource(file)
    return _complete(source if source.head.part is None else PartsSource([source]))


def _open_set(files: list[ByteFile]) -> KdumpSource:
    return _complete(PartsSource([KdumpSource(file) for file in files]))


def _complete(source: KdumpSource) -> KdumpSource:
    if not source.head.wide:
        # QEMU labels the machine that it emulates, even if the processor was in 32-bit mode.
        source.machine = I386
    if source.machine == I386 or machine_number(source.machine) == 0:
        from vmsieve.formats.inputs import _machine

        _machine.complete(source)
        if source.machine == I386 and not source.head.wide:
            raise UnsupportedError(
                "a dump of a 32-bit machine", file=source.file.name, hint="only 64-bit machines are supported"
            )
    if source.machine in ("s390x", "S390X") and source.byte_order == "big":  # the kernel's and QEMU's name
        from vmsieve.formats.inputs._s390 import complete

        complete(source)
    elif source.vmcoreinfo is None and source.machine not in ("x86_64", "aarch64"):
        from vmsieve.formats.inputs import _ppc64

        if _ppc64.is_lacking(source):
            _ppc64.complete(source)
    return source


FORMAT = InputFormat("kdump", "kdump-compressed", 20, _probe, _open, _open_set)
