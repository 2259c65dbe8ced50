"""cpio archives: read back by a reader written from the kernel's description, and by cpio itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from vmsieve.pipeline.initramfs.cpio import archive

if TYPE_CHECKING:
    from pathlib import Path


def read(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each entry, in order (buffer-format.rst of Linux)."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        assert at % 4 == 0
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        start = at + 110 + name_size
        start += -start % 4
        content = data[start : start + size]
        at = start + size + -size % 4
        if name == b"TRAILER!!!\0":
            assert at == len(data)
            return found
        assert fields[2:4] == [0, 0], "root's"
        found[name[:-1].decode()] = fields[1], content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr" / "lib").mkdir(parents=True)
    (root / "usr" / "bin").mkdir()
    (root / "usr" / "bin" / "program").write_bytes(b"#!/bin/true\n")
    (root / "usr" / "bin" / "program").chmod(0o755)
    for size in range(5):
        (root / "usr" / "lib" / f"file{size}").write_bytes(b"x" * size)
        (root / "usr" / "lib" / f"file{size}").chmod(0o644)
    (root / "usr" / "lib" / "link").symlink_to("file3")
    return root


NAMES = ["usr/bin/program", "usr/lib/link", *(f"usr/lib/file{size}" for size in range(5))]


def test_files_folders_and_links_are_in_it(root: Path) -> None:
    """Folders precede their content even if not requested: the kernel creates none by itself."""
    found = read(b"".join(archive(str(root), NAMES)))
    assert list(found) == sorted([*NAMES, "usr", "usr/bin", "usr/lib"])
    assert found["usr"][0] == 0o040755
    assert found["usr/bin/program"] == (0o100755, b"#!/bin/true\n")
    assert found["usr/lib/link"] == (0o120777, b"file3")
    assert [found[f"usr/lib/file{size}"] for size in range(5)] == [(0o100644, b"x" * size) for size in range(5)]


def test_an_archive_depends_on_content_alone(root: Path) -> None:
    """Neither the order of names nor times matter."""
    first = b"".join(archive(str(root), NAMES))
    os.utime(root / "usr" / "bin" / "program", (1, 1))
    assert b"".join(archive(str(root), reversed(NAMES))) == first


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Names and link targets may be bytes that are not UTF-8."""
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).symlink_to(name)
    data = b"".join(archive(str(tmp_path), [name]))
    assert data[110:].startswith(b"caf\xe9\0")
    assert data.count(b"caf\xe9") == 2


@pytest.mark.oracle
def test_cpio_unpacks_it(root: Path, tmp_path: Path) -> None:
    """The same files are extracted by cpio."""
    cpio = shutil.which("cpio")
    if cpio is None:
        pytest.skip("no cpio here")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([cpio, "-id", "--quiet"], input=b"".join(archive(str(root), NAMES)), cwd=out, check=True)
    assert (out / "usr" / "lib" / "link").readlink().name == "file3"
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir()} == set(NAMES)
    assert (out / "usr" / "lib" / "file4").read_bytes() == b"xxxx"
    assert os.access(out / "usr" / "bin" / "program", os.X_OK)
