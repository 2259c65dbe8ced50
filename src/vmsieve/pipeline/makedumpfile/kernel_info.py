"""``--dump-dmesg``, ``-g`` and ``--vtop``, and the files about the kernel that ``-i`` and ``-x`` name."""

from __future__ import annotations

import sys

from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, OutputError, UsageError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.slim.contexts import contextmanager, suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.systems import open_system
from vmsieve.formats.text import shown
from vmsieve.pipeline.dump.input import read_vmcoreinfo, read_vmlinux
from vmsieve.pipeline.inspect.log import write_log
from vmsieve.pipeline.makedumpfile.reports import release_lines
from vmsieve.pipeline.makedumpfile.request import WrongReleaseError
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK
from vmsieve.pipeline.process.saving import files_read, saved, saved_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.makedumpfile.messages import Messages
    from vmsieve.pipeline.makedumpfile.request import Request


def kernel_texts(request: Request) -> tuple[bytes | None, bytes | None]:
    """VMCOREINFO from the file of -i, and from the vmlinux of -x; None for an option not given.

    Raises WrongReleaseError for a file of another kernel than the dump's.
    """
    text, made = read_vmcoreinfo(request.values.get("i")), read_vmlinux(request.values.get("x"))
    given = VmcoreInfo(text or made or b"").release
    if given is None:
        return text, made
    source = open_source(request.operands[0])
    own = VmcoreInfo(source.vmcoreinfo or b"").release or (source.utsname[2] if source.utsname else None)
    source.close()
    if own and own != given:
        file = request.values.get("i", request.values.get("x"))
        raise WrongReleaseError("the file belongs to another kernel", file=file, expected=own, found=given)
    return text, made


@contextmanager
def opened(request: Request) -> Iterator[tuple[Source, Knowledge]]:
    """Open the dump and gather knowledge of its kernel."""
    text, made = kernel_texts(request)
    source = open_system(request.operands[0])
    try:
        yield source, gather_knowledge(source, text, vmlinux=made)
    finally:
        source.close()


def save_log(request: Request, messages: Messages) -> int:
    """Write the kernel log; returns the exit status."""
    output = request.output
    inputs = files_read(request.operands[0], request.values.get("i"), request.values.get("x"))
    with saved_stream(output, inputs, force=request.has("f"), what="log") as out, opened(request) as (_, knowledge):
        identity = knowledge.identity
        messages.debug(release_lines(identity.utsname[2], identity.crash_time))
        left = sys.maxsize if request.size_limit is None else request.size_limit

        def write(line: bytes) -> None:
            nonlocal left
            out.write(line[: max(left, 0)])
            left -= len(line)

        broken = write_log(knowledge, write, request.operands[0], since_clear=request.has("partial-dmesg"))
    if left < 0:
        raise OutputError("the log has reached its size limit", file=output)
    if broken is not None:
        messages.error(f"the kernel log breaks off: {broken}")
        return EXIT_FAILED
    messages.common(f"\nThe dmesg log is saved to {'STDOUT' if output == '-' else shown(output)}.")
    return EXIT_OK


def save_vmcoreinfo(request: Request, messages: Messages) -> int:
    """Write the VMCOREINFO of a vmlinux; returns the exit status."""
    text, path = read_vmlinux(request.values["x"]), request.values["g"]
    assert text is not None
    with saved(path, [request.values["x"]], force=request.has("f"), what="VMCOREINFO") as out:
        out.write(text)
    messages.common(f"\nThe vmcoreinfo is saved to {shown(path)}.")
    return EXIT_OK


def translate(request: Request, messages: Messages) -> None:
    """Print the physical address of the virtual address given."""
    vaddr = _address(request.values["vtop"])
    with opened(request) as (_, knowledge):
        if knowledge.memory is None:
            raise KernelError(f"addresses can't be translated: {knowledge.problem}", file=request.operands[0])
        messages.common(f"\nTranslating virtual address {vaddr:x} to physical address.")
        paddr, _ = knowledge.memory.translate(vaddr)
    messages.common(f"VIRTUAL           PHYSICAL\n{vaddr:16x}  {paddr:x}\n")


def _address(text: str) -> int:
    """Parse an address: a number as in C, or hexadecimal digits without prefix."""
    for base in (0, 16):
        with suppress(ValueError):
            if 0 < (number := int(text, base)) < 1 << 64:
                return number
    raise UsageError("--vtop takes an address", found=repr(text))
