"""The replacements for contextlib behave like it: the same small programs run with both."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from vmsieve.formats.slim import contexts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = (None, KeyError, OSError)


def outcome(run: Callable[[list[str]], object]) -> tuple[list[str], object]:
    """A program's output and exit status."""
    said: list[str] = []
    try:
        return said, run(said)
    except Exception as error:
        return said, (type(error), str(error))


def fail(kind: type[Exception] | None) -> None:
    if kind is not None:
        raise kind("made up")


@pytest.mark.parametrize("kind", KINDS)
def test_suppress(kind: type[Exception] | None) -> None:
    """Errors of the named kinds, and derived ones, end the block silently; others pass."""

    def program(module: Any, said: list[str]) -> str:
        with module.suppress(LookupError, ValueError):
            fail(kind)
            said.append("went through")
        return "end"

    assert outcome(lambda said: program(contexts, said)) == outcome(lambda said: program(contextlib, said))


@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("how", ["pass", "swallow", "replace", "twice"])
def test_contextmanager(how: str, inner: type[Exception] | None) -> None:
    """A generator sees the error of the block; it may suppress it, replace it, or let it through."""

    def program(module: Any, said: list[str]) -> str:
        @module.contextmanager  # type: ignore[untyped-decorator]
        def made(name: str) -> Iterator[str]:
            try:
                yield name
                said.append("well")
            except KeyError as error:
                said.append("badly")
                if how == "replace":
                    raise ValueError("another") from error
                if how == "pass":
                    raise
            finally:
                said.append("done")
            if how == "twice":
                yield name

        with made("given") as given:
            said.append(given)
            fail(inner)
        return "end"

    ours, theirs = (outcome(lambda said, m=module: program(m, said)) for module in (contexts, contextlib))  # type: ignore[misc]
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1] or how == "twice"
    assert (how == "twice" and inner is not OSError) == ("RuntimeError" in str(ours[1]))


@pytest.mark.parametrize("block", KINDS)
@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("swallow", [False, True])
def test_exit_stack(
    block: type[Exception] | None, first: type[Exception] | None, second: type[Exception] | None, swallow: bool
) -> None:
    """Contexts exit in reverse order, each with the last exception; a stack after pop_all does nothing."""

    def program(module: Any, said: list[str]) -> str:
        def leave(kind: Any, error: Any, trace: Any) -> bool:
            said.append(f"left with {kind}")
            return swallow

        def call(name: str, kind: type[Exception] | None) -> None:
            said.append(name)
            fail(kind)

        with module.ExitStack() as stack:
            stack.callback(lambda: call("first", first))
            stack.push(leave)
            said.append(str(stack.enter_context(module.suppress(ZeroDivisionError))))
            stack.callback(lambda: call("second", second))
            fail(block)
            kept = stack.pop_all()
            said.append("given away")
        said.append("between")
        kept.close()
        return "end"

    assert outcome(lambda said: program(contexts, said)) == outcome(lambda said: program(contextlib, said))
