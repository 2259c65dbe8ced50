"""numba's part: compiled primitives, the ``jit`` backend, and LLVM code for the build.

Imported only on developers' machines and in the build: ``import numba`` costs 140 MiB.
"""

from __future__ import annotations

import ast
import ctypes
import inspect
import sys

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vmsieve.formats.compiler import primitives
from vmsieve.formats.compiler.dialect import Spelling, rewrite
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable, Final, cast

if TYPE_CHECKING:
    from vmsieve.formats.compiler import Loop

U64: Final = types.uint64
_I64: Final = ir.IntType(64)
_BYTE: Final = ir.IntType(8)
_ZERO: Final = ir.Constant(_I64, 0)
#: Global variable with a module's byte order. numba lowers before the target is chosen, so it has this machine's
#: value; the build replaces it by the target's.
BIG_ENDIAN: Final = "vmsieve.big_endian"
_OWN_WORD: Final = "vmsieve.own_word"


def _intrinsic(arity: int, build: Callable[..., Any]) -> Any:
    """Make an intrinsic of ``arity`` unsigned 64-bit arguments; ``build(builder, *arguments)`` emits its code."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return build(builder, *arguments)

    # numba takes the number of arguments from the signature, so one function per number is generated.
    names = ", ".join(["context", *(f"a{i}" for i in range(arity))])
    space: dict[str, Any] = {"found": (U64(*[U64] * arity), generate)}
    exec(f"def primitive({names}):\n    return found", space)
    return intrinsic(space["primitive"])


def _pointer(builder: Any, base: Any, offset: Any, kind: Any) -> Any:
    """Form ``base + offset`` with getelementptr, so that the optimiser sees neighbouring accesses as neighbours."""
    pointer = builder.gep(builder.inttoptr(base, _BYTE.as_pointer()), [offset], source_etype=_BYTE)
    return builder.bitcast(pointer, kind.as_pointer())


def _widened(builder: Any, value: Any) -> Any:
    return value if value.type == _I64 else builder.zext(value, _I64)


def _narrowed(builder: Any, value: Any, bits: int) -> Any:
    return value if bits == 64 else builder.trunc(value, ir.IntType(bits))


def _load(bits: int) -> Any:
    def build(builder: Any, base: Any, offset: Any) -> Any:
        kind = ir.IntType(bits)
        return _widened(builder, builder.load(_pointer(builder, base, offset, kind), align=1, typ=kind))

    return _intrinsic(2, build)


def _store(bits: int) -> Any:
    def build(builder: Any, base: Any, offset: Any, value: Any) -> Any:
        pointer = _pointer(builder, base, offset, ir.IntType(bits))
        builder.store(_narrowed(builder, value, bits), pointer, align=1)
        return _ZERO

    return _intrinsic(3, build)


def _swap(bits: int) -> Any:
    return _intrinsic(1, lambda builder, value: _widened(builder, builder.bswap(_narrowed(builder, value, bits))))


def _ctz64(builder: Any, value: Any) -> Any:
    return builder.cttz(value, ir.Constant(ir.IntType(1), 1))


def _big_endian(builder: Any) -> Any:
    known = _global(builder.module, BIG_ENDIAN, ir.Constant(_I64, int(sys.byteorder == "big")))
    known.global_constant = True
    return builder.load(known)


def _global(module: Any, name: str, value: Any) -> Any:
    """The module's variable ``name``, set to ``value`` when it is made."""
    if name not in module.globals:
        made = ir.GlobalVariable(module, _I64, name)
        made.linkage = "internal"
        made.initializer = value
    return module.globals[name]


def _prefetch(builder: Any, base: Any, offset: Any) -> Any:
    name, small = "llvm.prefetch.p0", ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), small, small, small])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    # Read access, high locality, data cache.
    builder.call(function, [_pointer(builder, base, offset, _BYTE), small(0), small(3), small(1)])
    return _ZERO


def _own_word(builder: Any) -> Any:
    word = _global(builder.module, _OWN_WORD, _ZERO)
    # Empty assembly hides the address from LLVM, which would fold offsets into it and need more relocation kinds.
    return builder.asm(ir.FunctionType(_I64, [_I64]), "", "=r,0", [builder.ptrtoint(word, _I64)], False)


def _call(builder: Any, function: Any, *arguments: Any) -> Any:
    prototype = ir.FunctionType(_I64, [_I64] * len(arguments))
    return builder.call(builder.inttoptr(function, prototype.as_pointer()), arguments)


_PRIMITIVES: Final[dict[str, Any]] = {
    **{f"load{bits}": _load(bits) for bits in (8, 16, 32, 64)},
    **{f"store{bits}": _store(bits) for bits in (8, 16, 32, 64)},
    **{f"swap{bits}": _swap(bits) for bits in (16, 32, 64)},
    "ctz64": _intrinsic(1, _ctz64),
    "big_endian": _intrinsic(0, _big_endian),
    "prefetch": _intrinsic(2, _prefetch),
    "own_word": _intrinsic(0, _own_word),
    **{f"call{count}": _intrinsic(count + 1, _call) for count in primitives.CALLS},
    "u64": U64,
}


def _constant(value: int) -> ast.expr:
    return ast.Call(ast.Name("u64", ast.Load()), [ast.Constant(value)], [])


def _helper(function: Callable[..., int]) -> Callable[..., int]:
    count = len(inspect.getfullargspec(function).args)
    return cast("Callable[..., int]", numba.njit(U64(*[U64] * count), error_model="numpy")(function))


def _compile(a_loop: Loop) -> Any:
    function = rewrite(a_loop.source, Spelling(_constant, wraps=False, names=_PRIMITIVES, helper=_helper))
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
