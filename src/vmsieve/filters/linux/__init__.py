"""What the kernel in a dump says of itself: VMCOREINFO, its memory, its memory map, its name, its log.

Everything here reads through a source, works per run or section and never per page, and raises
:class:`~vmsieve.formats.errors.KernelError` where the kernel can't be understood.
"""
