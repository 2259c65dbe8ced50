"""The log of the crashed kernel, written up to the first damage."""

from __future__ import annotations

from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge


def write_log(
    knowledge: Knowledge, write: Callable[[bytes], object], name: str, *, since_clear: bool = False
) -> VmsieveError | None:
    """Write the log of the kernel in the dump ``name`` line by line; return the error that ended it early, or None.

    ``since_clear``: only lines logged since the log was last cleared. Raises VmsieveError if no line is readable;
    errors of ``write`` pass through.
    """
    if knowledge.memory is None or knowledge.info is None:
        raise KernelError(f"the kernel log can't be found: {knowledge.problem}", file=name)
    written = 0
    lines = kernel_log(knowledge.memory, knowledge.info, since_clear=since_clear)
    while True:
        try:
            line = next(lines, None)
        except VmsieveError as error:
            if not written:
                raise
            return error
        if line is None:
            return None
        write(line)
        written += 1
