"""Bytes and their meaning: dump formats read and written, page codecs, and the machine code that works on pages.

Imports neither ``filters`` nor ``pipeline``.
"""
