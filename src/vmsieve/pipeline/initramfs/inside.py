"""Runs in the interpreter that an image is made for: reports what the commands load, and compiles modules.

Started as a separate program (``-I -S -B``), so that little else is loaded. The task comes on standard input, the
answer goes to standard output, both as Python literals.
"""

from __future__ import annotations

import os
import sys

# ruff: noqa: T201


def _quietly(module: str, runs: list[list[str]]) -> None:
    """Run command lines with the ``main`` of ``module``, standard streams on /dev/null, ignoring exit statuses."""
    __import__(module)
    kept = [os.dup(fd) for fd in (0, 1, 2)]
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    try:
        for command in runs:
            try:
                sys.modules[module].main(command)
            except SystemExit:
                continue
    finally:
        sys.stdout.flush()
        for fd, copy in enumerate(kept):
            os.dup2(copy, fd)


def _mapped() -> list[str]:
    """Files mapped into this process."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in file if line.count("/")}
    return sorted(path for path in paths if path.startswith("/") and not path.endswith("(deleted)"))


def probe(task: dict) -> dict:  # type: ignore[type-arg]  # Python 3.9, and nothing imported for it
    """Run the commands; returns the modules loaded (name -> file, is frozen) and the files mapped."""
    sys.path += task["path"]
    for name in task["hidden"]:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in task["modules"]:
        try:
            __import__(name)
        except ImportError:
            continue  # the name of a function, ``a.b``
    _quietly(task["main"], task["runs"])
    modules = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        file = getattr(module, "__file__", None)
        if file and name != "__main__":
            modules[name] = (os.path.realpath(file), getattr(spec, "origin", None) == "frozen")
    return {"modules": modules, "mapped": _mapped()}


def about(task: dict) -> dict:  # type: ignore[type-arg]
    """Paths and version of this interpreter."""
    del task
    base = getattr(sys, "_base_executable", None) or sys.executable
    return {
        "program": os.path.realpath(base),
        "version": "{}.{}.{}".format(*sys.version_info[:3]),
        "short": "python{}.{}".format(*sys.version_info[:2]),
        "library": os.path.dirname(os.path.realpath(os.__file__)),
        "folder": getattr(sys, "platlibdir", "lib"),
        "machine": os.uname().machine,
    }


def compile_each(task: dict) -> dict:  # type: ignore[type-arg]
    """Compile sources to reproducible bytecode, without docstrings and assertions.

    ``files`` (target, source, name for tracebacks, minify) become .pyc files; ``modules`` (name, is package, source,
    name for tracebacks, minify) go into one bundle.
    """
    import importlib.util
    import marshal

    sys.path += task["path"]
    from vmsieve.pipeline.initramfs.bundle import pack

    for target, *one in task["files"]:
        with open(target, "wb") as file:
            # Flags: unchecked hash, because there is no source to compare with (PEP 552).
            file.write(importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(_code(*one)))
    modules = {name: (package, marshal.dumps(_code(*one))) for name, package, *one in task["modules"]}
    with open(task["bundle"], "wb") as file:
        file.write(pack(modules))
    return {}


def _code(source: str, name: str, small: bool):  # type: ignore[no-untyped-def]
    """Compile a source, or load a .pyc file."""
    import ast

    from vmsieve.pipeline.initramfs.minify import minify

    if source.endswith(".pyc"):
        import marshal

        with open(source, "rb") as file:
            return marshal.loads(file.read()[16:])
    with open(source, "rb") as file:
        tree = ast.parse(file.read(), name)
    return compile(minify(tree) if small else tree, name, "exec", dont_inherit=True, optimize=2)


if __name__ == "__main__":
    given = eval(sys.stdin.read(), {})
    answer = {"probe": probe, "about": about, "compile": compile_each}[given["what"]](given)
    print(repr(answer))
