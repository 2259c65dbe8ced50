"""Context managers: the part of :mod:`contextlib` used here. For type checkers it is :mod:`contextlib`."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from contextlib import ExitStack, contextmanager, suppress
else:

    class suppress:  # noqa: N801 - contextlib's name
        """Suppress errors of these kinds."""

        def __init__(self, *kinds: type[BaseException]) -> None:
            self._kinds = kinds

        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            return kind is not None and issubclass(kind, self._kinds)

    class _Generated:
        """The context manager of a generator that yields once."""

        def __init__(self, steps: Any) -> None:
            self._steps = steps

        def __enter__(self) -> Any:
            return next(self._steps)

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            if kind is None:
                for _ in self._steps:
                    raise RuntimeError("the generator yields twice")
                return False
            try:
                self._steps.throw(error)
            except BaseException as raised:
                if raised is error:
                    return False
                if isinstance(raised, StopIteration):
                    return True
                raise
            raise RuntimeError("the generator yields twice")

    def contextmanager(function: Callable[..., Any]) -> Callable[..., _Generated]:
        """Make a context manager of a generator that yields once."""

        def made(*values: Any, **named: Any) -> _Generated:
            return _Generated(function(*values, **named))

        made.__doc__ = function.__doc__
        return made

    class ExitStack:
        """Exits contexts and calls functions at the end, last first."""

        def __init__(self) -> None:
            self._exits: list[Callable[..., Any]] = []

        def __enter__(self) -> Any:
            return self

        def enter_context(self, context: Any) -> Any:
            """Enter ``context``; exit it at the end."""
            result = context.__enter__()
            self._exits.append(context.__exit__)
            return result

        def callback(self, function: Callable[..., Any]) -> None:
            """Call ``function`` at the end."""
            self._exits.append(lambda *_: function() and None)

        def push(self, leave: Callable[..., Any]) -> None:
            """Call ``leave`` at the end as a context's ``__exit__``."""
            self._exits.append(leave)

        def pop_all(self) -> Any:
            """Move everything to a new stack."""
            other = ExitStack()
            other._exits, self._exits = self._exits, []
            return other

        def close(self) -> None:
            """Exit now."""
            self.__exit__(None, None, None)

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            left, self._exits = self._exits, []
            return _leave(left, kind, error, trace)

    def _leave(exits: list[Callable[..., Any]], kind: Any, error: Any, trace: Any) -> bool:
        """Call ``exits`` from the last on; each exception is passed to the remaining exits."""
        while exits:
            try:
                if exits.pop()(kind, error, trace):
                    kind = error = trace = None
            except BaseException as raised:
                if not _leave(exits, type(raised), raised, raised.__traceback__):
                    raise
                return True
        return kind is None


__all__ = ["ExitStack", "contextmanager", "suppress"]
