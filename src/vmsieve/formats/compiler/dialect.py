"""The dialect of loops: Python syntax, unsigned 64-bit meaning.

A loop's source is rewritten before it runs or is compiled, because Python's ints are unbounded and numba makes an
unsigned number signed when it meets a literal. Afterwards every literal and module constant is an unsigned 64-bit
value, every result that could exceed the range wraps, and every function returns such a value.

Allowed: ``if``, ``while``, ``for i in range(a)`` and ``range(a, b)``, ``break``, ``continue``, ``return``, assignment
to names, integer arithmetic, comparisons, ``min`` and ``max``, constants of modules (``SIZE``, ``at.SIZE``), calls of
primitives, of :func:`~vmsieve.formats.compiler.inline` helpers and of
:class:`~vmsieve.formats.compiler.families.Plugins`. Anything else is a :class:`DialectError` when the loop is built. A
comparison used as a value is 1 or 0. Shifts by 64 or more and divisions by 0 are forbidden: machines differ in the
result.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from types import ModuleType

from vmsieve.formats.compiler import primitives
from vmsieve.formats.compiler.families import DialectError, Plugins
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmsieve.formats.compiler import Loop

MASK: Final = (1 << 64) - 1
_WRAPPING: Final = (ast.Add, ast.Sub, ast.Mult, ast.LShift)
_STATEMENTS: Final = (
    ast.Assign, ast.AugAssign, ast.If, ast.While, ast.For, ast.Break, ast.Continue, ast.Return, ast.Expr, ast.Pass,
)  # fmt: skip


class _Rewriter(ast.NodeTransformer):
    """Give one function's tree its unsigned meaning."""

    def __init__(self, where: str, space: Mapping[str, Any], spelling: Spelling) -> None:
        self.where, self.space, self.constant, self.wraps = where, space, spelling.constant, spelling.wraps
        self.locals: set[str] = set()

    def fail(self, node: ast.AST, what: str) -> DialectError:
        return DialectError(f"{self.where}:{getattr(node, 'lineno', 0)}: {what} is not in the loops' dialect")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        more = (node.args.defaults, node.args.kwonlyargs, node.args.posonlyargs, node.args.vararg, node.args.kwarg)
        if any(more):
            raise self.fail(node, "any but plain arguments")
        node.decorator_list = []
        node.returns = None
        self.locals = {a.arg for a in node.args.args}
        self.locals |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for argument in node.args.args:
            argument.annotation = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if not isinstance(node.body[-1], ast.Return):
            raise self.fail(node, "a function that does not end with return")
        node.body = [self.statement(s) for s in node.body]
        return node

    def statement(self, node: ast.stmt) -> ast.stmt:
        if not isinstance(node, _STATEMENTS):
            raise self.fail(node, type(node).__name__)
        if isinstance(node, ast.AugAssign):
            if not isinstance(node.target, ast.Name):
                raise self.fail(node, "assignment to anything but one name")
            left = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
            binary = ast.copy_location(ast.BinOp(left, node.op, node.value), node)
            node = ast.copy_location(ast.Assign([node.target], binary), node)
        if isinstance(node, ast.Assign):
            if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
                raise self.fail(node, "assignment to anything but one name")
            node.value = self.integer(node.value)
        elif isinstance(node, ast.Return):
            if node.value is None:
                raise self.fail(node, "return without a value")
            node.value = self.integer(node.value)
        elif isinstance(node, (ast.If, ast.While)):
            node.test = self.visit(node.test)
        elif isinstance(node, ast.For):
            self.check_loop(node)
            node.iter = self.visit(node.iter)
        elif isinstance(node, ast.Expr):
            node.value = self.visit(node.value)
        for field in ("body", "orelse"):
            if hasattr(node, field):
                setattr(node, field, [self.statement(s) for s in getattr(node, field)])
        return node

    def check_loop(self, node: ast.For) -> None:
        call = node.iter
        ranged = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"
        if not isinstance(node.target, ast.Name) or not ranged or len(cast("ast.Call", call).args) > 2:
            raise self.fail(node, "a for loop over anything but range(a) or range(a, b)")

    def integer(self, node: ast.expr) -> ast.expr:
        """Rewrite ``node`` as a value: a truth value becomes 1 or 0."""
        truth = isinstance(node, (ast.Compare, ast.BoolOp)) or (
            isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        )
        if truth:
            node = ast.copy_location(ast.IfExp(node, ast.Constant(1), ast.Constant(0)), node)
        return cast("ast.expr", self.visit(node))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool) or not isinstance(node.value, int) or not 0 <= node.value <= MASK:
            raise self.fail(node, f"the constant {node.value!r}")
        return ast.copy_location(self.constant(node.value), node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.locals or node.id in ("range", "min", "max"):
            return node
        if node.id not in self.space:
            raise self.fail(node, f"the unknown name {node.id}")
        value = self.space[node.id]
        if isinstance(value, int):
            return self.visit_Constant(ast.copy_location(ast.Constant(int(value)), node))
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id not in self.locals:
            module = self.space.get(owner.id)
            value = getattr(module, node.attr, None)
            if isinstance(module, ModuleType) and isinstance(value, int):
                return self.visit_Constant(ast.copy_location(ast.Constant(int(value)), node))
        raise self.fail(node, "an attribute other than a module's constant")

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, (ast.Div, ast.Pow, ast.MatMult)):
            raise self.fail(node, type(node.op).__name__)
        node.left = self.integer(node.left)
        node.right = self.integer(node.right)
        if self.wraps and isinstance(node.op, _WRAPPING):
            return ast.copy_location(ast.BinOp(node, ast.BitAnd(), ast.Constant(MASK)), node)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if any(isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in node.ops):
            raise self.fail(node, "is or in")
        node.left = self.integer(node.left)
        node.comparators = [self.integer(c) for c in node.comparators]
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        node.test = self.visit(node.test)
        node.body, node.orelse = self.integer(node.body), self.integer(node.orelse)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if node.keywords or not isinstance(node.func, ast.Name):
            raise self.fail(node, "a call with keywords, or of anything but a name")
        node.func = self.visit(node.func)
        node.args = [self.integer(argument) for argument in node.args]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            node.operand = self.visit(node.operand)
            return node
        if isinstance(node.op, ast.Invert):
            flipped = ast.BinOp(self.integer(node.operand), ast.BitXor(), self.constant(MASK))
            return ast.copy_location(flipped, node)
        raise self.fail(node, type(node.op).__name__)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, (ast.BoolOp, ast.And, ast.Or)):
            raise self.fail(node, type(node).__name__)
        return super().generic_visit(node)


@dataclass(frozen=True)
class Spelling:
    """How a backend spells the dialect."""

    constant: Callable[[int], ast.expr]  #: Spells a constant.
    wraps: bool  #: Results must be masked to 64 bits (interpreter); machine integers wrap by themselves.
    names: Mapping[str, Any]  #: The backend's primitives by name, and the names that ``constant`` uses.
    #: Makes a rewritten inline function callable from a loop.
    helper: Callable[[Callable[..., int]], Callable[..., int]]


def rewrite(function: Callable[..., int], spelling: Spelling) -> Callable[..., int]:
    """Return a loop's source or inline helper with unsigned 64-bit meaning, as a new Python function."""
    text = textwrap.dedent(inspect.getsource(function))
    return _rewrite_text(text, function.__name__, function.__module__, function.__globals__, spelling)


def _rewrite_text(text: str, name: str, where: str, space: Mapping[str, Any], spelling: Spelling) -> Callable[..., int]:
    tree = ast.parse(text)
    rewriter = _Rewriter(f"{where}.{name}", space, spelling)
    tree.body = [rewriter.visit(tree.body[0])]
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - rewriter.locals
    namespace: dict[str, Any] = dict(spelling.names)
    for used_name in used & set(space):
        value = space[used_name]
        if isinstance(value, int):
            continue
        if callable(value) and value in primitives.NAMES:
            namespace[used_name] = spelling.names[primitives.NAMES[value]]
        elif getattr(value, "__vmsieve_inline__", False):
            namespace[used_name] = spelling.helper(rewrite(value, spelling))
        elif isinstance(value, Plugins):
            plugin_text, plugin_space = value.source(used_name)
            namespace[used_name] = spelling.helper(_rewrite_text(plugin_text, used_name, where, plugin_space, spelling))
        else:
            raise DialectError(f"{where}.{name}: {used_name} is neither a constant, a primitive nor an inline function")
    exec(compile(ast.fix_missing_locations(tree), f"<loop {where}.{name}>", "exec"), namespace)
    return cast("Callable[..., int]", namespace[name])


def bind(a_loop: Loop) -> Callable[..., int]:
    """Bind ``a_loop`` to the interpreter."""
    names = {name: function for function, name in primitives.NAMES.items()}
    return rewrite(a_loop.source, Spelling(ast.Constant, wraps=True, names=names, helper=lambda f: f))
