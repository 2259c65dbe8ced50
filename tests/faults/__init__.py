"""Faults that a capture must survive, in their own namespaces and disks: see :mod:`tests.faults.__main__`."""
