"""Search for what has no symbol: kernels without CONFIG_KALLSYMS_ALL name their text only.

Everything is looked for in the kernel image or behind what was found there; nothing depends on the architecture.
"""

from __future__ import annotations

from vmsieve.filters.linux.btf import find_btf, magic
from vmsieve.filters.linux.memory_scan import scan_memory
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vmsieve.filters.importance._kernel import Kernel
    from vmsieve.filters.linux.btf import Btf
    from vmsieve.filters.linux.memory import VirtualMemory

#: Bytes from the kernel's text to its last variable.
_IMAGE_MOST: Final = 128 << 20
#: Bytes of variables before the first and behind the last that VMCOREINFO names.
_BEFORE: Final = 256 << 10
_BEHIND: Final = 1 << 20
#: Places that look like what is searched for.
_TRIES: Final = 64
_MOST_CACHES: Final = 500
_NAME_MOST: Final = 32
#: A type of the kernel's that no module has, and its enumeration.
_KERNEL_TYPE: Final = "page"
_ENUMERATION: Final = "pageflags"
#: Names of the idle task of the first processor (``init_idle``, kernel/sched/core.c).
IDLE: Final = (b"swapper/0", b"swapper")


def search(kernel: Kernel, types: Collection[str]) -> None:
    """Add symbols that the kernel lacks, as far as they can be found, and its ``types`` if they have no symbol."""
    with suppress(KernelError, ReadError):
        _sections(kernel)
        if kernel.types is None:
            kernel.types = _types(kernel, types)
        _first_task(kernel)
        _caches(kernel)


def _sections(kernel: Kernel) -> None:
    """Add the symbols of the image's sections: constants follow the text, then come variables, some with a name."""
    symbols, info = kernel.symbols, kernel.info
    if "_end" in symbols and "__end_rodata" in symbols:
        return
    text, end = kernel.symbol("_stext"), kernel.symbol("_etext")
    tables = max((at for name, at in symbols.items() if name.startswith("kallsyms_")), default=end)
    named = {info.peek_address(key) for key in info.keys if key.startswith("SYMBOL(")}
    variables = [at for at in named if max(end, tables) < at < text + _IMAGE_MOST]
    if not variables:
        raise KernelError("VMCOREINFO names no variable of the kernel image")
    symbols.setdefault("__start_rodata", end)
    symbols["__end_rodata"] = max(_last(kernel, min(variables), -kernel.page_size, _BEFORE), end, tables)
    symbols["_end"] = _last(kernel, max(variables), kernel.page_size, _BEHIND) + kernel.page_size


def _last(kernel: Kernel, vaddr: int, step: int, most: int) -> int:
    """The last page that is mapped, at most ``most`` bytes from ``vaddr``, in steps of ``step`` bytes."""
    at = vaddr & -kernel.page_size
    with suppress(KernelError, ReadError):
        while abs(at - vaddr) < most:
            kernel.memory.translate(at + step)
            at += step
    return at


def _types(kernel: Kernel, names: Collection[str]) -> Btf | None:
    """Load the types ``names`` from the BTF section among the kernel's constants, and add the section's symbols."""
    physical, start = kernel.memory.physical, kernel.symbol("__start_rodata")
    # Memory of zeros slows down a search for what ends in zeros.
    found_at = places(kernel.memory, start, kernel.symbol("_end"), magic(physical.byte_order).rstrip(b"\0"))
    names = {*names, _KERNEL_TYPE, _ENUMERATION}
    found = find_btf(physical.read, physical.byte_order, found_at, names, _KERNEL_TYPE)
    if found is not None:
        at = start + found.address - kernel.memory.translate(start)[0]
        kernel.symbols.update(__start_BTF=at, __stop_BTF=at + found.end)
        kernel.symbols["__end_rodata"] = max(at + found.end, kernel.symbols["__end_rodata"])
    return found


def places(memory: VirtualMemory, start: int, end: int, text: bytes) -> Iterator[int]:
    """Yield physical addresses of ``text`` in the kernel image from virtual address ``start`` to ``end``."""
    low, _ = memory.translate(start)
    high = low + min(end - start, _IMAGE_MOST)
    left = _TRIES
    for base, data in scan_memory(memory.physical.source, low, high, keep=len(text) - 1):
        at = data.find(text)
        while at >= 0:
            if low <= base + at < high:
                yield base + at
                left -= 1
                if not left:
                    return
            at = data.find(text, at + 1)


def _first_task(kernel: Kernel) -> None:
    """The first task, by its name, and the namespace of its process numbers."""
    if "init_task" not in kernel.symbols:
        kernel.symbols["init_task"] = next(_idle_tasks(kernel))
    if "init_pid_ns" not in kernel.symbols:
        spaces = kernel.memory.u64(kernel.symbols["init_task"] + kernel.offset("task_struct", "nsproxy"))
        kernel.symbols["init_pid_ns"] = kernel.memory.u64(spaces + kernel.offset("nsproxy", "pid_ns_for_children"))


def _idle_tasks(kernel: Kernel) -> Iterator[int]:
    name, tasks, pid = (kernel.offset("task_struct", member) for member in ("comm", "tasks", "pid"))
    memory, start = kernel.memory, kernel.symbol("__end_rodata")
    low, _ = memory.translate(start)
    for text in IDLE:
        for place in places(memory, start, kernel.symbol("_end"), text):
            with suppress(KernelError, ReadError):
                task = start + place - low - name
                # Idle tasks of other processors are copies of the first, and on no list.
                following = memory.u64(task + tasks)
                if memory.u64(following + 8) == task + tasks and not memory.u32(task + pid):
                    yield task
    raise KernelError("the first task is not in the kernel's data")


def _caches(kernel: Kernel) -> None:
    """The list of slab caches, by the cache that the second task is from."""
    if "slab_caches" in kernel.symbols:
        return
    memory, tasks = kernel.memory, kernel.offset("task_struct", "tasks")
    task = memory.u64(kernel.symbol("init_task") + tasks) - tasks
    node, name = kernel.offset("kmem_cache", "list"), kernel.offset("kmem_cache", "name")
    first = memory.u64(_head(kernel, task) + kernel.cache_offset()) + node
    for at in kernel.each(first, _MOST_CACHES):
        # The head of the list is within no cache: nothing before it is a name.
        try:
            text = memory.string(memory.u64(at - node + name), _NAME_MOST)
        except (KernelError, ReadError):
            text = b""
        if not text.isascii() or not text.decode("ascii").isprintable() or not text:
            kernel.symbols["slab_caches"] = at
            return


def _head(kernel: Kernel, vaddr: int) -> int:
    """Return the address of the struct page of the compound page that ``vaddr`` is in."""
    pfn = kernel.memory.translate(vaddr)[0] // kernel.page_size
    for run in kernel.memmap.runs(pfn, pfn + 1):
        tail = kernel.memory.u64(run.vaddr + kernel.offset("page", "compound_head"))
        return tail - 1 if tail & 1 else run.vaddr
    raise KernelError("an address has no struct page", offset=vaddr)
