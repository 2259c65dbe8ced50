"""``vmsieve image``: the files that a capture needs in a crash kernel's initramfs.

Collects the interpreter, the modules, the machine code for this machine and the shared libraries that ``vmsieve
capture``, ``dump``, ``dmesg`` and ``makedumpfile`` need. Before the image is written, the commands run in it and their
dumps are compared page by page; if one fails, there is no output.
"""

from __future__ import annotations

import os
import sys

from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import force, output
from vmsieve.pipeline.cli.printing import print_remarks
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.options import Option
from vmsieve.pipeline.process.saving import saved
from vmsieve.pipeline.process.writing import sync_directory

if TYPE_CHECKING:
    from vmsieve.pipeline.initramfs.tree import Tree

_EXAMPLES = """\
  vmsieve image /var/lib/vmsieve/image                     a directory to copy over the root of an initramfs
  vmsieve image --format cpio vmsieve.cpio                 an archive to append to an initramfs
  vmsieve image --format list /var/lib/vmsieve/image       the directory, and lines for dracut's inst: SOURCE TARGET
  vmsieve image --python /usr/bin/python3 image            for another Python than the one running
"""
_OPTIONS: Final = (
    *output("directory or archive to make"),
    Option("--format", "dir: a directory (default); cpio: an archive; list: a directory, and a list of its files on "
           "standard output", choices=("dir", "cpio", "list"), default="dir"),
    Option("--pack", "compression of the archive, one that the kernel can unpack (default: gzip)",
           choices=("gzip", "xz", "zstd", "none"), default="gzip"),
    Option("--complete", "include the loader and the C library, which most initramfs images have"),
    Option("--python", "the Python to include (default: this one)", metavar="PROGRAM"),
    Option("--no-trial", "don't run a trial capture in the image", name="trial", const=False, default=True),
    force("image or archive"),
)  # fmt: skip


def _run(arguments: Arguments) -> int:
    import shutil
    import tempfile

    from vmsieve.pipeline.initramfs.make import build

    path = arguments.output.rstrip("/")
    if os.path.lexists(path) and not arguments.force:
        raise UsageError("OUTPUT exists", file=path, hint="-f replaces it")
    _check_replaceable(path, directory=arguments.format != "cpio")
    parent = os.path.dirname(os.path.abspath(path))
    try:
        work = tempfile.mkdtemp(prefix=".vmsieve-image.", dir=parent)
        try:
            root = os.path.join(work, "root")
            os.mkdir(root, 0o755)
            tree, manifest = build(root, arguments.python, trial=arguments.trial)
            tried = "tried, and works" if arguments.trial else "NOT tried"
            summary = f"{len(tree.sources)} files, {tree.size():,} bytes, Python {manifest['python']}; {tried}"
            _move_to_output(arguments, tree, work, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"can't make the image: {error.strerror}", file=error.filename or path) from error
    print_remarks([summary])
    return EXIT_OK


def _check_replaceable(output: str, *, directory: bool) -> None:
    """Raise UsageError if -f must not replace ``output``: only an image of the same kind is replaced.

    ``directory``: the new image is one, not an archive.
    """
    from vmsieve.pipeline.initramfs.tree import MANIFEST

    if not os.path.lexists(output) or os.path.isfile(output):
        return
    found = os.path.isdir(output) and (not os.listdir(output) or os.path.exists(os.path.join(output, MANIFEST)))
    if not (found and directory):
        raise UsageError("OUTPUT is not an image, so it is not replaced", file=output, hint="remove it first")


def _move_to_output(arguments: Arguments, tree: Tree, work: str, output: str) -> None:
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


COMMAND: Final = Command("image", 75, "make the files that a capture needs in an initramfs", _EXAMPLES, _OPTIONS, _run)
