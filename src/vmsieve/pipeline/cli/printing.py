"""Output of commands: remarks on standard error, JSON on standard output."""

from __future__ import annotations

import sys

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.formats.text import as_utf8, shown
from vmsieve.pipeline.process.streams import print_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.formats.source import Source


def json_text(value: dict[str, Any]) -> str:
    """``value`` as JSON: ASCII only, without lone surrogates, which strict readers reject."""
    import json

    return json.dumps(_valid(value), indent=1)


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, dict):
        return {_valid(key): _valid(one) for key, one in value.items()}
    return [_valid(one) for one in value] if isinstance(value, (list, tuple)) else value


def print_json(value: dict[str, Any]) -> None:
    """Print ``value`` as JSON."""
    print(json_text(value), flush=True)  # noqa: T201


def print_remarks(lines: Iterable[str]) -> None:
    """Print each different line once, on standard error."""
    for line in dict.fromkeys(lines):
        print(f"vmsieve: {shown(line)}", file=sys.stderr)  # noqa: T201


def contents(source: Source) -> list[dict[str, Any]]:
    """Return what a torn dump still has, by classes of importance; empty for a whole dump."""
    if not source.incomplete:
        return []
    from vmsieve.formats.order_note import shares

    found = shares(source)
    return [{"name": one.name, "title": one.title, "pages": one.total, "written": one.written} for one in found]


def print_contents(classes: list[dict[str, Any]]) -> None:
    """Print what :func:`contents` returned."""
    width = max((len(one["title"]) for one in classes), default=0)
    if classes:
        print_line("In the dump:")
    for one in classes:
        share = 100 * one["written"] // one["pages"]
        print_line(f"  {one['title']:<{width}}  {share:>3} % of {one['pages']:,} pages")
