"""Exports an image as a cpio archive or a list of files."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any, Callable

from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.initramfs.cpio import archive
from vmsieve.pipeline.initramfs.libraries import is_base
from vmsieve.pipeline.initramfs.tree import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.pipeline.initramfs.tree import Tree


def write_archive(tree: Tree, write: Callable[[bytes], object], packing: str, *, complete: bool) -> None:
    """Pass the compressed archive to ``write``.

    ``complete``: include the loader and the C library; otherwise the archive must follow one that has them.
    """
    names = [name for name in [*tree.sources, *tree.links] if complete or not is_base(name)]
    pack, finish = _packer(packing)
    for piece in archive(tree.root, names):
        write(pack(piece))
    write(finish())


def _packer(packing: str) -> tuple[Any, Any]:
    """The functions that compress a piece, and that return the end of the stream."""
    if packing == "gzip":
        import zlib

        one = zlib.compressobj(9, zlib.DEFLATED, 31)
        return one.compress, one.flush
    if packing == "xz":
        import lzma

        # The only checksum that the kernel's decoder supports (lib/xz).
        two = lzma.LZMACompressor(check=lzma.CHECK_CRC32, preset=9)
        return two.compress, two.flush
    if packing == "zstd":
        return _zstd()
    return bytes, bytes


def _zstd() -> tuple[Any, Any]:
    pieces: list[bytes] = []

    def finish() -> bytes:
        whole = b"".join(pieces)
        try:
            return subprocess.run(["zstd", "-19", "-q"], input=whole, check=True, capture_output=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise UsageError("--pack zstd needs the program zstd") from error

    def keep(piece: bytes) -> bytes:
        pieces.append(piece)
        return b""

    return keep, finish


def each_line(tree: Tree, root: str) -> Iterator[str]:
    """Yield ``SOURCE TARGET`` for each file: libraries from the host, everything else from ``root``."""
    for name, source in sorted(tree.sources.items()):
        yield f"{os.path.join(root, name) if name.startswith((HOME, 'usr/bin')) else source} /{name}\n"
    for name in sorted(tree.links):
        yield f"{os.path.join(root, name) if name.startswith(HOME) else '/' + name} /{name}\n"
