"""The handler of SIGBUS: where a mapped file has no page any more, zeros, and a word that says so.

It is machine code, as Python's handlers run when the instruction that failed has come to its end, which it never does.
It looks at nothing but what it is given and a table, takes no lock and allocates nothing.
"""

from __future__ import annotations

from typing import Final

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import call1, call3, call6, load32, load64, own_word, store64

__all__ = [
    "ANONYMOUS", "ARMED", "BEFORE", "END", "FIRST", "FIXED", "LOST", "MMAP", "PAGE", "PRIVATE", "RAISE", "READ",
    "SIGACTION", "SIGBUS", "SLOT", "SLOTS", "START", "handle_bus_error",
]  # fmt: skip

# The table: offsets of 64-bit words, then a slot for each window.
MMAP: Final = 0  # addresses of the C library's functions
SIGACTION: Final = 8
BEFORE: Final = 16  # address of its struct sigaction that was in force before
PAGE: Final = 24  # bytes of a page of this machine's
ARMED: Final = 32  # 1: the handler is in force
SLOTS: Final = 40  # how many slots follow
RAISE: Final = 48  # address of the C library's function
FIRST: Final = 64
#: A slot: the window's first address, the one behind its last, and whether a page of it was lost.
START, END, LOST, SLOT = 0, 8, 16, 24

# asm-generic/mman-common.h, asm-generic/signal.h; the same on all machines that loops are lowered for.
READ: Final = 1
PRIVATE, FIXED, ANONYMOUS = 2, 16, 32
SIGBUS: Final = 7
_NO_FILE: Final = (1 << 64) - 1
# siginfo_t of 64-bit machines: asm-generic/siginfo.h. What a process sends has a code of 0 or below it.
_CODE: Final = 8
_ADDRESS: Final = 16
_FAULTS: Final = 0x80


@loop
def handle_bus_error(number: int, info: int, context: int) -> int:  # noqa: ARG001 - as the system calls it
    """A handler for ``sigaction``; for signal 0 (no signal), take the table at ``info`` instead.

    In a window, all from the page that is not there to the window's end becomes zeros: what is made of them is thrown
    away. Elsewhere the handler from before is put in force: the instruction fails again, and finds that one. A signal
    that somebody sent does not come again by itself.
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
