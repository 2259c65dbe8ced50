"""How plugins are found: in folders, with or without sources, and in a zip file."""

from __future__ import annotations

import compileall
import importlib
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from vmsieve.formats.plugins import scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

ROOM = "room_of_examples"


class Example:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A room of two plugins and a helper."""
    folder = tmp_path / "source" / ROOM
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "_helper.py").write_text("")
    (folder / "notes.txt").write_text("no module")
    for name in ("second", "first"):
        text = f"from {__name__} import Example\nONE = Example({name!r})\n"
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == ROOM]:
        del sys.modules[name]


def names(place: Path) -> list[str]:
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    room: ModuleType = importlib.import_module(ROOM)
    return [plugin.name for plugin in scan(room, "ONE", Example)]


def test_in_a_folder(made: Path) -> None:
    """In order of their names; a name that begins with an underscore is not a plugin."""
    assert names(made / "source") == ["first", "second"]


def test_without_sources(made: Path) -> None:
    """Compiled files alone, as an initramfs may hold them."""
    compileall.compile_dir(made / "source", quiet=1, legacy=True)
    for source in (made / "source" / ROOM).glob("*.py"):
        source.unlink()
    assert names(made / "source") == ["first", "second"]


def test_in_a_zip(made: Path) -> None:
    """The room is not a folder."""
    with zipfile.ZipFile(made / "rooms.zip", "w") as packed:
        for source in (made / "source" / ROOM).glob("*.py"):
            packed.write(source, f"{ROOM}/{source.name}")
    assert names(made / "rooms.zip") == ["first", "second"]


def test_a_module_without_the_constant_is_named(made: Path) -> None:
    """A module without the constant is reported."""
    (made / "source" / ROOM / "third.py").write_text("")
    with pytest.raises(TypeError, match=f"{ROOM}.third has no constant ONE"):
        names(made / "source")
