"""``vmsieve image``: what it holds, that it is tried, and that nothing is left where the trial fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.formats.test_cpio import read
from tests.pipeline.cli_kit import environment, failed, vmsieve
from tests.test_rooms import HEAVY
from vmsieve.formats.errors import VmsieveError
from vmsieve.pipeline.image.bundle import Bundle, pack
from vmsieve.pipeline.image.closure import Closure
from vmsieve.pipeline.image.make import changed
from vmsieve.pipeline.image.sample import write_sample
from vmsieve.pipeline.image.trial import try_image

if TYPE_CHECKING:
    from tests.pipeline.cli_kit import Run


def can_enter() -> bool:
    """Whether a process may have another root folder here."""
    code = "import os; from vmsieve.pipeline.image.trial import _enter; os.chdir('/'); _enter('/')"
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
    """-f replaces an image; a folder of something else stays, and so does what is no file."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("mine", "fifo"):
        made = vmsieve("image", "-f", "--no-trial", tmp_path / name)
        assert (made.status, "is no image" in made.err) == (2, True)
    assert (tmp_path / "mine" / "letter").exists()
    assert (tmp_path / "fifo").is_fifo()


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_symlink() or not p.is_dir()}


def test_only_what_a_capture_needs_is_in_it(image: Path) -> None:
    """No sources, no heavy packages, no other machine's code; every module of ours that commands may import."""
    names = files(image)
    machine = os.uname().machine
    assert not [n for n in names if n.endswith((".py", ".a", ".h"))]
    assert not [n for n in names if set(Path(n).parts) & set(HEAVY)]
    assert {Path(n).stem for n in names if "/objects/" in n} <= {machine, f"{machine}-v1"}
    (bundle,) = image.rglob("vmsieve/lib*/python3.*/modules")
    assert set(Closure(machine).ours) <= set(Bundle(str(bundle), "").index)


def test_the_list_has_every_file_once(image: Path) -> None:
    """``SOURCE TARGET`` for dracut's ``inst``: each source is there, and the targets are the image's files."""
    pairs = [line.split(" ") for line in (image.parent / "list").read_text().splitlines()]
    assert sorted(target.lstrip("/") for _, target in pairs) == sorted(files(image))
    assert all(os.path.lexists(source) for source, _ in pairs)


def test_it_is_known_when_an_image_is_old(image: Path, tmp_path: Path) -> None:
    """The manifest tells what it was made of; another file in its place, or none, is noticed."""
    manifest = json.loads((image / "usr" / "lib" / "vmsieve" / "manifest.json").read_text())
    assert not changed(manifest)
    path = tmp_path / "file"
    path.write_bytes(b"new")
    assert changed({"made_of": {str(path): "old", str(tmp_path / "gone"): ""}}) == [str(path), str(tmp_path / "gone")]


def contents(path: Path) -> dict[str, tuple[bool, bytes]]:
    """The modules of a bundle."""
    data, index = path.read_bytes(), Bundle(str(path), "").index
    return {name: (package, data[at : at + size]) for name, (package, at, size) in index.items()}


@pytest.mark.parametrize("lost", ["vmsieve.formats.outputs.kdump", "struct", "vmsieve.pipeline.workers"])
def test_an_image_that_lacks_something_is_found_out(lost: str, image: Path, tmp_path: Path) -> None:
    """The trial fails when a module is missing, an unusual one too, and says what was run."""
    shutil.copytree(image, tmp_path / "image", symlinks=True)
    (path,) = (tmp_path / "image").rglob("vmsieve/lib*/python3.*/modules")
    modules = contents(path)
    del modules[lost]
    path.write_bytes(pack(modules))
    with pytest.raises(VmsieveError, match="the image does not work: 'vmsieve dump"):
        try_image(str(tmp_path / "image"), ["dump"])
    assert not (tmp_path / "image" / "vmsieve-trial").exists()


def test_a_capture_loads_no_more_than_it_needs(image: Path) -> None:
    """Of the standard library, started as its launcher starts it: a closed list. What is not on it costs memory."""
    (program,) = image.rglob("vmsieve/bin/python3")
    code = (
        "import vmsieve_bundle, sys, os; vmsieve_bundle.install(); "
        "from vmsieve.pipeline.cli import main; import vmsieve.pipeline.capture.work; "
        "main(['dump', '-q', '-f', '-l', sys.argv[1], sys.argv[2]]); "
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] != 'vmsieve'))"
    )
    sample = image.parent / "sample"
    write_sample(str(sample))
    ran = subprocess.run(
        [program, "-ISB", "-c", code, sample, image.parent / "out"], check=True, capture_output=True, text=True
    )
    bare = subprocess.run(
        [program, "-ISB", "-c", "import sys, os; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    loaded = set(ran.stdout.split()) - set(bare.stdout.split())
    assert loaded <= {
        "vmsieve_bundle", "array", "typing", "errno", "types", "_ctypes", "_struct", "struct", "ctypes",
        "ctypes._endian", "gc", "mmap", "_bisect", "bisect", "itertools", "zlib", "_heapq", "heapq", "time",
    }  # fmt: skip


def made(folder: Path, *arguments: object) -> Run:
    """An image made without a trial, with ``folder`` for temporary files."""
    return vmsieve("image", "--no-trial", *arguments, cwd=folder)


def test_an_archive_is_the_folder(image: Path, tmp_path: Path) -> None:
    """But for the loader and the C library, which every initramfs has; ``--complete`` has them too."""
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
    """One line of error, and no output: nor are there temporary files."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    failed(vmsieve("image", "--python", program, tmp_path / "out"), "this Python can't make an image")
    assert {p.name for p in tmp_path.iterdir()} == {"python"}


@pytest.mark.parametrize("body", ["", "cat", "echo 1", "echo '('", r"printf '\377'"])
def test_programs_that_are_no_python(body: str, tmp_path: Path) -> None:
    """Whatever they answer: wrong usage, in a line."""
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
