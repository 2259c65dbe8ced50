"""Files of other kinds are named, with the next step."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from vmsieve.formats.errors import FormatError, UnsupportedError
from vmsieve.formats.inputs import _foreign, formats, open_source

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 40


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("vmcore"), io.BytesIO(b""))
    return out.getvalue()


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("vmcore"), DATA)  # without the time
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lzma.compress(DATA), "not a dump, but a file packed by xz (unpack it: 'xz -dk FILE')"),
        (bz2.compress(DATA), "not a dump, but a file packed by bzip2 (unpack it: 'bzip2 -dk FILE')"),
        (_zip(), "not a dump, but a zip archive (unpack it: 'unzip FILE')"),
        (_tar(), "not a dump, but a tar archive (unpack it: 'tar -xf FILE')"),
        (gzip.compress(b"hello\n", mtime=0), "the gzip file holds text ("),
        (gzip.compress(lzma.compress(DATA), mtime=0), "the gzip file holds a file packed by xz ("),
        (gzip.compress(DATA, mtime=0), "the gzip file holds no dump of a known format, found 00 01 02"),
        (b"[    0.000000] Linux version 6.1.0\n", "not a dump, but text (a kernel log"),
        (bytes(100_000), "not a dump, but zeros at its start (raw memory"),
        (b"", "not a dump of a known format, found an empty file"),
        (DATA, "not a dump of a known format, found 00 01 02 03 04 05 06 07"),
    ],
)
def test_what_it_is_and_what_to_do(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnsupportedError) as refused:
        open_source(str(tmp_path / "file"))
    assert str(refused.value).startswith(f"{tmp_path}/file: {words}")


@pytest.mark.parametrize("row", _foreign._SIGNATURES, ids=lambda row: f"{row[1]!r}")
def test_each_signature(row: tuple[int, bytes, str, str], tmp_path: Path) -> None:
    """It is found at its offset, no reader takes it, and the next step is said."""
    offset, magic, what, hint = row
    content = (b"\x01" * offset + magic).ljust(70_000, b"\x01")
    assert not any(one.probe(content) for one in formats())
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnsupportedError) as refused:
        open_source(str(tmp_path / "file"))
    assert str(refused.value) == f"{tmp_path}/file: not a dump, but {what} ({hint})"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a directory, not a dump \(name the dump in it\)$"):
        open_source(str(tmp_path))
    (tmp_path / "vmcore").touch()
    with pytest.raises(FormatError, match=r"\(name the dump in it: .*/vmcore\)$"):
        open_source(str(tmp_path))


def test_a_url() -> None:
    with pytest.raises(FormatError, match="URLs are not read: download it first"):
        open_source("https://host.example/vmcore")
