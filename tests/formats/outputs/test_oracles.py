"""Other tools read the output, and makedumpfile writes the same: skipped if a tool is absent."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from tests.formats.output_kit import PAGE, ZLIB, Kdump, Medium, Memory, page, write
from vmsieve.formats.inputs import VirtualRange
from vmsieve.formats.notes import build_note
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.formats.places import FlattenedPlace

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

DIRECT = VirtualRange(0xFFFF888000010000, 16 * PAGE, 5100 * PAGE)
TEXT = VirtualRange(0xFFFFFFFF81000000, 100 * PAGE, 200 * PAGE)
#: The names in the header: six of 65 bytes.
NAMES = slice(12, 12 + 6 * 65)
NOTE = build_note(b"CORE", 1, bytes(336), "little")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _run(*command: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, check=True, capture_output=True, timeout=60, **more)


def _memory(**more: object) -> Memory:
    """Memory with a hole and pages of zeros; the tests choose the dropped pages."""
    exists = set(range(16, 1000)) | set(range(5000, 5100))
    pages: dict[int, bytes | None] = {pfn: page(pfn) if pfn % 7 else bytes(PAGE) for pfn in exists}
    pages[500] = bytes(range(256)) * 16
    return Memory(exists, pages, more={"notes": NOTE, "cpus": 1, **more})


def _dropped(memory: Memory) -> Memory:
    memory.pages = {pfn: content for pfn, content in memory.pages.items() if not 200 <= pfn < 700 and pfn % 11}
    return memory


@pytest.mark.parametrize("level", [0, 1])
def test_makedumpfile_writes_the_same_file_byte_for_byte(level: int, tmp_path: Path) -> None:
    makedumpfile = _tool("makedumpfile")
    memory = _memory(virtual=(DIRECT,))
    medium = Medium()
    write(ElfWriter(memory.description(), medium), memory, packed=False)
    (tmp_path / "core").write_bytes(medium.data)
    _run(makedumpfile, "-d", str(level), str(tmp_path / "core"), str(tmp_path / "theirs"))
    theirs = Kdump((tmp_path / "theirs").read_bytes())
    assert theirs.pages() == memory.pages

    memory.skip_zero = bool(level)
    ours = Medium()
    # Its handling of a core without VMCOREINFO is not tested here.
    described = memory.description(
        dump_level=level, utsname=theirs.utsname, crash_time=theirs.seconds, phys_base=theirs.sub[0],
        cpus=theirs.cpus, virtual=(),
    )  # fmt: skip
    write(KdumpWriter(described, ours), memory, packed=False)
    # Names that it left empty have a placeholder here: libkdumpfile rejects a header without them.
    data, names = bytearray(ours.data), bytearray(theirs.data[NAMES])
    assert not any(names)
    data[NAMES] = names
    assert bytes(data) == theirs.data


@pytest.mark.parametrize("form", ["elf", "kdump"])
def test_makedumpfile_rebuilds_a_flattened_stream_to_the_file(form: str, tmp_path: Path) -> None:
    makedumpfile = _tool("makedumpfile")
    memory = _dropped(_memory())
    kind = ElfWriter if form == "elf" else KdumpWriter
    medium, stream = Medium(), io.BytesIO()
    place = FlattenedPlace(stream.write, "stdout")
    for target in (medium, place):
        write(kind(memory.description(codec=ZLIB), target), memory, packed=form == "kdump")
    place.finish()
    _run(makedumpfile, "-R", str(tmp_path / "rebuilt"), input=stream.getvalue())
    assert (tmp_path / "rebuilt").read_bytes() == bytes(medium.data)


#: Prints, for each page frame asked for, the digest of the page, or null.
_KDUMPFILE = """
import hashlib, json, sys
from kdumpfile import kdumpfile, KDUMP_MACHPHYSADDR
dump, found = kdumpfile(sys.argv[1]), {}
size = dump.attr["arch.page_size"]
for pfn in json.load(sys.stdin):
    try:
        found[pfn] = hashlib.sha256(dump.read(KDUMP_MACHPHYSADDR, pfn * size, size)).hexdigest()
    except Exception:
        found[pfn] = None
json.dump({"pages": found, "order": str(dump.attr["arch.byte_order"])}, sys.stdout)
"""


def _kdumpfile(path: Path, pfns: list[int]) -> dict[int, str | None]:
    """Pages read by libkdumpfile, whose Python package may belong to another Python."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for python in filter(os.path.exists, (sys.executable, "/usr/bin/python3")):
        probe = subprocess.run([python, "-c", "import kdumpfile"], check=False, capture_output=True, env=plain)
        if probe.returncode == 0:
            out = _run(python, "-c", _KDUMPFILE, str(path), input=json.dumps(pfns).encode(), env=plain).stdout
            return {int(pfn): digest for pfn, digest in json.loads(out)["pages"].items()}
    pytest.skip("libkdumpfile's Python package is not installed")


@pytest.mark.parametrize("form", ["elf", "kdump"])
@pytest.mark.parametrize(("byte_order", "machine"), [("little", "x86_64"), ("big", "s390x")])
def test_libkdumpfile_reads_every_page(form: str, byte_order: str, machine: str, tmp_path: Path) -> None:
    memory = _dropped(_memory())
    kind = ElfWriter if form == "elf" else KdumpWriter
    medium = Medium()
    notes = build_note(b"CORE", 1, bytes(336), byte_order)
    described = memory.description(
        codec=ZLIB, byte_order=byte_order, machine=machine, notes=notes,
        utsname=("Linux", "host", "6.0", "#1", machine, "(none)"),
    )  # fmt: skip
    write(kind(described, medium), memory, packed=form == "kdump")
    (tmp_path / "dump").write_bytes(medium.data)
    read = _kdumpfile(tmp_path / "dump", sorted(memory.exists))
    for pfn, content in memory.pages.items():
        assert content is not None
        assert read[pfn] == sha256(content).hexdigest()
    if form == "kdump":
        assert all(read[pfn] is None for pfn in memory.exists - set(memory.pages))


@pytest.mark.parametrize("many", [False, True], ids=["few headers", "more than e_phnum counts"])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_readelf_has_nothing_to_warn_of(many: bool, byte_order: str, tmp_path: Path) -> None:
    readelf = _tool("readelf")
    memory = _dropped(_memory(virtual=(DIRECT, TEXT)))
    if many:
        memory = Memory(set(range(0, 132000, 2)), {131998: page(1)})
    medium = Medium()
    notes = build_note(b"CORE", 1, bytes(336), byte_order)
    write(ElfWriter(memory.description(notes=notes, byte_order=byte_order, block=4096), medium), memory, packed=False)
    (tmp_path / "core").write_bytes(medium.data)
    done = _run(readelf, "-hlnW", str(tmp_path / "core"), env={**os.environ, "LC_ALL": "C"})
    assert done.stderr == b""
    assert done.stdout.count(b"\n  LOAD ") > (65535 if many else 2)
    assert b"NT_PRSTATUS" in done.stdout


def test_pyelftools_finds_the_same_segments(tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    memory = _dropped(_memory(virtual=(DIRECT, TEXT)))
    medium = Medium()
    write(ElfWriter(memory.description(), medium), memory, packed=False)
    core = elffile.ELFFile(io.BytesIO(bytes(medium.data)))
    assert core["e_type"] == "ET_CORE"
    notes, *loads = core.iter_segments()
    assert [note["n_type"] for note in notes.iter_notes()] == ["NT_PRSTATUS"]
    found: dict[int, bytes] = {}
    for load in loads:
        data = load.data()
        for at in range(0, load["p_memsz"], PAGE):
            content = data[at : at + PAGE]
            assert found.setdefault((load["p_paddr"] + at) // PAGE, content) == content
    assert set(found) == memory.exists
    assert all(found[pfn] == content for pfn, content in memory.pages.items())
