"""``vmsieve image``: its content, its trial, and the cleanup after a failure."""

from __future__ import annotations

import ast
import ctypes
import errno
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dumps import PACKAGE
from tests.pipeline.cli_kit import environment, failed, vmsieve
from tests.pipeline.initramfs.test_cpio import read
from tests.test_rooms import HEAVY
from vmsieve.formats.errors import VmsieveError
from vmsieve.pipeline.initramfs.bundle import Bundle, pack
from vmsieve.pipeline.initramfs.closure import Closure
from vmsieve.pipeline.initramfs.make import changed
from vmsieve.pipeline.initramfs.minify import minify
from vmsieve.pipeline.initramfs.sample import write_sample
from vmsieve.pipeline.initramfs.shims import ctypes as shim
from vmsieve.pipeline.initramfs.trial import try_image

if TYPE_CHECKING:
    from tests.pipeline.cli_kit import Run


def can_enter() -> bool:
    """True if a process may change its root directory here."""
    code = "import os; from vmsieve.pipeline.initramfs.trial import _enter; os.chdir('/'); _enter('/')"
    return (
        subprocess.run([sys.executable, "-c", code], check=False, env=environment(), capture_output=True).returncode
        == 0
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image, tried, and the list of its files."""
    if not can_enter():
        pytest.skip("this takes root or user namespaces")
    folder = tmp_path_factory.mktemp("image")
    run = vmsieve("image", "--format", "list", folder / "image")
    assert run.status == 0, run.err
    assert "tried, and works" in run.err
    (folder / "list").write_text(run.out)
    return folder / "image"


def test_no_other_folder_is_taken_for_an_image(tmp_path: Path) -> None:
    """-f replaces an image; another folder stays, and so does a FIFO."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("mine", "fifo"):
        made = vmsieve("image", "-f", "--no-trial", tmp_path / name)
        assert (made.status, "is not an image" in made.err) == (2, True)
    assert (tmp_path / "mine" / "letter").exists()
    assert (tmp_path / "fifo").is_fifo()


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_symlink() or not p.is_dir()}


def test_only_what_a_capture_needs_is_in_it(image: Path) -> None:
    """No sources, no heavy packages, no foreign machine code; every vmsieve module that commands may import."""
    names = files(image)
    machine = os.uname().machine
    assert not [n for n in names if n.endswith((".py", ".a", ".h"))]
    assert not [n for n in names if set(Path(n).parts) & set(HEAVY)]
    processors = ("", "-v1", "-v3") if machine == "x86_64" else ("",)
    assert {Path(n).stem for n in names if "/objects/" in n} == {f"{machine}{processor}" for processor in processors}
    (bundle,) = image.rglob("vmsieve/lib*/python3.*/modules")
    assert set(Closure(machine).ours) <= set(Bundle(str(bundle), "").index)


def test_the_list_has_every_file_once(image: Path) -> None:
    """``SOURCE TARGET`` for dracut's ``inst``: each source exists, and the targets are the image's files."""
    pairs = [line.split(" ") for line in (image.parent / "list").read_text().splitlines()]
    assert sorted(target.lstrip("/") for _, target in pairs) == sorted(files(image))
    assert all(os.path.lexists(source) for source, _ in pairs)


def test_an_outdated_image_is_detected(image: Path, tmp_path: Path) -> None:
    """The manifest lists the source files; a replaced or missing one is noticed."""
    manifest = json.loads((image / "usr" / "lib" / "vmsieve" / "manifest.json").read_text())
    assert not changed(manifest)
    path = tmp_path / "file"
    path.write_bytes(b"new")
    assert changed({"made_of": {str(path): "old", str(tmp_path / "gone"): ""}}) == [str(path), str(tmp_path / "gone")]


def contents(path: Path) -> dict[str, tuple[bool, bytes]]:
    """The modules of a bundle."""
    data, index = path.read_bytes(), Bundle(str(path), "").index
    return {name: (package, data[at : at + size]) for name, (package, at, size) in index.items()}


@pytest.mark.parametrize("lost", ["vmsieve.formats.outputs.kdump", "struct", "vmsieve.pipeline.dump.workers"])
def test_an_image_that_lacks_something_is_found_out(lost: str, image: Path, tmp_path: Path) -> None:
    """The trial fails if a module is missing, also a rare one, and the error has the command."""
    shutil.copytree(image, tmp_path / "image", symlinks=True)
    (path,) = (tmp_path / "image").rglob("vmsieve/lib*/python3.*/modules")
    modules = contents(path)
    del modules[lost]
    path.write_bytes(pack(modules))
    with pytest.raises(VmsieveError, match="the image does not work: 'vmsieve dump"):
        try_image(str(tmp_path / "image"), ["dump"])
    assert not (tmp_path / "image" / "vmsieve-trial").exists()


#: Limits when the first byte of a dump is written: vmsieve's loaded modules, and bytes of their code. Four of the
#: modules (11 kB) sieve struct pages of a saved dump, as this one is, find its holes and read it ahead, and are not
#: loaded for /proc/vmcore. Sizes with units are 1 kB. Python 3.11 needs 602 kB; others differ by a hundredth.
MOST_MODULES, MOST_BYTECODE = 107, 609_000
#: The same of a capture, for the kernel's log.
MOST_FOR_LOG, MOST_BYTECODE_FOR_LOG = 55, 314_000
#: Modules of the standard library that the interpreter does not load by itself.
STANDARD = {
    "vmsieve_bundle", "array", "errno", "_ctypes", "_struct", "struct", "ctypes", "gc", "mmap", "_bisect",
    "bisect", "itertools", "zlib", "_heapq", "heapq", "time", "_signal",
}  # fmt: skip


def inside(image: Path, code: str, *arguments: object) -> str:
    """Output of ``code`` in the image's interpreter; run from a file, because ``-c`` needs linecache since 3.13."""
    (program,) = image.rglob("vmsieve/bin/python3")
    (image.parent / "code.py").write_text(code)
    return subprocess.run(
        [program, "-ISB", image.parent / "code.py", *map(str, arguments)], check=True, capture_output=True, text=True
    ).stdout


def loaded(image: Path, code: str, *arguments: object) -> tuple[set[str], int, int]:
    """Modules loaded after ``code`` in the image's interpreter: foreign names, count of vmsieve's, and their bytes."""
    (bundle,) = image.rglob("vmsieve/lib*/python3.*/modules")
    told = f"import sys, os, vmsieve_bundle; vmsieve_bundle.install()\n{code}\nprint(*sys.modules)"
    outputs = [inside(image, text, *arguments) for text in (told, "import sys, os; print(*sys.modules)")]
    names, bare = (set(output.splitlines()[-1].split()) for output in outputs)
    ours = {name for name in names if name.partition(".")[0] == "vmsieve"}
    return names - bare - ours, len(ours), sum(Bundle(str(bundle), "").index[name][2] for name in ours)


def test_a_dump_loads_no_more_than_it_needs(image: Path, tmp_path: Path) -> None:
    """A whole makedumpfile run: a closed list of the standard library, and a bounded number of vmsieve's modules."""
    write_sample(str(tmp_path / "sample"))
    others, modules, size = loaded(
        image,
        "from vmsieve.pipeline.makedumpfile.main import main; main(['-l', '-d', '31', sys.argv[1], sys.argv[2]])",
        tmp_path / "sample", tmp_path / "out",
    )  # fmt: skip
    assert others <= STANDARD
    assert modules <= MOST_MODULES
    assert size <= MOST_BYTECODE


def test_a_kernel_log_loads_half_of_what_a_dump_does(image: Path) -> None:
    """The kernel log is written first: the modules that make a dump are not loaded by then."""
    others, modules, size = loaded(image, "import vmsieve.pipeline.capture.run, vmsieve.pipeline.capture.log")
    assert others <= STANDARD
    assert modules <= MOST_FOR_LOG
    assert size <= MOST_BYTECODE_FOR_LOG


def test_a_bundle_imports_as_python_does(tmp_path: Path) -> None:
    """A package and its modules, also in a cycle; a failed one is absent afterwards; the same with threads."""
    sources = {
        "pack": "from pack import one",
        "pack.one": "import pack.two as two; value = two.value",
        "pack.two": "import pack; value = pack.__name__; import pack.one",
        "broken": "1 / 0",
        "late": "import pack.two; value = __name__",
    }
    modules = {name: (name == "pack", marshal.dumps(compile(text, name, "exec"))) for name, text in sources.items()}
    (tmp_path / "modules").write_bytes(pack(modules))
    shutil.copyfile(PACKAGE / "pipeline" / "initramfs" / "bundle.py", tmp_path / "vmsieve_bundle.py")
    program = """if True:
        import sys, _thread, vmsieve_bundle
        vmsieve_bundle.install()
        import pack.one
        assert pack.one.value == 'pack' and pack.two is sys.modules['pack.two'] and pack.__path__
        assert pack.two.__package__ == 'pack' and pack.one.__spec__.name == 'pack.one'
        for _ in range(2):
            try:
                import broken
            except ZeroDivisionError:
                assert 'broken' not in sys.modules
        done, held = [], _thread.allocate_lock()
        held.acquire()
        def work():
            import late
            done.append(late.value)
            held.release()
        _thread.start_new_thread(work, ())
        held.acquire()
        assert done == ['late']
    """
    subprocess.run(
        [sys.executable, "-ISBc", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}"], check=True
    )


def test_the_ctypes_shim_has_all_that_is_used() -> None:
    """By the names that the image's modules use; its types and functions behave as ctypes'."""
    texts = [Path(path).read_text() for path in Closure(os.uname().machine).ours.values()]
    used = {name for text in texts for name in re.findall(r"\bctypes\.(\w+)", text)}
    lists = [names for text in texts for names in re.findall(r"from ctypes import (.*)", text)]
    used |= {name.strip() for names in lists for name in names.split(",")}
    assert used - {"Array"}
    for name in used:
        real, ours = getattr(ctypes, name), getattr(shim, name)
        if name.startswith("c_"):
            assert (ctypes.sizeof(real), real._type_) == (ctypes.sizeof(ours), ours._type_), name
    buffer = shim.create_string_buffer(b"memory", 8)
    assert shim.string_at(shim.addressof(buffer), 8) == b"memory\0\0"
    shim.memset(shim.addressof(buffer), ord("x"), 3)
    shim.memmove(shim.addressof(buffer) + 3, b"yz", 2)
    assert buffer.value == b"xxxyzy"
    library = shim.CDLL(None, use_errno=True)
    assert library.close(-1) == -1
    assert shim.get_errno() == errno.EBADF
    address = ctypes.cast(ctypes.CDLL(None).close, ctypes.c_void_p).value
    assert shim.cast(library.close, shim.c_void_p).value == address
    with pytest.raises(AttributeError):
        _ = library.no_such_function


def test_text_is_opened_in_the_encoding_that_is_there() -> None:
    """An image's modules open files as UTF-8 only, as Python's other encodings are modules that the image lacks."""
    texts = [Path(path).read_text() for path in Closure(os.uname().machine).ours.values()]
    assert {name for text in texts for name in re.findall(r"encoding=\"(.*?)\"", text)} == {"utf-8"}


def test_smaller_modules_do_for_the_standard_library(image: Path) -> None:
    """``os`` and its environment work in an image, and so does ``collections``, which threads need."""
    code = """if True:
        import vmsieve_bundle
        vmsieve_bundle.install()
        import os, array
        os.environ['A'] = 'b'
        assert os.environ.get('A') == 'b' and os.environ.get('B') is None and os.environ.get('B', 1) == 1
        assert 'A' in os.environ and 'B' not in os.environ and 'A' in os.environ.keys()
        assert ('A', 'b') in os.environ.items() and (os.environ.pop('A'), os.environ.pop('A', 2)) == ('b', 2)
        assert not isinstance(1, os.PathLike)
        assert 'x'.encode('utf8') == b'x' and open(os.devnull, encoding='utf-8').read() == ''
        import collections, _collections_abc, threading, queue
        assert isinstance({}, _collections_abc.Mapping) and collections.Counter('aab')['a'] == 2
        assert list(collections.OrderedDict(a=1).keys()) == ['a'] and 'a' in collections.ChainMap({'a': 1})
    """
    inside(image, code)


def test_imports_that_nothing_uses_are_left_out() -> None:
    """Names used only by loops or type checkers are left out; re-exported names and those that functions use stay."""
    source = """
from __future__ import annotations
import os
import re
import a.b
from typing import TYPE_CHECKING, Final
from one import load, save
from two import handed, other
if TYPE_CHECKING:
    import three
__all__ = ["handed"]
SIZE: Final = 1
@loop
def add(x: int) -> int:
    return load(x)
def use() -> int:
    return save(a.b.c)
"""
    text = ast.unparse(minify(ast.parse(source)))
    kept = [line for line in text.splitlines() if "import" in line]
    assert kept == ["import a.b", "from one import save", "from two import handed"]


def made(folder: Path, *arguments: object) -> Run:
    """An image made without a trial, with ``folder`` for temporary files."""
    return vmsieve("image", "--no-trial", *arguments, cwd=folder)


def test_an_archive_is_the_folder(image: Path, tmp_path: Path) -> None:
    """Without loader and C library, which every initramfs has; ``--complete`` includes them."""
    assert made(tmp_path, "--format", "cpio", "--pack", "none", "some").status == 0
    assert made(tmp_path, "--format", "cpio", "--pack", "none", "--complete", "all").status == 0
    some, everything = (read((tmp_path / name).read_bytes()) for name in ("some", "all"))
    assert {n for n, (mode, _) in everything.items() if mode >> 12 != 4} == files(image)
    left = set(everything) - set(some)
    assert {n for n in left if "libc" in n or "ld" in Path(n).name}
    assert not [n for n in left if "vmsieve" in n]
    for name, (mode, content) in everything.items():
        if mode >> 12 == 8:
            assert content == (image / name).read_bytes(), name


def test_nothing_is_left_of_an_image_that_fails(tmp_path: Path) -> None:
    """One line of error, no output, and no temporary files."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    failed(vmsieve("image", "--python", program, tmp_path / "out"), "this Python can't make an image")
    assert {p.name for p in tmp_path.iterdir()} == {"python"}


@pytest.mark.parametrize("body", ["", "cat", "echo 1", "echo '('", r"printf '\377'"])
def test_programs_other_than_python(body: str, tmp_path: Path) -> None:
    """A program whose output is not Python's is a usage error of one line."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    run = vmsieve("image", "--python", program, tmp_path / "out")
    assert run.status == 2
    assert "Python" in run.err
    assert run.err.count("\n") == 1


def test_an_output_is_replaced_only_if_asked_for(tmp_path: Path) -> None:
    """As with dumps."""
    (tmp_path / "out").mkdir()
    run = vmsieve("image", tmp_path / "out")
    assert run.status == 2
    assert "-f replaces it" in run.err
