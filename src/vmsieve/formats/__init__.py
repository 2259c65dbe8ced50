"""Bytes: dump formats read and written, page codecs, compressed frames, and compiled loops over pages.

Belongs here: file layouts, compression, byte order, reading and writing.
Does not: the meaning of memory to a Linux kernel (``filters``), or the order of events (``pipeline``).
"""
