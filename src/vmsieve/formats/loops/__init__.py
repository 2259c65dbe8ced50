"""Loops over bytes: compiled inner loops that know nothing of Linux.

Belongs here: functions in the dialect of ``formats/compiler``: codecs, bitmaps, page descriptors, comparisons.
Does not: loops that read struct pages (``filters/loops``) or call codecs (``formats/codecs/_pack``).
"""
