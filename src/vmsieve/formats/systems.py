"""Dumps of two systems: the one that crashed, and its kdump kernel, which crashed in turn.

An s390x kdump kernel runs at address 0: the memory there and the memory that it was loaded to were swapped (Linux
``arch/s390/kernel/relocate_kernel.S``, ``crash_dump.c``). It stores address and size (``oldmem_base`` and
``oldmem_size``, ``arch/s390/include/asm/setup.h``), which a stand-alone dump contains. zgetdump names the systems the
same.

On other machines a crash kernel runs where it was loaded, and no memory is swapped: :mod:`vmsieve.filters.choice`
selects a kernel there.
"""

from __future__ import annotations

from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.errors import FormatError, UsageError
from vmsieve.formats.inputs import Source, open_source
from vmsieve.formats.slim.typing import Final
from vmsieve.formats.source import read_bytes

#: Names of the systems, and descriptions for messages.
SYSTEMS: Final = {
    "prod": "the system that crashed",
    "kdump": "the crash kernel that should have dumped it",
    "all": "memory as it is, which can't be filtered",
}
_S390X: Final = ("s390x", "big")
_MIB: Final = 1 << 20
_PAGE: Final = 4096


def open_system(path: str, select: str | None = None) -> Source:
    """Open the dump at ``path``; if it has two systems, the one that ``select`` names.

    Raises FormatError as :func:`vmsieve.formats.inputs.open_source`, or if there are two systems and ``select`` is
    None; UsageError if an s390x dump has one system and ``select`` is not None. For other machines
    :mod:`vmsieve.filters.choice` checks that.
    """
    source = open_source(path)
    try:
        return choose(source, select)
    except BaseException:
        source.close()
        raise


def choose(source: Source, select: str | None) -> Source:
    """The system that ``select``, one of :data:`SYSTEMS`, names; it owns ``source``. Raises as :func:`open_system`."""
    oldmem = _kdump_memory(source)
    if oldmem is None:
        if select is not None and (source.machine, source.byte_order) == _S390X:
            raise UsageError("the dump holds one system: there is nothing to select", file=source.file.name)
        source.selected = select
        return source
    if select is None:
        raise FormatError(
            "the dump holds two systems, one that crashed and its kdump kernel", file=source.file.name,
            hint="say which: " + ", ".join(f"--select {name} ({what})" for name, what in SYSTEMS.items()),
        )  # fmt: skip
    base, size = oldmem
    swapped = f"{base:#x} - {base + size - 1:#x} changed places with 0x0 - {size - 1:#x}"
    if select == "all":
        # One kernel's VMCOREINFO would misclassify the other kernel's pages, or exclude them as missing memory.
        source.vmcoreinfo, source.utsname, source.mixed = None, (), True
        source.header["system"] = "both"
        source.header["memory_of_the_kdump_kernel"] = swapped
        source.remarks.append("memory of two kernels together can't be filtered: one has to be selected for that")
        return source
    from vmsieve.formats.inputs._s390 import complete, keep_own_registers
    from vmsieve.formats.s390_registers import notes, parse_notes
    from vmsieve.formats.selected import Piece, SelectedSource

    if select == "prod":
        end = -(-max(source.end(), base + size) // _PAGE) * _PAGE
        pieces = [Piece(0, size, base), Piece(size, base, 0), Piece(base + size, end, 0)]
        selected = SelectedSource(source, pieces, SYSTEMS[select])
        selected.header["memory_of_the_kdump_kernel"] = swapped
        complete(selected, None)
        return selected
    selected = SelectedSource(source, [Piece(0, size, 0)], SYSTEMS[select])
    selected.crash_time = source.crash_time
    selected.notes = notes(parse_notes(source.notes), None)
    complete(selected)
    keep_own_registers(selected, size)
    return selected


def _kdump_memory(source: Source) -> tuple[int, int] | None:
    """Address before it was started, and size, of a kdump kernel's memory; None if none was started."""
    if (source.machine, source.byte_order) != _S390X:
        return None
    from vmsieve.formats.layouts import lowcore

    words = read_bytes(source, lowcore.OLDMEM_AT, lowcore.OLDMEM.size)
    if words is None:
        return None
    oldmem = lowcore.OLDMEM.unpack(words)
    base, size = oldmem.oldmem_base, oldmem.oldmem_size
    valid = base and size and not (base | size) % _MIB and size <= base and base + size <= source.end()
    return (base, size) if valid and _all_memory(source, base, size) else None


def _all_memory(source: Source, base: int, size: int) -> bool:
    """True if all pages of ``base .. base + size`` exist."""
    first, end = base // _PAGE, (base + size) // _PAGE
    return all(
        source.memory_bits(at, count, _PAGE)[0] == b"\xff" * (count // 8)
        for at in range(first, end, BLOCK)
        for count in [min(BLOCK, end - at)]
    )
