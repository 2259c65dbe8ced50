"""Dumps that hold two kernels, on the command line: both are named, and --select chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from tests.build.two_kernels import SECOND, remember_note, write_together
from tests.pipeline.cli_kit import vmsieve
from tests.pipeline.kit import contents, expected
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path


def _both() -> list[Machine]:
    both = [Machine(LAYOUTS["6.12"], EVERYTHING), Machine(LAYOUTS["6.6"], EVERYTHING, base=SECOND)]
    for one in both:
        remember_note(one)
    return both


def test_a_dump_of_two_kernels_is_reported(tmp_path: Path) -> None:
    """With a note of one or none: exit 3, the choices are named, and no page owned by either kernel is lost."""
    both = _both()
    for text in (None, *(one.vmcoreinfo() for one in both)):
        source = write_together(tmp_path / "core", both, text)
        run = vmsieve("dump", "-f", "-d", 31, source, tmp_path / "out")
        assert run.status == 3
        assert "memory holds 2 kernels" in run.err
        assert "--select prod" in run.err
        found = contents(tmp_path / "out")
        for one in both:
            assert expected(one, 31) <= found.keys()
        assert vmsieve("verify", source, tmp_path / "out").status == 0


@pytest.mark.parametrize(("select", "status"), [("prod", 0), ("kdump", 0), ("all", 3)])
def test_select_of_other_machines(select: str, status: int, tmp_path: Path) -> None:
    """The selected kernel filters, and its VMCOREINFO is in the output; ``all`` filters nothing."""
    both = _both()
    source = write_together(tmp_path / "core", both)
    out = tmp_path / "out"
    run = vmsieve("dump", "--select", select, "-d", 31, source, out)
    assert run.status == status, run
    written = open_source(str(out))
    texts = [one.vmcoreinfo() for one in both]
    assert (written.vmcoreinfo in texts) == (select != "all")
    written.close()
    assert vmsieve("verify", "--select", select, source, out).status == 0


def test_select_with_one_kernel_is_a_usage_error(tmp_path: Path) -> None:
    """A usage error before any output."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    run = vmsieve("dump", "--select", "prod", built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 2
    assert "there is nothing to select" in run.err
    assert not (tmp_path / "out").exists()
