"""DerivedKeys of a kernel from its vmlinux file: symbols, and types from BTF or DWARF.

Belongs here: reading vmlinux files.
Does not: facts from the dump's memory (the room above).
"""
