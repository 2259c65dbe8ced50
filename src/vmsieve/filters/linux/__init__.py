"""Linux in a dump: VMCOREINFO, symbols and types, virtual memory, memory map, identity, log; ``arch``: page tables.

Code here reads through a source, and works per run or section. Unless a docstring says otherwise, it raises
:class:`~vmsieve.formats.errors.KernelError` for keys that are missing and memory that makes no sense, and
:class:`~vmsieve.formats.errors.ReadError` for memory that is not in the dump. Page classes belong in ``filters/rules``,
dump formats in ``formats``.
"""
