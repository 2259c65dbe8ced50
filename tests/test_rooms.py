"""The rooms' rules: allowed imports, modules loaded by the capture path, and sizes."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
from perf import rooms

import vmsieve
from tests.dumps import PACKAGE, ROOT, dump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOMS = ("formats", "filters", "pipeline")
#: Rooms that each room may import.
MAY_IMPORT = {
    "formats": {"formats"},
    "filters": {"formats", "filters"},
    "pipeline": {"formats", "filters", "pipeline"},
}
#: Packages from outside, and the modules that may import them.
OUTSIDE = {
    "numba": ("formats/compiler/numba_backend.py", "formats/compiler/lowering.py"),
    "llvmlite": ("formats/compiler/numba_backend.py", "formats/compiler/lowering.py"),
    "tqdm": ("pipeline/process/progress.py",),
    "PIL": ("pipeline/inspect/picture.py",),
    "elftools": ("filters/linux/debuginfo/",),
    "zstandard": ("formats/codecs/", "formats/frames/"),
    "lz4": ("formats/codecs/", "formats/frames/"),
    "isal": ("formats/codecs/", "formats/frames/"),
}
#: Modules that the capture path has no memory for.
HEAVY = ("numba", "llvmlite", "numpy", "elftools", "tqdm", "hypothesis", "multiprocessing", "asyncio", "logging")
#: MiB that a dump of the demo may take at its peak; the interpreter alone takes 9.
MEMORY_BUDGET = 20

FILE_LINES = 350
FUNCTION_LINES = 45
#: Everything is inlined into a loop, including constants and contract.
LOOP_LINES = 100


def modules() -> list[Path]:
    """Every Python file that is installed."""
    found = [path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")]
    assert len(found) > 60
    return sorted(found) + sorted(PACKAGE.glob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(node: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Dotted names that are imported anywhere below ``node``, in functions and for type checkers too."""
    for one in ast.walk(node):
        if isinstance(one, ast.Import):
            for alias in one.names:
                yield alias.name, one
        elif isinstance(one, ast.ImportFrom):
            assert not one.level, "imports name the package: they read the same everywhere"
            for alias in one.names:
                yield f"{one.module}.{alias.name}", one


def shipped(room: str) -> list[Path]:
    return [path for path in modules() if name(path).startswith(f"{room}/")]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    """pipeline, filters, formats: each imports later ones and never earlier ones, not even for type checkers."""
    wrong = [
        f"{name(path)} imports {dotted}"
        for path in shipped(room)
        for dotted, _ in imports(tree(path))
        if dotted.startswith("vmsieve.")
        and dotted.split(".")[1] in ROOMS
        and dotted.split(".")[1] not in MAY_IMPORT[room]
    ]
    assert not wrong


def test_imports_between_rooms_form_no_circle() -> None:
    """On each floor, imports for type checkers included: a room can be read without the rooms that import it."""
    assert not [one for one, others in rooms.reach(rooms.arrows()).items() if one in others]


def test_no_two_modules_import_each_other() -> None:
    """Within a room too; a package and its modules excepted, as ``__init__`` finds or re-exports them."""
    graph = {
        dotted: {other for other in rooms.imports(path, found) if other in found}
        for found in [rooms.modules()]
        for dotted, path in found.items()
    }
    pairs = {(one, other) for one, others in graph.items() for other in others if one in graph[other] and one != other}
    assert not [
        pair for pair in pairs if not pair[0].startswith(f"{pair[1]}.") and not pair[1].startswith(f"{pair[0]}.")
    ]


def test_the_picture_in_the_design_is_drawn_from_the_imports() -> None:
    """``python -m perf.rooms docs/rooms.svg`` draws it again."""
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == rooms.draw(rooms.arrows())


def test_each_room_says_what_belongs_there() -> None:
    """And what does not, in the docstring of its package; it decides where a new file goes."""
    packages = [path for path in modules() if path.name == "__init__.py" and path.parent.parent.parent == PACKAGE]
    assert len(packages) > 15
    texts = {name(path): ast.get_docstring(tree(path)) or "" for path in packages}
    assert not [one for one, text in texts.items() if len(text.splitlines()) < 3]


def test_the_rooms_reach_each_other_by_the_package_only() -> None:
    """``import formats`` would work in a checkout and fail in an installed package."""
    wrong = [
        f"{name(path)} imports {dotted}"
        for path in modules()
        for dotted, _ in imports(tree(path))
        if dotted.split(".")[0] in (*ROOMS, "tests", "perf", "src")
    ]
    assert not wrong


def test_only_named_modules_import_packages_from_outside() -> None:
    """The standard library suffices, except for the compiler, the codecs' wheels, the progress bar and letters."""
    wrong = []
    for path in modules():
        for dotted, _ in imports(tree(path)):
            top = dotted.split(".")[0]
            if top in sys.stdlib_module_names or top == "vmsieve":
                continue
            if not name(path).startswith(OUTSIDE.get(top, ("nowhere",))):
                wrong.append(f"{name(path)} imports {dotted}")
    assert not wrong


def test_packages_from_outside_are_imported_when_they_are_needed() -> None:
    """Importing a module must not load numba, nor require zstandard."""
    compiler = OUTSIDE["numba"]
    wrong = [
        f"{name(path)} imports {dotted}"
        for path in modules()
        if name(path) not in compiler
        for statement in tree(path).body
        if not isinstance(statement, (ast.FunctionDef, ast.ClassDef))
        for dotted, _ in imports(statement)
        if dotted.split(".")[0] in OUTSIDE
    ]
    assert not wrong


def plugin_rooms() -> Iterator[tuple[Path, str]]:
    """Packages that scan themselves for plugins, and the function that does."""
    for path in (p for p in modules() if p.name == "__init__.py"):
        for function in tree(path).body:
            calls = [n for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
            if isinstance(function, ast.FunctionDef) and any(ast.unparse(c.func) == "scan" for c in calls):
                yield path.parent, function.name


def test_every_plugin_room_can_be_scanned() -> None:
    """Each file of a plugin room is found as a plugin; an empty room would be a scan that finds nothing."""
    rooms = list(plugin_rooms())
    assert {"inputs", "outputs", "codecs", "arch", "rules", "commands"} <= {room.name for room, _ in rooms}
    for room, function in rooms:
        files = [path for path in room.glob("*.py") if not path.name.startswith("_")]
        found = getattr(importlib.import_module(f"vmsieve.{name(room).replace('/', '.')}"), function)()
        assert len(found) == len(files) > 0, room


def test_a_plugin_without_its_constant_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file that forgets ``CODEC`` is an error that names it, not a plugin that is silently missing."""
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.plugins import scan

    (tmp_path / "made_up_room").mkdir()
    (tmp_path / "made_up_room" / "__init__.py").touch()
    (tmp_path / "made_up_room" / "forgetful.py").write_text("CODEK = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    room = importlib.import_module("made_up_room")
    with pytest.raises(TypeError, match=r"made_up_room\.forgetful has no constant CODEC"):
        scan(room, "CODEC", Codec)


def loops_in_tests() -> set[str]:
    """Names that tests take from the loop rooms: imported from a module there, or as an attribute of one."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        imported = [
            alias
            for one in ast.walk(tree(path))
            if isinstance(one, ast.ImportFrom)
            and re.match(r"vmsieve\.(\w+\.loops|formats\.codecs\._pack)\b", one.module or "")
            for alias in one.names
        ]
        called = {alias.asname or alias.name for alias in imported}
        found |= {alias.name for alias in imported}
        found |= {
            one.attr
            for one in ast.walk(tree(path))
            if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id in called
        }
    return found


def test_every_loop_says_what_it_does_and_is_tested_by_itself() -> None:
    """A loop has a docstring, and a test that calls it directly and compares it with a plain Python twin."""
    from vmsieve.formats.compiler import lowering

    loops = lowering.find_loops()
    tested = loops_in_tests()
    assert len(loops) > 10
    assert not [k.name for k in loops if not k.__doc__]
    assert not [k.name for k in loops if k.name not in tested]


def is_loop(function: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id in ("loop", "inline") for d in function.decorator_list)


def test_files_and_functions_stay_small() -> None:
    """Files and functions stay below these sizes; larger ones usually do several things."""
    large = []
    for path in modules():
        lines = path.read_text().count("\n")
        if lines > FILE_LINES:
            large.append(f"{name(path)}: {lines} lines")
        for one in ast.walk(tree(path)):
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (one.end_lineno or 0) - one.lineno + 1
                cap = LOOP_LINES if isinstance(one, ast.FunctionDef) and is_loop(one) else FUNCTION_LINES
                if length > cap:
                    large.append(f"{name(path)}: {one.name} has {length} lines")
    assert not large


CAPTURE = """
import json, sys
from vmsieve.pipeline.cli.main import main
status = main(sys.argv[1:])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"status": status, "peak": peak, "modules": sorted(sys.modules)}))
"""


@pytest.mark.parametrize("packing", ["-c", "-l", "-p", "-z", "-E"])
def test_a_capture_loads_little_and_needs_little(packing: str, scratch: Path, tmp_path: Path) -> None:
    """As in a crash kernel: no compiler, no numpy, no progress bar; and within the memory budget."""
    source = dump("demo.elf", scratch)
    command = [sys.executable, "-c", CAPTURE, "dump", "-q", "-d", "31", packing, str(source), str(tmp_path / "out")]
    ran = subprocess.run(
        command, env={"PYTHONPATH": str(next(iter(vmsieve.__path__)) + "/.."), "VMSIEVE_KERNELS": "aot"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(ran.stdout)
    assert told["status"] == 0
    assert not [m for m in told["modules"] if m.split(".")[0] in HEAVY]
    assert told["peak"] < MEMORY_BUDGET * 1024
    assert (tmp_path / "out").stat().st_size > 1 << 20
