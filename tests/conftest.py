"""Fixtures of all tests: machine code that matches the source, and folders that last for the session."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.dumps import ROOT

# Deadlines would fail tests on a busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Lower the loops again if their source changed; otherwise a stale object would be tested."""
    import vmsieve.formats.compiler as kernels
    from vmsieve.formats.compiler import lowering

    objects = Path(kernels.__path__[0]) / "objects"
    if not objects.resolve().is_relative_to(ROOT):
        return  # the installed package is under test
    lowering.refresh(objects)


@pytest.fixture(scope="session")
def scratch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for unpacked dumps, shared by all tests, those of other workers among them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "dumps"
    folder.mkdir(exist_ok=True)
    return folder
