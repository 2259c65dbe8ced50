"""``vmsieve image``: what a crash kernel's initramfs needs for a capture."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import tell
from vmsieve.pipeline.dump.plan import EXIT_OK
from vmsieve.pipeline.process.saving import saved
from vmsieve.pipeline.process.writing import sync_directory

if TYPE_CHECKING:
    import argparse

    from vmsieve.pipeline.initramfs.tree import Tree

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve image /var/lib/vmsieve/image                     a folder, to be copied over the root of an initramfs
  vmsieve image --format cpio vmsieve.cpio                 an archive, to be appended to one
  vmsieve image --format list /var/lib/vmsieve/image       the folder, and lines for dracut's inst: SOURCE TARGET
  vmsieve image --python /usr/bin/python3 image            for another Python than the one that runs this
"""
_PACKED: Final = ("gzip", "xz", "zstd", "none")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUTPUT", help="folder or archive to make")
    parser.add_argument(
        "--format", choices=("dir", "cpio", "list"), default="dir",
        help="dir: a folder (default); cpio: an archive; list: a folder, and a list of its files on standard output",
    )  # fmt: skip
    parser.add_argument(
        "--pack", choices=_PACKED, default="gzip", help="how an archive is compressed; what the kernel unpacks (gzip)"
    )
    parser.add_argument(
        "--complete", action="store_true",
        help="an archive with the loader and the C library too, which an initramfs has already",
    )  # fmt: skip
    parser.add_argument("--python", metavar="PROGRAM", help="the Python to take along; default: this one")
    parser.add_argument("--no-trial", dest="trial", action="store_false", help="don't try the image")
    parser.add_argument("-f", dest="force", action="store_true", help="replace an image or archive that is OUTPUT")


def _run(arguments: argparse.Namespace) -> int:
    from vmsieve.pipeline.initramfs.make import build

    output = arguments.output.rstrip("/")
    if os.path.lexists(output) and not arguments.force:
        raise UsageError("OUTPUT exists", file=output, hint="-f replaces it")
    _check_replaceable(output, folder=arguments.format != "cpio")
    parent = os.path.dirname(os.path.abspath(output))
    try:
        work = tempfile.mkdtemp(prefix=".vmsieve-image.", dir=parent)
        try:
            root = os.path.join(work, "root")
            os.mkdir(root, 0o755)
            tree, manifest = build(root, arguments.python, trial=arguments.trial)
            told = _told(tree, manifest["python"], trial=arguments.trial)
            _hand_over(arguments, tree, work, output)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"can't make the image: {error.strerror}", file=error.filename or output) from error
    tell([told])
    return EXIT_OK


def _check_replaceable(output: str, *, folder: bool) -> None:
    """With -f, an image is replaced by one of its kind (``folder``: not an archive), and what else is there stays.

    Raises:
        UsageError: OUTPUT is something else.
    """
    from vmsieve.pipeline.initramfs.tree import MANIFEST

    if not os.path.lexists(output) or os.path.isfile(output):
        return
    found = os.path.isdir(output) and (not os.listdir(output) or os.path.exists(os.path.join(output, MANIFEST)))
    if not (found and folder):
        raise UsageError("OUTPUT is no image: it is not replaced", file=output, hint="remove it if it may go")


def _told(tree: Tree, version: str, *, trial: bool) -> str:
    tried = "tried, and works" if trial else "NOT tried"
    return f"{len(tree.sources)} files, {tree.size():,} bytes, Python {version}; {tried}"


def _hand_over(arguments: argparse.Namespace, tree: Tree, work: str, output: str) -> None:
    from vmsieve.pipeline.initramfs.pack import each_line, write_archive

    if arguments.format == "cpio":
        with saved(output, [arguments.python or sys.executable], force=arguments.force) as out:
            write_archive(tree, out.write, arguments.pack, complete=arguments.complete)
        return
    old = os.path.join(work, "old")
    if os.path.isdir(output) and not os.path.islink(output):
        os.rename(output, old)
    try:
        os.rename(tree.root, output)
    except OSError:
        if os.path.isdir(old):
            os.rename(old, output)
        raise
    sync_directory(os.path.dirname(output) or ".")
    if arguments.format == "list":
        sys.stdout.writelines(each_line(tree, os.path.abspath(output)))


COMMAND: Final = Command("image", 75, "make what an initramfs needs for a capture", _EXAMPLES, _configure, _run)
