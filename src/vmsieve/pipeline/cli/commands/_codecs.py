"""``vmsieve info --codecs``: the library behind each codec on this machine, and why others were passed over."""

from __future__ import annotations

import platform
import sys
from functools import partial

from vmsieve.formats.codecs import codecs, rejected_libraries
from vmsieve.formats.compiler import backend
from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from vmsieve.formats.codecs import Codec, State

_PAGE_SIZE = 4096


def describe_codecs() -> dict[str, Any]:
    """How this machine packs and unpacks pages, for JSON."""
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "kernels": backend(),
        "codecs": [_one(codec) for codec in codecs()],
    }


def _one(codec: Codec) -> dict[str, Any]:
    rejected_libraries()
    lowest, highest = codec.levels
    packs: list[dict[str, Any]] = []
    for level in range(lowest, highest + 1):
        provider = _provider(partial(codec.open_compressor, level, _PAGE_SIZE))
        if packs and packs[-1]["provider"] == provider:
            packs[-1]["levels"][1] = level
        else:
            packs.append({"levels": [level, level], "provider": provider})
    unpacks = _provider(partial(codec.open_decompressor, _PAGE_SIZE))
    return {
        "name": codec.name,
        "title": codec.title,
        "default_level": codec.default_level,
        "packs": packs,
        "unpacks": unpacks,
        "passed_over": rejected_libraries(),
    }


def _provider(open_state: Callable[[], State]) -> str:
    try:
        state = open_state()
    except UsageError as error:
        return f"none: {error}"
    state.close()
    return state.provider


def print_codecs(facts: dict[str, Any]) -> None:
    """Print what :func:`describe_codecs` returns."""
    how = {"aot": "machine code of this installation", "jit": "compiled by numba", "python": "interpreted, slow"}
    print(f"Loops:           {how[facts['kernels']]} ({facts['machine']}, Python {facts['python']})")
    for codec in facts["codecs"]:
        print(f"{codec['name'] + ':':<16} {codec['title']}")
        for part in codec["packs"]:
            low, high = part["levels"]
            levels = (
                "" if len(codec["packs"]) == 1 else f", level {low}" if low == high else f", levels {low} to {high}"
            )
            print(f"  packed by      {part['provider']}{levels}")
        print(f"  unpacked by    {codec['unpacks']}")
        for name, reason in codec["passed_over"].items():
            print(f"  passed over    {name}: {reason}")
    sys.stdout.flush()
