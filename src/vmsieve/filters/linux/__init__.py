"""Linux in a dump: VMCOREINFO, symbols and types, virtual memory, memory map, identity, log; ``arch``: page tables.

Code here reads through a source, works per run or section, and raises
:class:`~vmsieve.formats.errors.KernelError` for a kernel that it can't understand. Page classes belong in
``filters/rules``, dump formats in ``formats``.
"""
