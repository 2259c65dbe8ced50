"""Tasks: each ``task_struct``, its stack, and what its pointers lead to that ``ps`` shows (include/linux/sched.h)."""

from __future__ import annotations

from vmsieve.filters.importance import Importance
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.importance._kernel import Kernel

_MOST_TASKS: Final = 1 << 15
_MOST_THREADS: Final = 1 << 12
_MOST_NODES: Final = 1 << 16
_THREAD_SIZE: Final = 16 << 10
#: Members of task_struct that are pointers: to structures of these types.
_POINTERS: Final = {
    "mm": "mm_struct", "signal": "signal_struct", "sighand": "sighand_struct", "cred": "cred", "real_cred": "cred",
    "files": "files_struct", "fs": "fs_struct", "nsproxy": "nsproxy", "thread_pid": "pid",
}  # fmt: skip
#: Members of a run queue that are pointers to tasks.
_OF_QUEUE: Final = ("curr", "idle")
_TAG: Final = 3
_WORD: Final = (1 << 64) - 1


def _find(kernel: Kernel) -> Iterator[tuple[int, int]]:
    if kernel.types is None:
        from vmsieve.filters.importance._untyped import untyped_tasks

        yield from untyped_tasks(kernel)
        return
    walk = _Walk(kernel)
    yield from walk.task(kernel.symbol("init_task"))
    with suppress(KernelError, ReadError):
        for task in _of_cpus(kernel):
            yield from walk.task(task)
    with suppress(KernelError, ReadError):
        yield from _pid_tree(kernel)
    for task in walk.all():
        yield from walk.task(task)


class _Walk:
    """A walk of all tasks."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._size = kernel.size("task_struct")
        self._list = kernel.offset("task_struct", "tasks")
        self._stack = kernel.offset("task_struct", "stack")
        self._pointers = []
        for member, structure in _POINTERS.items():
            with suppress(KernelError):
                self._pointers.append((kernel.offset("task_struct", member), kernel.size(structure)))
        self._shared: set[int] = set()

    def all(self) -> Iterator[int]:
        """Yield the address of each task: every process, and its threads."""
        kernel = self._kernel
        first = kernel.symbol("init_task")
        threads = None
        with suppress(KernelError):
            # v6.7 dropped the other list (8e1f385104ac, "kill task_struct->thread_group").
            threads = kernel.offset("task_struct", "thread_node"), kernel.offset("signal_struct", "thread_head")
        signal = kernel.offset("task_struct", "signal")
        for at in kernel.each(first + self._list, _MOST_TASKS):
            task = at - self._list
            yield task
            if threads is None:
                continue
            with suppress(KernelError, ReadError):
                head = kernel.memory.u64(task + signal) + threads[1]
                for node in kernel.each(head, _MOST_THREADS):
                    if node - threads[0] != task:
                        yield node - threads[0]

    def task(self, task: int) -> Iterator[tuple[int, int]]:
        """Yield the memory of one task."""
        kernel = self._kernel
        yield from kernel.ranges(task, self._size)
        with suppress(KernelError, ReadError):
            data = kernel.memory.read(task, self._size)
            number = kernel.memory.physical.number
            yield from kernel.ranges(number(data[self._stack : self._stack + 8]) & -4096, _THREAD_SIZE)
            for offset, size in self._pointers:
                at = number(data[offset : offset + 8])
                if at not in self._shared and kernel.memory.translator.is_kernel(at):
                    self._shared.add(at)
                    yield from kernel.ranges(at, size)


def _of_cpus(kernel: Kernel) -> Iterator[int]:
    """Yield the task that each CPU runs, and its idle task, which the list of tasks lacks (kernel/sched/sched.h)."""
    queues = kernel.symbol("runqueues")
    members = []
    for member in _OF_QUEUE:
        with suppress(KernelError):
            members.append(kernel.offset("rq", member))
    for offset in kernel.per_cpu_offsets():
        queue = queues + offset & _WORD
        if not kernel.memory.translator.is_kernel(queue):
            return
        for at in members:
            with suppress(KernelError, ReadError):
                yield kernel.memory.u64(queue + at)


def _pid_tree(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield the nodes of the tree of process numbers, and what they lead to (include/linux/xarray.h)."""
    root = kernel.symbol("init_pid_ns") + kernel.offset("pid_namespace", "idr")
    root += kernel.offset("idr", "idr_rt") + kernel.offset("xarray", "xa_head")
    slots, size, pid = kernel.offset("xa_node", "slots"), kernel.size("xa_node"), kernel.size("pid")
    waiting, left = [kernel.memory.u64(root)], _MOST_NODES
    while waiting and left:
        entry = waiting.pop()
        left -= 1
        if not kernel.memory.translator.is_kernel(entry):
            continue
        if entry & _TAG != 2:
            yield from kernel.ranges(entry, pid)
            continue
        node = entry - 2
        yield from kernel.ranges(node, size)
        with suppress(KernelError, ReadError):
            data = kernel.memory.read(node + slots, size - slots)
            words = (kernel.memory.physical.number(data[at : at + 8]) for at in range(0, len(data) // 8 * 8, 8))
            waiting += [word for word in words if word]


CLASS: Final = Importance(
    "tasks", "tasks and their stacks", 35, _find, ("init_task", "init_pid_ns", "runqueues"),
    ("task_struct", "rq", "pid_namespace", "idr", "xarray", "xa_node", "pid", *_POINTERS.values()),
)  # fmt: skip
