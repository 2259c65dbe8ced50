"""Variables that every reader starts from: VMCOREINFO's symbols, and those that crash and drgn read first."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_BLOCK: Final = 4096
_AROUND: Final = 64 << 10
_VARIABLES: Final = (
    "linux_banner", "init_uts_ns", "init_task", "init_pid_ns", "init_mm", "init_nsproxy", "modules", "slab_caches",
    "kmem_cache", "mem_section", "node_data", "node_states", "__per_cpu_offset", "__cpu_possible_mask",
    "__cpu_present_mask", "__cpu_online_mask", "__cpu_active_mask", "nr_cpu_ids", "crash_notes", "crashing_cpu",
    "panic_cpu", "tainted_mask", "taint_flags", "task_state_array", "page_offset_base", "vmalloc_base", "vmemmap_base",
    "high_memory", "jiffies_64", "avenrun", "shadow_timekeeper", "tk_core", "pv_info", "xen_start_info", "idt_table",
    "nr_irqs", "nr_threads", "nr_swapfiles", "pageflag_names", "mt_slots", "mt_pivots", "lookup_num_blocks",
    "memory_subsys", "zero_pfn", "huge_zero_pfn", "_totalram_pages", "cpu_khz", "runqueues", "prb", "clear_seq",
    "vmcoreinfo_data", "vmcoreinfo_note", "swapper_pg_dir", "init_top_pgt", "pgdir_shift", "ptrs_per_p4d",
    "physvirt_offset", "kimage_voffset", "memstart_addr", "lowcore_ptr", "vmalloc_start", "kernel_version",
    "sysrq_pressed",
)  # fmt: skip
#: Arrays with an element a processor, of NR_CPUS, 8192 at most; crash reads the whole.
_ARRAYS: Final = {"__per_cpu_offset": 64 << 10}
#: Arrays of pointers to strings, and bytes of them.
_STRINGS: Final = ("pageflag_names", "task_state_array")
_STRINGS_SIZE: Final = 1024
_MOST_NODES: Final = 1024


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    for number in kernel.noted:
        yield number * _BLOCK, (number + 1) * _BLOCK
    for key in kernel.info.keys:
        if key.startswith("SYMBOL(") and (at := kernel.info.symbol(key[7:-1])) is not None:
            yield from kernel.ranges(at, 8)
    if kernel.memory.physical.source.machine == "s390x":
        yield from _lowcore(kernel)
    if "modules" not in kernel.symbols and "_end" in kernel.symbols:
        yield from _neighbours(kernel)
    for name in _VARIABLES:
        if name in kernel.symbols:
            yield from kernel.ranges(kernel.symbols[name], _ARRAYS.get(name, _BLOCK))
    for name in _STRINGS:
        if name in kernel.symbols:
            data = kernel.memory.read(kernel.symbols[name], _STRINGS_SIZE)
            for at in range(0, _STRINGS_SIZE, 8):
                word = kernel.memory.physical.number(data[at : at + 8])
                if kernel.memory.translator.is_kernel(word):
                    yield from kernel.ranges(word, 1)
    yield from _nodes(kernel)


def _neighbours(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the memory around named variables: a kernel without CONFIG_KALLSYMS_ALL hides where the others are."""
    start, end = kernel.symbol("__end_rodata"), kernel.symbol("_end")
    named = [kernel.info.peek_address(key) for key in kernel.info.keys if key.startswith("SYMBOL(")]
    for at in sorted({*named, *kernel.symbols.values()}):
        if start <= at < end:
            low = max(at - _AROUND, start) & -kernel.page_size
            yield from kernel.ranges(low, at - low)
            yield from kernel.ranges(at, min(_AROUND, end - at))


def _lowcore(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the lowcore of an s390x processor, and what it points to."""
    from vmsieve.formats.layouts import lowcore
    from vmsieve.formats.os_info import read_os_info

    yield 0, lowcore.SIZE
    fields = lowcore.LOWCORE.unpack(kernel.memory.physical.read(0, lowcore.SIZE))
    yield fields.vmcore_info, fields.vmcore_info + _BLOCK
    info = read_os_info(kernel.memory.physical.source)
    if info is not None:
        yield info.address, info.address + _BLOCK
        yield from ((one.value, one.value + one.size) for one in info.entries if one.size)


def _nodes(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the memory of each node's description, ``pg_data_t`` (include/linux/mmzone.h)."""
    size = kernel.info.need("SIZE", "pglist_data")
    if (one := kernel.info.symbol("contig_page_data")) is not None:
        yield from kernel.ranges(one, size)
    elif (nodes := kernel.info.symbol("node_data")) is not None:
        for number in range(min(kernel.info.need("LENGTH", "node_data"), _MOST_NODES)):
            at = kernel.memory.u64(nodes + 8 * number)
            if kernel.memory.translator.is_kernel(at):
                yield from kernel.ranges(at, size)


CLASS: Final = Importance("variables", "variables that readers start from", 20, _find, _VARIABLES)
