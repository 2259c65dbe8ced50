"""vmsieve: filter and compress the memory of a crashed machine.

Three rooms, imported in one direction only: ``pipeline`` (order of events) uses ``filters`` (what a page is) and
``formats`` (bytes and their meaning); ``filters`` uses ``formats``; ``formats`` uses neither.
"""

__version__ = "0.1.0"
