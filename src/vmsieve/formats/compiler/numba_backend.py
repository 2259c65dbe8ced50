"""numba's part: compiled primitives, the ``jit`` backend, and LLVM code for the build.

Imported only on developers' machines and in the build: ``import numba`` costs 140 MiB.
"""

from __future__ import annotations

import ast
import ctypes
import inspect
import sys
from typing import TYPE_CHECKING, Any, Callable, Final, cast

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vmsieve.formats.compiler import primitives
from vmsieve.formats.compiler.dialect import rewrite

if TYPE_CHECKING:
    from vmsieve.formats.compiler import Loop

__all__ = ["BIG_ENDIAN", "bind", "llvm"]

U64: Final = types.uint64
_I64: Final = ir.IntType(64)
_BYTE: Final = ir.IntType(8)
#: Global variable with a module's byte order. numba lowers before the target is chosen, so it has this machine's
#: value; the build replaces it by the target's.
BIG_ENDIAN: Final = "vmsieve.big_endian"
_OWN_WORD: Final = "vmsieve.own_word"


def _byte_pointer(builder: Any, base: Any, offset: Any) -> Any:
    """Form ``base + offset`` with getelementptr, so that the optimiser sees neighbouring accesses as neighbours."""
    pointer = builder.inttoptr(base, _BYTE.as_pointer())
    return builder.gep(pointer, [offset], source_etype=_BYTE)


def _load(bits: int) -> Any:
    @intrinsic
    def load(context: Any, base: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            pointer = builder.bitcast(_byte_pointer(builder, *arguments), kind.as_pointer())
            value = builder.load(pointer, align=1, typ=kind)
            return value if bits == 64 else builder.zext(value, _I64)

        return U64(U64, U64), generate

    return load


def _store(bits: int) -> Any:
    @intrinsic
    def store(context: Any, base: Any, offset: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            pointer = builder.bitcast(_byte_pointer(builder, *arguments[:2]), kind.as_pointer())
            word = arguments[2] if bits == 64 else builder.trunc(arguments[2], kind)
            builder.store(word, pointer, align=1)
            return ir.Constant(_I64, 0)

        return U64(U64, U64, U64), generate

    return store


def _swap(bits: int) -> Any:
    @intrinsic
    def swap(context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            word = arguments[0] if bits == 64 else builder.trunc(arguments[0], kind)
            word = builder.bswap(word)
            return word if bits == 64 else builder.zext(word, _I64)

        return U64(U64), generate

    return swap


@intrinsic
def _ctz64(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return U64(U64), generate


@intrinsic
def _big_endian(context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known = builder.module.globals.get(BIG_ENDIAN)
        if known is None:
            known = ir.GlobalVariable(builder.module, _I64, BIG_ENDIAN)
            known.linkage = "internal"
            known.global_constant = True
            known.initializer = ir.Constant(_I64, int(sys.byteorder == "big"))
        return builder.load(known)

    return U64(), generate


@intrinsic
def _prefetch(context: Any, base: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name, small = "llvm.prefetch.p0", ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), small, small, small])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        # Read access, high locality, data cache.
        builder.call(function, [_byte_pointer(builder, *arguments), small(0), small(3), small(1)])
        return ir.Constant(_I64, 0)

    return U64(U64, U64), generate


@intrinsic
def _own_word(context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.module.globals.get(_OWN_WORD)
        if word is None:
            word = ir.GlobalVariable(builder.module, _I64, _OWN_WORD)
            word.linkage = "internal"
            word.initializer = ir.Constant(_I64, 0)
        address = builder.ptrtoint(word, _I64)
        # Empty assembly hides the address from LLVM, which would fold offsets into it and need more relocation kinds.
        return builder.asm(ir.FunctionType(_I64, [_I64]), "", "=r,0", [address], False)

    return U64(), generate


def _call(count: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        prototype = ir.FunctionType(_I64, [_I64] * count)
        return builder.call(builder.inttoptr(arguments[0], prototype.as_pointer()), arguments[1:])

    def typing(context: Any, *arguments: Any) -> Any:
        return U64(*[U64] * (count + 1)), generate

    # numba takes the number of arguments from the signature, so one function per number is generated.
    names = ", ".join(["context", "function", *(f"a{i}" for i in range(count))])
    given = ", ".join(["function", *(f"a{i}" for i in range(count))])
    space: dict[str, Any] = {"typing": typing}
    exec(f"def call{count}({names}):\n    return typing(context, {given})", space)
    return intrinsic(space[f"call{count}"])


_PRIMITIVES: Final[dict[str, Any]] = {
    **{f"load{bits}": _load(bits) for bits in (8, 16, 32, 64)},
    **{f"store{bits}": _store(bits) for bits in (8, 16, 32, 64)},
    **{f"swap{bits}": _swap(bits) for bits in (16, 32, 64)},
    "ctz64": _ctz64,
    "big_endian": _big_endian,
    "prefetch": _prefetch,
    "own_word": _own_word,
    **{f"call{count}": _call(count) for count in primitives.CALLS},
    "u64": U64,
}


def _constant(value: int) -> ast.expr:
    return ast.Call(ast.Name("u64", ast.Load()), [ast.Constant(value)], [])


def _helper(function: Callable[..., int]) -> Callable[..., int]:
    count = len(inspect.getfullargspec(function).args)
    return cast("Callable[..., int]", numba.njit(U64(*[U64] * count), error_model="numpy")(function))


def _compile(a_loop: Loop) -> Any:
    function = rewrite(a_loop.source, constant=_constant, wraps=False, names=_PRIMITIVES, helper=_helper)
    signature = U64(*[U64] * a_loop.arity)
    return numba.cfunc(signature, error_model="numpy")(function)


def llvm(a_loop: Loop) -> tuple[str, str]:
    """Name of the entry function and self-contained LLVM assembly of ``a_loop``."""
    compiled = _compile(a_loop)
    return compiled.native_name, compiled.inspect_llvm()


def bind(a_loop: Loop) -> Callable[..., int]:
    """Compile ``a_loop`` for this machine; calls release the GIL."""
    compiled = _compile(a_loop)
    prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * a_loop.arity)
    function = prototype(compiled.address)
    function.compiled = compiled  # type: ignore[attr-defined]  # keeps the machine code alive
    return cast("Callable[..., int]", function)
