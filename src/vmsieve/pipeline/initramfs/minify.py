"""Makes a module smaller before it is compiled for an image, without changing what it does there.

Runs in the interpreter that the image is for. What goes: annotations (fields of classes keep their names, which
:mod:`vmsieve.formats.slim.records` asks for), what only type checkers see, the bodies of loops, which in an image are
machine code, and imports of names that nothing is left to use: a third of the modules that a capture would load.
"""

from __future__ import annotations

import ast
from typing import Any

__all__ = ["lean"]

_LOOPS = ("loop", "inline")


def lean(tree: ast.Module) -> ast.Module:
    """``tree``, of a module of this package, made smaller."""
    made: ast.Module = ast.fix_missing_locations(_Lean().visit(tree))
    used = {one.id for one in ast.walk(made) if isinstance(one, ast.Name)} | _exported(made)
    made.body = [one for one in made.body if not isinstance(one, (ast.Import, ast.ImportFrom)) or _keep(one, used)]
    return made


def _exported(tree: ast.Module) -> set[str]:
    """Names that others may import from the module, among them what it imports itself."""
    lists = [
        one.value
        for one in tree.body
        if isinstance(one, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in one.targets)
    ]
    return {str(one.value) for each in lists for one in ast.walk(each) if isinstance(one, ast.Constant)}


def _keep(node: ast.Import | ast.ImportFrom, used: set[str]) -> bool:
    """Take the names that are not used out of an import; says whether any are left."""
    node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in used]
    return bool(node.names)


class _Lean(ast.NodeTransformer):
    def __init__(self) -> None:
        self._in_class = False

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(one) for one in node.orelse] or ast.Pass()
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        return None if node.module == "__future__" else node

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return self._within(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        if any(isinstance(one, ast.Name) and one.id in _LOOPS for one in node.decorator_list):
            node.body = [ast.Pass()]
        node.returns = None
        return self._within(node, in_class=False)

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        if self._in_class:
            node.annotation = ast.Constant(None)
            return node
        return ast.Assign([node.target], node.value) if node.value is not None else ast.Pass()

    def _within(self, node: ast.AST, *, in_class: bool) -> Any:
        before, self._in_class = self._in_class, in_class
        self.generic_visit(node)
        self._in_class = before
        return node
