"""A made-up machine and its memory, which last for the session: tests that change one make their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dumps import dump
from tests.pipeline.kit import machine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.machine import Machine


@pytest.fixture(scope="session")
def built() -> Machine:
    """A machine with something of everything."""
    return machine()


@pytest.fixture(scope="session")
def truth(built: Machine) -> dict[int, bytes]:
    """Its pages."""
    return built.contents()


@pytest.fixture(scope="session")
def core(built: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its memory as an ELF core."""
    return built.write(tmp_path_factory.mktemp("machine") / "core")


@pytest.fixture(scope="session")
def demo(scratch: Path) -> Path:
    """The dump of a real kernel that is always there."""
    return dump("demo.elf", scratch)
