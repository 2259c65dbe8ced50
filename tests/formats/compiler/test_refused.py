"""Constructs outside the dialect are refused when a loop is built, not when it runs."""

# ruff: noqa: F841, RET502, RET503 - functions that are wrong on purpose

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vmsieve.formats.compiler import Loop, bind, inline
from vmsieve.formats.compiler.families import DialectError

if TYPE_CHECKING:
    from collections.abc import Callable


@inline
def twice(a: int) -> int:
    return a + a


def plain(a: int) -> int:
    return a


half, table, text = 0.5, [1], "text"


def r_attribute(a: int) -> int:
    return a.real


def r_subscript(a: int) -> int:
    return table[0]


def r_float(a: int) -> Any:
    return a * 1.5


def r_float_constant(a: int) -> Any:
    return a * half


def r_divide(a: int) -> Any:
    return a / 2


def r_power(a: int) -> Any:
    return a**2


def r_negative(a: int) -> int:
    return -a


def r_negative_constant(a: int) -> int:
    return a + -1


def r_large(a: int) -> int:
    return a + 0x1_0000_0000_0000_0000


def r_true(a: int) -> int:
    return True


def r_string(a: int) -> Any:
    return "a"


def r_none(a: int) -> Any:
    return None


def r_bare_return(a: int) -> Any:
    if a:
        return
    return a


def r_no_return(a: int) -> Any:
    if a:
        return 1


def r_while_that_ends(a: int) -> Any:
    while a:
        return 1


def r_unknown(a: int) -> int:
    return len(a)  # type: ignore[arg-type]


def r_plain_function(a: int) -> int:
    return plain(a)


def r_keyword(a: int) -> int:
    return twice(a=a)


def r_step(a: int) -> int:
    for i in range(0, a, 2):
        a = i
    return a


def r_list(a: int) -> int:
    for i in [1, 2]:
        a = i
    return a


def r_pair(a: int) -> int:
    a, b = 1, 2
    return a


def r_two_targets(a: int) -> int:
    a = b = 1
    return a


def r_store_attribute(a: Any) -> int:
    a.b += 1
    return 1


def r_default(a: int, b: int = 3) -> int:
    return a


def r_star(*a: int) -> int:
    return 1


def r_try(a: int) -> int:
    try:
        a = 1
    finally:
        a = 2
    return a


def r_assert(a: int) -> int:
    assert a
    return a


def r_lambda(a: int) -> Any:
    return (lambda: a)()  # noqa: PLC3002


def r_in(a: Any) -> int:
    return a in a


def r_is(a: Any) -> int:
    return a is a


def r_walrus(a: int) -> int:
    return (b := a)


REFUSED = [value for name, value in sorted(globals().items()) if name.startswith("r_")]


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_anything_else_is_refused(function: Callable[..., int]) -> None:
    with pytest.raises(DialectError):
        bind(Loop(function), "python")


def test_a_refusal_has_the_location() -> None:
    with pytest.raises(DialectError, match=r"test_refused\.r_divide:2: Div is not in the loops' dialect"):
        bind(Loop(r_divide), "python")
