"""The SIGBUS handler for mapped files: replaces a missing page with zeros and sets a flag.

Machine code, because CPython runs Python handlers between bytecodes, and the faulting instruction never completes. The
handler reads only its arguments and one table, takes no lock and allocates nothing.
"""

from __future__ import annotations

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import call1, call3, call6, load32, load64, own_word, store64
from vmsieve.formats.slim.typing import Final

# Table: offsets of 64-bit words, then one slot per window.
MMAP: Final = 0  # addresses of the C library's functions
SIGACTION: Final = 8
BEFORE: Final = 16  # address of the previous struct sigaction
PAGE: Final = 24  # this machine's page size
ARMED: Final = 32  # 1: the handler is installed
SLOTS: Final = 40  # number of slots
RAISE: Final = 48  # address of the C library's function
FIRST: Final = 64
#: Slot: window's first address, one above its last, 1 after a lost page.
START, END, LOST, SLOT = 0, 8, 16, 24

# asm-generic/mman-common.h, asm-generic/signal.h; the same on all targets of the loops.
READ: Final = 1
PRIVATE, FIXED, ANONYMOUS = 2, 16, 32
SIGBUS: Final = 7
_NO_FILE: Final = (1 << 64) - 1
# siginfo_t of 64-bit machines: asm-generic/siginfo.h. A signal sent by a process has si_code <= 0.
_CODE: Final = 8
_ADDRESS: Final = 16
_FAULTS: Final = 0x80


@loop
def handle_bus_error(number: int, info: int, context: int) -> int:  # noqa: ARG001 - as the system calls it
    """Handle SIGBUS as a ``sigaction`` handler; with signal 0, store the table's address ``info`` instead.

    In a window, zeros are mapped from the missing page to the window's end: the caller discards the batch anyway.
    Elsewhere the previous handler is restored: the instruction faults again and reaches it. A signal sent by a process
    would not recur, so it is raised again.
    """
    if number == 0:
        store64(own_word(), 0, info)
        return 0
    table = load64(own_word(), 0)
    address = load64(info, _ADDRESS)
    code = load32(info, _CODE)
    fault = code > 0 and code < _FAULTS
    if fault != 0:
        for i in range(load64(table, SLOTS)):
            slot = table + FIRST + i * SLOT
            end = load64(slot, END)
            if load64(slot, START) <= address and address < end:
                page = address & ~(load64(table, PAGE) - 1)
                flags = PRIVATE | FIXED | ANONYMOUS
                if call6(load64(table, MMAP), page, end - page, READ, flags, _NO_FILE, 0) == page:
                    store64(slot, LOST, 1)
                    return 0
    store64(table, ARMED, 0)
    call3(load64(table, SIGACTION), SIGBUS, load64(table, BEFORE), 0)
    return 0 if fault != 0 else call1(load64(table, RAISE), SIGBUS)
