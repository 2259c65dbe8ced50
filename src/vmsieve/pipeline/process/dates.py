"""Dates of dumps, for people."""

from __future__ import annotations

import time


def date_text(seconds: int) -> str:
    """Format seconds since 1970 as a date; a dump can hold any number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds since 1970, beyond any calendar"
