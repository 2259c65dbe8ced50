"""The kernel log equals makedumpfile's byte for byte, on made-up kernels and real dumps.

``VMSIEVE_DUMPS`` names folders with ELF dumps of x86_64 kernels.
"""

from __future__ import annotations

import re
import struct
import subprocess
from typing import TYPE_CHECKING, Callable

import pytest

from tests.build.kernel import FakeKernel, add_sections, coded, virtual_memory, vmemmap
from tests.build.log import Record, add_characters, add_records, add_ring
from tests.build.tools import tool
from tests.dumps import folders
from vmsieve.filters.linux.identity import identify
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

DUMPS = sorted(
    path
    for folder in folders()
    for pattern in ("x86_64*.elf", "*/vmcore", "*/vmcore.elf")
    for path in folder.glob(pattern)
)


def theirs(dump: Path, out: Path, partial: bool = False) -> bytes:
    options = ["--partial-dmesg"] if partial else []
    makedumpfile = tool("makedumpfile")
    told = subprocess.run([makedumpfile, "-v"], check=False, capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)\.(\d+)\.(\d+)", told)
    if version is None or tuple(map(int, version.groups())) < (1, 7, 7):
        pytest.skip("this makedumpfile does not print caller ids: 1.7.7 or newer is needed")
    subprocess.run([makedumpfile, "--dump-dmesg", *options, dump, out], check=True, capture_output=True)
    return out.read_bytes()


def ours(dump: Path, partial: bool = False) -> bytes:
    source = open_source(str(dump))
    try:
        info = VmcoreInfo(source.vmcoreinfo or b"")
        return b"".join(kernel_log(virtual_memory(source, info), info, since_clear=partial))
    finally:
        source.close()


RECORDS = [
    Record(b"%s %d" % (b"word " * (i % 9), i) + (b"\nsecond line\n\nfourth" if i % 7 == 3 else b"") + b"\t~" * (i % 2),
           i * 987_654_321, i if i % 3 else 1 << 31 | i, 1 + i % 2)
    for i in range(60)
]  # fmt: skip

#: Layouts of logs, each with the newest release that has it.
LOGS: dict[str, tuple[str, Callable[[FakeKernel], object]]] = {
    "ring": ("6.1.0", lambda kernel: add_ring(kernel, RECORDS, count_bits=7, text_bits=13)),
    "ring that wraps": (
        "6.1.0",
        lambda kernel: add_ring(kernel, RECORDS, count_bits=4, text_bits=13, first_lpos=8192 - 200, cleared=55),
    ),
    "records": ("5.4.0", lambda kernel: add_records(kernel, RECORDS, size=8192)),
    "records that wrap": ("5.4.0", lambda kernel: add_records(kernel, RECORDS, size=2048, caller=True)),
    "records of old": ("3.10.0", lambda kernel: add_records(kernel, RECORDS, size=1024, name="log")),
    "characters": ("2.6.32", lambda kernel: add_characters(kernel, b"<6>some line\n" * 10)),
    "characters that wrap": ("2.6.32", lambda kernel: add_characters(kernel, b"<6>some line\n" * 100, size=1024)),
}


@pytest.mark.parametrize(("layout", "partial"), [*((name, False) for name in LOGS), ("ring that wraps", True)])
def test_a_log_reads_as_makedumpfile_reads_it(layout: str, partial: bool, tmp_path: Path) -> None:
    release, add = LOGS[layout]
    kernel = FakeKernel(release=release)
    add_sections(kernel, {1: coded(vmemmap(1), 1)})
    add(kernel)
    kernel.static("_stext", struct.pack("<Q", 0))
    dump = tmp_path / "dump"
    dump.write_bytes(kernel.elf_core())
    expected = theirs(dump, tmp_path / "log", partial)
    assert ours(dump, partial) == expected
    assert expected.count(b"\n") > 3


@pytest.mark.parametrize("dump", DUMPS or [None], ids=["-".join(p.parts[-2:]) for p in DUMPS] or ["none"])
def test_logs_and_names_of_real_dumps(dump: Path | None, tmp_path: Path) -> None:
    if dump is None:
        pytest.skip("no real dumps (VMSIEVE_DUMPS)")
    expected = theirs(dump, tmp_path / "log")
    assert ours(dump) == expected
    source = open_source(str(dump))
    try:
        info = VmcoreInfo(source.vmcoreinfo or b"")
        who = identify(virtual_memory(source, info), info, source.machine)
    finally:
        source.close()
    assert who.notes == ()
    # The log's first line is the kernel's banner.
    assert f"Linux version {who.utsname[2]} ".encode() in expected.splitlines()[0]
    assert who.utsname[3].encode() in expected.splitlines()[0]
