"""SECURITY.md: the tests that it names exist, and nothing connects to a network."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.dumps import PACKAGE, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Modules of the standard library that can reach a network, or run a program that does.
_NETWORK = {"_socket", "asyncio", "ftplib", "http", "imaplib", "poplib", "smtplib", "socket", "socketserver", "ssl",
            "urllib", "xmlrpc"}  # fmt: skip
#: Passes a file descriptor between its own processes, through a pair of connected sockets.
_PAIR = "pipeline/capture/isolation.py"


def test_each_promise_has_a_test() -> None:
    named = re.findall(r"`(tests/[^`]*)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) >= 8
    assert not [name for name in named if not (ROOT / name).is_file()]


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_nothing_connects_to_a_network() -> None:
    """No module that could is imported; the one exception makes socket pairs only."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        names = _NETWORK & set(_imported(ast.parse(path.read_text())))
        if names:
            found[path.relative_to(PACKAGE).as_posix()] = names
    assert found == {_PAIR: {"_socket"}}
    calls = set(re.findall(r"_socket\.([a-z_]+)\(", (PACKAGE / _PAIR).read_text()))
    assert calls <= {"socketpair"}


@pytest.mark.parametrize("name", ["SECURITY.md", "CITATION.cff"])
def test_no_address_is_invented(name: str) -> None:
    """The project has no public address: an invented one would send reports, and dumps, to strangers."""
    assert not re.search(r"https?://|@[a-z]", (ROOT / name).read_text())
