"""Plugins in loops: a family of inline functions combined into one when a loop is built."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Any, Callable


class DialectError(TypeError):
    """A loop uses something outside the dialect."""


class Plugins:
    """One inline function from each plugin of a room, called by a loop as one function.

    Args:
        collect: Returns the functions; called when a loop is built, so a new plugin file needs no other edit.
        how: ``"pick"``: the first argument is the index of the function to call; 0 is returned for an index out of
            range. ``"hits"``: the first argument is a mask; function *i* is called only if bit *i* is set, without the
            mask, its first argument the address of its own parameters (``second argument + i * stride``). Bit *i* of
            the result is set if it returned non-zero; from bit 8 on stands the first non-zero result.
        stride: Bytes between two functions' parameters, for ``"hits"``.
    """

    def __init__(self, collect: Callable[[], list[Callable[..., int]]], how: str, stride: int = 0) -> None:
        self.collect = collect
        self.how = how
        self.stride = stride

    def source(self, name: str) -> tuple[str, dict[str, Any]]:
        """Dialect source of the combined function, and the names it uses."""
        functions = self.collect()
        if not functions:
            raise DialectError(f"{name}: the room has no plugin for it")
        arguments = functions[0].__code__.co_varnames[: functions[0].__code__.co_argcount]
        space = {f"{name}_{i}": function for i, function in enumerate(functions)}
        if self.how == "pick":
            lines = [f"def {name}(which, {', '.join(arguments)}):"]
            for i in range(len(functions)):
                lines += [f"    if which == {i}:", f"        return {name}_{i}({', '.join(arguments)})"]
            lines.append("    return 0")
        else:
            own, *rest = arguments
            lines = [f"def {name}(mask, {own}, {', '.join(rest)}):", "    bits = 0", "    first = 0"]
            for i in range(len(functions)):
                call = f"{name}_{i}({', '.join([f'{own} + {i * self.stride}', *rest])})"
                lines += [
                    f"    if mask & {1 << i}:",
                    f"        hit = {call}",
                    "        if hit != 0:",
                    f"            bits |= {1 << i}",
                    "            if first == 0:",
                    "                first = hit",
                ]
            lines.append("    return bits | first << 8")
        return "\n".join(lines), space
