"""A made-up machine and its memory, shared by the session: tests that modify one make their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.build import kdump_system
from tests.dumps import dump
from tests.pipeline.dump.torn_kit import FORMATS
from tests.pipeline.kit import kept, machine, make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.build.machine import Machine


@pytest.fixture(scope="session")
def built() -> Machine:
    """A machine with every kind of page."""
    return machine()


@pytest.fixture(scope="session")
def truth(built: Machine) -> dict[int, bytes]:
    """The machine's pages."""
    return built.contents()


@pytest.fixture(scope="session")
def core(built: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's memory as an ELF core."""
    return built.write(tmp_path_factory.mktemp("machine") / "core")


@pytest.fixture(scope="session")
def small(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an undisturbed dump of it at level 31."""
    out = tmp_path_factory.mktemp("small") / "small"
    make(core, out, 31)
    return out


@pytest.fixture(scope="session")
def zlib_dump(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, packed with zlib."""
    out = tmp_path_factory.mktemp("zlib") / "small"
    make(core, out, 31, codec="zlib")
    return out


@pytest.fixture(scope="session")
def wholes(core: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """The pages of an undisturbed level 31 dump in each format."""
    folder, found = tmp_path_factory.mktemp("wholes"), {}
    for form in FORMATS:
        make(core, folder / form, 31, format="elf" if form == "elf" else "kdump")
        found[form] = kept(folder / form)
    return found


@pytest.fixture(scope="session")
def demo(scratch: Path) -> Path:
    """The dump of a real kernel, which is always present."""
    return dump("demo.elf", scratch)


@pytest.fixture
def fedora(tmp_path: Path) -> Path:
    """A Fedora system, as far as kdump is concerned."""
    return kdump_system.make(tmp_path, "kdump-utils")


@pytest.fixture(scope="session", autouse=True)
def no_power_fails() -> Iterator[None]:
    """Skip fsync in the tests' process. Tests of syncing replace this stub by a recorder."""
    real, os.fsync = os.fsync, lambda _: None  # type: ignore[assignment]
    yield
    os.fsync = real
