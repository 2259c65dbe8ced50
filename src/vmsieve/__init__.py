"""Filters and compresses memory dumps of crashed Linux systems.

Three rooms: ``formats`` (bytes and their meaning) imports no other room, ``filters`` (page classes) imports
``formats``, and ``pipeline`` (the commands) imports both.
"""

__version__ = "0.1.0"
