"""Replacements of modules of the standard library in an image.

Belongs here: a module that saves a tenth of the start-up time, or much memory, with its figures.
Does not: the package's own stand-ins, which also run outside an image (``formats/slim``).
"""
