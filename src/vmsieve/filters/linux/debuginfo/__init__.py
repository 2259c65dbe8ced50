"""Symbols and types of a kernel from its vmlinux file: BTF or DWARF.

Code here reads vmlinux files, with pyelftools; the same tables in a dump's memory belong in the room above.
"""
