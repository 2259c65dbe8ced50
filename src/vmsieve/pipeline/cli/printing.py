"""Output of commands: remarks on standard error, JSON on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from vmsieve.formats.text import as_utf8, shown

if TYPE_CHECKING:
    from collections.abc import Iterable


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
