"""Exports an image as a cpio archive or a list of files."""

from __future__ import annotations

import os
import subprocess

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable
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
    for piece in _packed(archive(tree.root, names), packing):
        write(piece)


def _packed(pieces: Iterator[bytes], packing: str) -> Iterator[bytes]:
    if packing == "zstd":
        try:
            yield subprocess.run(["zstd", "-19", "-q"], input=b"".join(pieces), check=True, capture_output=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise UsageError("--pack zstd needs the program zstd") from error
    elif packing == "none":
        yield from pieces
    else:
        packer = _packer(packing)
        yield from map(packer.compress, pieces)
        yield packer.flush()


def _packer(packing: str) -> Any:
    if packing == "gzip":
        import zlib

        return zlib.compressobj(9, zlib.DEFLATED, 31)
    import lzma

    # The only checksum that the kernel's decoder supports (lib/xz).
    return lzma.LZMACompressor(check=lzma.CHECK_CRC32, preset=9)


def each_line(tree: Tree, root: str) -> Iterator[str]:
    """Yield ``SOURCE TARGET`` for each file: libraries from the host, everything else from ``root``."""
    for name, source in sorted(tree.sources.items()):
        yield f"{os.path.join(root, name) if name.startswith((HOME, 'usr/bin')) else source} /{name}\n"
    for name in sorted(tree.links):
        yield f"{os.path.join(root, name) if name.startswith(HOME) else '/' + name} /{name}\n"
