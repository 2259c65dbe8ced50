"""Tasks of a kernel without types (no CONFIG_DEBUG_INFO_BTF), by what all kernels have in common.

A ``task_struct`` (include/linux/sched.h) has its name in ``comm``; before it, the list head ``tasks``, the only one
that links structures with names at the same distance; from ``tasks`` on to a little behind the name, the pointers that
``ps`` follows; and anywhere before, its stack, at a multiple of its size.
"""

from __future__ import annotations

import struct

from vmsieve.filters.importance._search import IDLE, places
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_TASKS: Final = 1 << 13
_MOST_NODES: Final = 1 << 14
#: Bytes of a name; bytes of a task before and behind its name; bytes behind it with pointers.
_NAME: Final = 16
_BEFORE: Final = 4096
_AFTER: Final = 4096
_POINTERS: Final = 128
_STACK: Final = 16 << 10
#: Bytes of a structure that a task points to.
_SHARED: Final = 1024
#: Tasks that a list must have, beside the first.
_FEW: Final = 3
#: struct pid and struct pid_namespace: bytes that have a pointer to the namespace, and the tree's root.
_PID: Final = 256
_SPACE: Final = 256
#: struct xa_node (include/linux/xarray.h) since v4.20: bytes, offset of the tree that it is of, and of the slots.
_NODE: Final = 576
_TREE: Final = 16
_SLOTS: Final = 40, 64
#: Offset of the root in a tree, behind a lock and flags.
_ROOT: Final = 8


def untyped_tasks(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the memory of all tasks."""
    first, tasks = _find_list(kernel)
    shared: set[int] = set()
    for name in (first, *_names(kernel, first, tasks)):
        yield from _task(kernel, name, tasks, shared)
    # Any task leads to the tree of process numbers, the second one to that of the whole machine.
    for at in kernel.each(first - tasks, 1):
        for pid in _pointers(kernel, at, tasks + _POINTERS):
            with suppress(KernelError, ReadError):
                yield from _pid_trees(kernel, pid)


def _find_list(kernel: Kernel) -> tuple[int, int]:
    """Find the first task: return the address of its name, and how far before it its list head is."""
    start = kernel.symbol("__end_rodata")
    low, _ = kernel.memory.translate(start)
    for text in IDLE:
        for place in places(kernel.memory, start, kernel.symbol("_end"), text):
            name = start + place - low
            for before in range(8, _BEFORE, 8):
                found = [at for _, at in zip(range(_FEW), _names(kernel, name, before))]
                if len(found) == _FEW:
                    return name, before
    raise KernelError("no list of tasks in the kernel's data")


def _names(kernel: Kernel, name: int, before: int) -> Iterator[int]:
    """Yield the addresses of the names of tasks, along the list of one; stops at an element that is not a task."""
    last = name - before
    with suppress(KernelError, ReadError):
        for at in kernel.each(name - before, _MOST_TASKS):
            text = kernel.memory.read(at + before, _NAME).partition(b"\0")[0]
            if at & 7 or kernel.memory.u64(at + 8) != last or not text or not text.decode("latin-1").isprintable():
                return
            yield at + before
            last = at


def _task(kernel: Kernel, name: int, tasks: int, shared: set[int]) -> Iterator[tuple[int, int]]:
    yield from kernel.ranges(name - _BEFORE, _BEFORE)
    yield from kernel.ranges(name, _AFTER)
    with suppress(KernelError, ReadError):
        for word in _pointers(kernel, name - tasks, tasks + _POINTERS):
            if word not in shared:
                shared.add(word)
                yield from kernel.ranges(word, _SHARED)
        for word in _pointers(kernel, name - _BEFORE, _BEFORE):
            if word % _STACK == 0:
                yield from kernel.ranges(word, _STACK)


def _pointers(kernel: Kernel, vaddr: int, size: int) -> list[int]:
    """Words in memory that may be kernel addresses, in their order."""
    data = kernel.memory.read(vaddr & -8, size // 8 * 8)
    order = ">" if kernel.memory.physical.byte_order == "big" else "<"
    words = dict.fromkeys(struct.unpack(f"{order}{len(data) // 8}Q", data))
    return [word for word in words if kernel.memory.translator.is_kernel(word)]


def _pid_trees(kernel: Kernel, pid: int) -> Iterator[tuple[int, int]]:
    """Yield the nodes of trees, and what they lead to, in structures that ``pid`` points to in the kernel's data."""
    start, end = kernel.symbol("__end_rodata"), kernel.symbol("_end")
    for space in _pointers(kernel, pid, _PID):
        if start <= space < end:
            for at in range(space & -8, (space & -8) + _SPACE, 8):
                node = kernel.memory.u64(at) - 2
                if node & 7 == 0 and kernel.memory.translator.is_kernel(node):
                    with suppress(KernelError, ReadError):
                        if kernel.memory.u64(node + _TREE) == at - _ROOT:
                            yield from kernel.ranges(space, _SPACE)
                            yield from _nodes(kernel, node)


def _nodes(kernel: Kernel, root: int) -> Iterator[tuple[int, int]]:
    waiting = [root]
    for _ in range(_MOST_NODES):
        if not waiting:
            return
        node = waiting.pop()
        yield from kernel.ranges(node, _NODE)
        with suppress(KernelError, ReadError):
            for word in _pointers(kernel, node + _SLOTS[0], _SLOTS[1] * 8):
                if word & 3 == 2:
                    waiting.append(word - 2)
                else:
                    yield from kernel.ranges(word, _PID)
                    # Threads are on no other list.
                    for task in _pointers(kernel, word, _PID):
                        yield from kernel.ranges(task, 1)
