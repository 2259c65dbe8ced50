"""Other tools read dumps of either order alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.tools import tool
from tests.dumps import dump, folders
from tests.pipeline.kit import contents, make
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

ORDERS = ("address", "importance")
PAGE = 4096


@pytest.fixture(scope="module")
def dumps(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The demo at level 1 in either order, with zlib, which every makedumpfile has."""
    folder = tmp_path_factory.mktemp("orders")
    for order in ORDERS:
        report = make(dump("demo.elf", scratch), folder / order, level=1, codec="zlib", order=order)
        assert report.json()["order"] == order
    return [folder / order for order in ORDERS]


def test_makedumpfile_filters_both_alike(dumps: list[Path], tmp_path: Path) -> None:
    """The same pages of the same content, marked complete; old versions keep fewer than vmsieve."""
    makedumpfile, found = tool("makedumpfile"), []
    for path in dumps:
        out = tmp_path / path.name
        run = subprocess.run([makedumpfile, "-c", "-d", "31", path, out], capture_output=True, check=False)
        assert run.returncode == 0, run.stderr
        source = open_source(str(out))
        assert not source.incomplete
        source.close()
        found.append(contents(out))
    assert found[0] == found[1]
    assert 5000 < len(found[0]) < len(contents(dumps[0]))


def test_drgn_reads_both_alike(dumps: list[Path]) -> None:
    drgn = pytest.importorskip("drgn", reason="drgn is not installed")
    expected = contents(dumps[0])
    for path in dumps:
        program = drgn.Program()
        program.set_core_dump(str(path))
        for pfn, page in expected.items():
            assert program.read(pfn * PAGE, PAGE, physical=True) == page, hex(pfn)


_KDUMPFILE = """
import hashlib, json, sys
from kdumpfile import kdumpfile, KDUMP_MACHPHYSADDR
dump = kdumpfile(sys.argv[1])
print(json.dumps([hashlib.sha256(dump.read(KDUMP_MACHPHYSADDR, pfn * 4096, 4096)).hexdigest()
                  for pfn in json.load(sys.stdin)]))
"""


def test_libkdumpfile_reads_both_alike(dumps: list[Path]) -> None:
    run: Any = partial(subprocess.run, capture_output=True, check=False)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pythons = [os.environ.get("VMSIEVE_KDUMPFILE_PYTHON", "/usr/bin/python3"), sys.executable]
    for python in filter(os.path.exists, pythons):
        if run([python, "-c", "import kdumpfile"], env=plain).returncode == 0:
            break
    else:
        pytest.skip("libkdumpfile's Python package is not installed")
    pfns = json.dumps(sorted(contents(dumps[0])))
    found = [run([python, "-c", _KDUMPFILE, str(path)], input=pfns.encode(), env=plain) for path in dumps]
    assert found[0].stdout.count(b'"') == 2 * (pfns.count(",") + 1), found[0].stderr
    assert found[0].stdout == found[1].stdout


def _pairs() -> list[tuple[Path, Path]]:
    """Dumps in the folders of ``VMSIEVE_DUMPS`` whose vmlinux is beside them."""
    found = [(path.with_suffix(".elf"), path) for folder in folders() for path in folder.glob("*.vmlinux")]
    return [(core, vmlinux) for core, vmlinux in found if core.exists()]


@pytest.mark.parametrize("cut", [None, 10])
def test_crash_reads_both_alike(cut: int | None, tmp_path: Path) -> None:
    """Log, tasks, backtraces, modules: of a whole dump in either order, of a tenth in the order of importance."""
    crash, pairs = tool("crash"), _pairs()
    if not pairs:
        pytest.skip("no folder of VMSIEVE_DUMPS has NAME.elf and NAME.vmlinux")
    for core, vmlinux in pairs:
        answers: list[Any] = []
        for order in ORDERS:
            out = tmp_path / order
            make(core, out, level=31, codec="zlib", order=order)
            if cut is not None and order == "importance":
                os.truncate(out, out.stat().st_size * cut // 100)
            run = subprocess.run(
                [crash, "-s", "--zero_excluded", vmlinux, out], input=b"log\nps\nbt\nbt -a\nmod\nquit\n", check=False,
                capture_output=True, env={**os.environ, "TERM": "dumb"}, timeout=300,
            )  # fmt: skip
            answers.append(run.stdout)
        assert answers[0].count(b"\n") > 100
        assert answers[0] == answers[1]
