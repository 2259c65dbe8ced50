"""The loops' dialect: a source means the same on every backend; constructs that differ are refused."""

# ruff: noqa: FURB136, RUF021 - constructs of the dialect are tested, not only idiomatic ones

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmsieve.formats.compiler import Loop, bind, inline, loop
from vmsieve.formats.compiler.dialect import MASK
from vmsieve.formats.compiler.families import DialectError, Plugins
from vmsieve.formats.compiler.primitives import (
    big_endian,
    call1,
    call2,
    call3,
    call4,
    call5,
    call6,
    ctz64,
    load8,
    load16,
    load32,
    load64,
    own_word,
    prefetch,
    store8,
    store16,
    store32,
    store64,
    swap16,
    swap32,
    swap64,
)  # fmt: skip
from vmsieve.formats.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

numba_installed = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
WORDS = st.one_of(st.integers(0, MASK), st.sampled_from([0, 1, 63, 64, 255, 1 << 31, 1 << 32, 1 << 63, MASK - 1, MASK]))
HUGE = 0xFFFF_8880_0000_0000


@inline
def twice(a: int) -> int:
    return a + a


@inline
def longest(a: int, b: int) -> int:
    return a if a > b else b


@loop
def remember(value: int) -> int:
    """The sum of all values passed so far."""
    return store64(own_word(), 0, load64(own_word(), 0) + value) + load64(own_word(), 0)


@loop
def arithmetic(which: int, a: int, b: int) -> int:
    c = b | 1
    if which == 0:
        return a + b
    if which == 1:
        return a - b
    if which == 2:
        return a * b
    if which == 3:
        return a // c
    if which == 4:
        return a % c
    if which == 5:
        return a << (b & 63)
    if which == 6:
        return a >> (b & 63)
    if which == 7:
        return (a & b) ^ (a | HUGE)
    if which == 8:
        return ~a
    if which == 9:
        return (a < b) + (a <= b) * 2 + (a == b) * 4 + (a != b) * 8 + (a > b) * 16 + (a >= b) * 32
    if which == 10:
        return a < b < HUGE
    if which == 11:
        return a and b or not c
    if which == 12:
        return min(a, b) * 3 - max(a, 7)
    if which == 13:
        return twice(longest(a, b)) + longest(a == b, a < b)
    if which == 14:
        return (a == b) if a & 1 else (a > b)
    if which == 15:
        a -= 1
        a <<= 3
        a += b
        return a
    return 99


def _arithmetic(which: int, a: int, b: int) -> int:
    """:func:`arithmetic` in unbounded numbers."""
    c = b | 1
    results: list[int] = [
        a + b, a - b, a * b, a // c, a % c, a << (b & 63), a >> (b & 63), (a & b) ^ (a | HUGE), -1 - a,
        (a < b) + (a <= b) * 2 + (a == b) * 4 + (a != b) * 8 + (a > b) * 16 + (a >= b) * 32,
        int(a < b < HUGE), int(bool(a and b or not c)), min(a, b) * 3 - max(a, 7),
        2 * max(a, b) + max(int(a == b), int(a < b)), int(a == b if a & 1 else a > b), ((a - 1) << 3) + b, 99,
    ]  # fmt: skip
    return results[which] % (MASK + 1)


@loop
def loops(first: int, end: int, most: int) -> int:
    """Iterations of two loops, and the remainder."""
    rounds = 0
    for i in range(first, end):
        if rounds == most:
            break
        if i % 3 == 1:
            continue
        rounds += 1
    else:
        rounds += 1000
    at = first
    while at < end:
        if at - first >= most:
            break
        at += 1
    else:
        rounds += 2000
    for i in range(most):
        rounds += i << 16
    while 1:
        rounds += 1 << 32
        if rounds >> 32 == 3:
            break
    return rounds


def _loops(first: int, end: int, most: int) -> int:
    rounds, i = 0, first
    while i < end and rounds < most:
        rounds += i % 3 != 1
        i += 1
    # The loop ends by itself only if a further round would not find the limit reached.
    ended = i >= end
    rounds += 1000 * ended
    rounds += 2000 * (max(end - first, 0) <= most)
    rounds += sum(range(most)) << 16
    return rounds + (3 - (rounds >> 32)) * (1 << 32) if rounds >> 32 < 3 else -1


@loop
def memory(base: int, value: int) -> int:
    store8(base, 0, value)
    store16(base, 1, value)
    store32(base, 3, value)
    store64(base, 7, value)
    found = load8(base, 0) + load16(base, 1) * 3 + load32(base, 3) * 5 + load64(base, 7) * 7
    return found ^ swap16(value) ^ swap32(value) << 1 ^ swap64(value) << 2 ^ ctz64(value | 1 << 60) ^ big_endian() << 9


def _memory(value: int, order: str) -> int:
    parts = [value % (1 << 8 * n) for n in (1, 2, 4, 8)]
    total = sum(part * factor for part, factor in zip(parts, (1, 3, 5, 7))) & MASK
    for n, shift in ((2, 0), (4, 1), (8, 2)):
        total ^= int.from_bytes((value % (1 << 8 * n)).to_bytes(n, "little"), "big") << shift
    low = value | 1 << 60
    return (total ^ (low & -low).bit_length() - 1 ^ (order == "big") << 9) & MASK


@loop
def calls(functions: int, a: int, b: int) -> int:
    one = call1(load64(functions, 0), a) + call2(load64(functions, 8), a, b)
    two = call3(load64(functions, 16), a, b, 1) + call4(load64(functions, 24), a, b, 1, 2)
    return one + two + call5(load64(functions, 32), a, b, 1, 2, 3) + call6(load64(functions, 40), a, b, 1, 2, 3, 4)


@loop
def hurried(address: int, offset: int) -> int:
    return address + prefetch(address, offset)


@inline
def plus(parameters: int, a: int) -> int:
    return a + load64(parameters, 0)


@inline
def minus(parameters: int, a: int) -> int:
    return a - load64(parameters, 0)


family: Any = Plugins(lambda: [plus, minus], how="pick")
hits: Any = Plugins(lambda: [plus, minus], how="hits", stride=8)


@loop
def picking(which: int, parameters: int, a: int) -> Any:
    return family(which, parameters, a)


@loop
def hitting(mask: int, parameters: int, a: int) -> Any:
    return hits(mask, parameters, a)


def _lowered(loops: list[Any], folder: Path) -> dict[str, Callable[..., int]]:
    """Machine code for this machine, built and loaded like the package's."""
    os.environ["NUMBA_OPT"] = "0"
    from vmsieve.formats.compiler import linker, lowering
    from vmsieve.formats.compiler.numba_backend import llvm

    target = next((t for t in lowering.TARGETS if t.name == os.uname().machine), None)
    if target is None:
        pytest.skip("loops are not lowered for this machine")
    names = [k.name for k in loops]
    path = folder / "loops.so"
    path.write_bytes(linker.shared_object(lowering._emit([(k.name, *llvm(k)) for k in loops], target), names))
    library = ctypes.CDLL(str(path))
    bound: dict[str, Any] = {}
    for k in loops:
        bound[k.name] = library[k.name]
        bound[k.name].argtypes, bound[k.name].restype = [ctypes.c_uint64] * k.arity, ctypes.c_uint64
    return bound


@pytest.fixture(
    scope="module", params=["python", *(pytest.param(b, marks=numba_installed) for b in ("jit", "lowered"))]
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[..., int]]:
    """The loops of this file on a backend, by name."""
    marked: list[Any] = [arithmetic, loops, memory, calls, hurried, picking, hitting]
    if request.param == "lowered":
        return _lowered(marked, tmp_path_factory.mktemp("lowered"))
    return {k.name: bind(k, request.param) for k in marked}


@settings(deadline=None, max_examples=200)
@given(which=st.integers(0, 16), a=WORDS, b=WORDS)
def test_arithmetic_wraps_at_64_bits(run: dict[str, Callable[..., int]], which: int, a: int, b: int) -> None:
    assert run["arithmetic"](which, a, b) == _arithmetic(which, a, b)


@settings(deadline=None, max_examples=100)
@given(
    first=st.one_of(st.integers(0, 20), st.integers(HUGE, HUGE + 20), st.integers(MASK - 30, MASK)),
    length=st.integers(-9, 20),
    most=st.integers(0, 12),
)
def test_loops_run_as_often_as_in_python(
    run: dict[str, Callable[..., int]], first: int, length: int, most: int
) -> None:
    end = min(max(first + length, 0), MASK)
    assert run["loops"](first, end, most) == _loops(first, end, most)


@settings(deadline=None, max_examples=100)
@given(value=WORDS)
def test_memory_is_reached_at_any_alignment(run: dict[str, Callable[..., int]], value: int) -> None:
    import sys

    room = ctypes.create_string_buffer(32)
    found = run["memory"](ctypes.addressof(room) + 1, value)
    order: Any = sys.byteorder
    expected = b"".join((value % (1 << 8 * n)).to_bytes(n, order) for n in (1, 2, 4, 8))
    assert room.raw == b"\0" + expected + bytes(16)
    assert found == _memory(value, order)


def test_c_functions_get_their_arguments(run: dict[str, Callable[..., int]]) -> None:
    def digits(*numbers: int) -> int:
        return int("".join(map(str, numbers)))

    callbacks = [ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * n)(digits) for n in range(1, 7)]
    table = (ctypes.c_uint64 * 6)(*(ctypes.cast(c, ctypes.c_void_p).value or 0 for c in callbacks))
    assert run["calls"](ctypes.addressof(table), 8, 9) == 8 + 89 + 891 + 8912 + 89123 + 891234


@settings(deadline=None, max_examples=50)
@given(address=WORDS, offset=WORDS)
def test_memory_asked_for_need_not_exist(run: dict[str, Callable[..., int]], address: int, offset: int) -> None:
    """A prefetch hint has no visible effect, at any address."""
    assert run["hurried"](address, offset) == address


@settings(deadline=None, max_examples=50)
@given(a=WORDS, one=WORDS, two=WORDS)
def test_a_family_is_called_by_number_or_by_mask(
    run: dict[str, Callable[..., int]], a: int, one: int, two: int
) -> None:
    own = (ctypes.c_uint64 * 2)(one, two)
    parameters = ctypes.addressof(own)
    assert run["picking"](0, parameters, a) == (a + one) & MASK
    assert run["picking"](1, parameters, a) == (a - one) & MASK
    assert run["picking"](2, parameters, a) == 0
    for mask in range(4):
        results = [(a + one) & MASK if mask & 1 else 0, (a - two) & MASK if mask & 2 else 0]
        bits = bool(results[0]) | bool(results[1]) << 1
        first = next((r for r in results if r), 0)
        assert run["hitting"](mask, parameters, a) == (bits | first << 8) & MASK


def test_a_family_without_members_is_an_error() -> None:
    with pytest.raises(DialectError, match="no plugin"):
        Plugins(list, how="pick").source("nobody")


@numba_installed
def test_two_kernels_of_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from vmsieve.formats.compiler import lowering

    modules = []
    for name in ("one", "two"):
        module = types.ModuleType(name)
        same = Loop(_arithmetic)
        same.source = types.FunctionType(_arithmetic.__code__, {"__name__": name}, "same")
        same.name = "same"
        module.__dict__["same"] = same
        modules.append(module)
    monkeypatch.setattr(lowering, "_modules", lambda: modules[:1])
    assert [k.name for k in lowering.find_loops()] == ["same"]
    monkeypatch.setattr(lowering, "_modules", lambda: modules)
    with pytest.raises(TypeError, match="two loops are named same"):
        lowering.find_loops()


def test_an_unavailable_backend_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import vmsieve.formats.compiler as loops
    from vmsieve.formats.compiler import native_backend

    monkeypatch.setattr(native_backend, "available", lambda: False)
    monkeypatch.setattr(loops, "_numba_installed", lambda: False)
    assert loops._choose("auto") == "python"
    for name, said in (("aot", "no machine code"), ("jit", "numba is not installed"), ("gpu", "no backend")):
        with pytest.raises(UsageError, match=said):
            loops._choose(name)
    monkeypatch.setattr(loops, "_numba_installed", lambda: True)
    assert (loops._choose("auto"), loops._choose("jit"), loops._choose("python")) == ("jit", "jit", "python")
    monkeypatch.setattr(native_backend, "available", lambda: True)
    assert (loops._choose("auto"), loops._choose("aot")) == ("aot", "aot")
