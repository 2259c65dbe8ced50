"""Faults that a capture has to stand, in namespaces and on disks of their own: see :mod:`tests.faults.__main__`."""
