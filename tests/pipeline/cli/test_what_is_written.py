"""Every command and option that writes: never to an input, no overwriting without -f, owner-only permissions."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

from tests.dumps import PACKAGE
from tests.pipeline.cli_kit import environment
from vmsieve.pipeline.cli.commands import commands
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.makedumpfile.main import main as makedumpfile
from vmsieve.pipeline.process.options import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    Words = list[str]

#: A benchmark that takes no time.
BRIEF = ("--codec", "lzo", "--threads", "1", "--sample", "1", "--seconds", "1")
#: By name: the command line that reads ``input`` and writes ``output``. -f is inserted on request.
WRITERS: dict[str, Callable[[str, str], Words]] = {
    "dump": lambda i, o: ["dump", "-q", "-d", "31", i, o],
    "dump -E": lambda i, o: ["dump", "-q", "-d", "31", "-E", i, o],
    "dump -F": lambda i, o: ["dump", "-q", "-d", "31", "-F", i, o],
    "dump --frame": lambda i, o: ["dump", "-q", "-d", "31", "-E", "--frame", "gzip", i, o],
    "dump --json": lambda i, o: ["dump", "-q", "-d", "31", "--json", o, i, f"{o}.dump"],
    "dump -o": lambda i, o: ["dump", "-q", "-d", "31", "-o", o, i],
    "dmesg": lambda i, o: ["dmesg", i, o],
    "info --json": lambda i, o: ["info", "--json", o, i],
    "verify --json": lambda i, o: ["verify", i, i, "--json", o],
    "classes --json": lambda i, o: ["classes", i, "--json", o],
    "skeleton --json": lambda i, o: ["skeleton", "-q", i, f"{o}.dump", "--json", o],
    "skeleton": lambda i, o: ["skeleton", "-q", i, o],
    "classes --map": lambda i, o: ["classes", "--map", o, i],
    "bench --html": lambda i, o: ["bench", *BRIEF, "--html", o, i],
    "makedumpfile": lambda i, o: ["makedumpfile", "-d", "31", i, o],
    "makedumpfile -E": lambda i, o: ["makedumpfile", "-E", "-d", "31", i, o],
    "makedumpfile --split": lambda i, o: ["makedumpfile", "--split", "-d", "31", i, o, f"{o}.part"],
    "makedumpfile --dump-dmesg": lambda i, o: ["makedumpfile", "--dump-dmesg", i, o],
}
NAMES = [n for n in WRITERS if n not in ("dump --json", "skeleton --json")]  # their dumps are made in any case


def run(words: Words, force: bool = False) -> int:
    words = [words[0], *["-f"] * force, *words[1:]]
    return makedumpfile(words[1:]) if words[0] == "makedumpfile" else main(words)


@pytest.fixture(scope="module")
def sample(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dump with a log, under a name that a map may have too."""
    out = tmp_path_factory.mktemp("sample") / "in.png"
    assert main(["dump", "-q", "-d", "31", str(demo), str(out)]) == 0
    return out


@pytest.fixture
def there(sample: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it in the working directory; it must be unchanged at the end."""
    path, before = tmp_path / "in.png", os.getcwd()
    shutil.copyfile(sample, path)
    os.chdir(tmp_path)
    yield path
    os.chdir(before)
    assert path.read_bytes() == sample.read_bytes()


@pytest.mark.parametrize("writer", WRITERS)
def test_no_input_is_written_to(writer: str, there: Path) -> None:
    """Under any of its names, with -f too: refused before the work, and nothing else is written."""
    os.symlink(there, "link.png")
    os.link(there, "hard.png")
    os.symlink(".", "folder.png")
    before = sorted(os.listdir())
    for name in ("in.png", str(there), "link.png", "hard.png", "folder.png/in.png", f"../{there.parent.name}/in.png"):
        for force in (False, True):
            assert run(WRITERS[writer]("in.png", name), force) in (1, 2)
    fd = os.open(there, os.O_RDONLY)
    assert run(WRITERS[writer]("in.png", f"/proc/self/fd/{fd}"), force=True) in (1, 2)
    os.close(fd)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("writer", NAMES)
def test_existing_files_stay_without_f(writer: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file and a FIFO; with -f, the file is replaced by an owner-only one, and no other file is left."""
    out = Path("out.png")
    out.write_bytes(b"precious")
    os.chmod(out, 0o644)
    os.mkfifo("fifo.png")
    for name in ("out.png", "fifo.png"):
        assert run(WRITERS[writer](str(there), name)) == 1
        assert "exists already (-f overwrites it)" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert run(WRITERS[writer](str(there), "out.png"), force=True) == 0
    assert out.read_bytes() != b"precious"
    assert out.stat().st_mode & 0o777 == 0o600
    parts = ["out.png.part"] if "--split" in writer else []
    assert sorted(os.listdir()) == ["fifo.png", "in.png", "out.png", *parts]


@pytest.mark.parametrize("writer", WRITERS)
def test_new_files_are_owner_only(writer: str, there: Path) -> None:
    """Whatever the umask allows."""
    before = os.umask(0)
    try:
        assert run(WRITERS[writer](str(there), "out.png")) == 0
    finally:
        os.umask(before)
    made = [name for name in os.listdir() if name != "in.png"]
    assert "out.png" in made
    assert {os.stat(name).st_mode & 0o777 for name in made} == {0o600}


@pytest.mark.parametrize("writer", NAMES)
def test_a_failure_leaves_the_old_file(writer: str, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The medium fails at the end: the old file stays, and the exit status reports the failure."""
    Path("out.png").write_bytes(b"precious")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    assert run(WRITERS[writer](str(there), "out.png"), force=True) == 1
    monkeypatch.undo()
    assert Path("out.png").read_bytes() == b"precious"
    assert {*os.listdir()} - {"out.png.part"} == {"in.png", "out.png"}


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_a_dump_is_on_its_medium_before_it_is_marked(form: str, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is synced before the mark, and the mark before the name: a power failure leaves a rightly marked file."""
    told: list[str] = []
    pwrite = os.pwrite

    def write(fd: int, data: Any, offset: int) -> int:
        told.append("write")
        return pwrite(fd, data, offset)

    def sync(fd: int) -> None:
        told.append("sync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "sync")

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)
    assert main(["dump", "-q", "-d", "31", "--format", form, str(there), "out"]) == 0
    assert told[-5:] == ["write", "sync", "write", "sync", "sync folder"]


def test_a_stream_is_torn_until_its_end(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flattened stream begins with a header that says whole: a killed rebuild leaves a torn file."""
    assert main(["dump", "-q", "-F", "-d", "31", str(there), "flat"]) == 0
    code = (
        "import os, signal, sys\n"
        "from vmsieve.pipeline.dump import rebuild\n"
        "from vmsieve.pipeline.cli.main import main\n"
        "real, left = rebuild.rebuild, [100000]\n"
        "def read(size):\n"
        "    data = os.read(0, min(size, 700))\n"
        "    left[0] -= len(data)\n"
        "    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return data\n"
        "rebuild.rebuild = lambda _, put: real(read, put)\n"
        "main(['dump', '-f', '-', 'out'])\n"
    )
    for old in (False, True):
        if old:
            Path("out").write_bytes(b"old")
        ran = subprocess.run(
            [sys.executable, "-c", code], input=Path("flat").read_bytes(), env=environment(), check=False,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert ran.returncode == -9
        assert Path("out").exists() == old
        assert not old or Path("out").read_bytes() == b"old"
        (left,) = Path().glob("out.incomplete-*")
        assert main(["info", str(left)]) == 4
        left.unlink()


@pytest.mark.parametrize("form", [[], ["-E"], ["-F"]])
@pytest.mark.parametrize("writes", [0, 1, 4])
def test_killed_in_the_place_of_another(form: Words, writes: int, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL while a dump is replaced: the old one stays, and the temporary file is not taken for whole."""
    Path("out").write_bytes(b"precious")
    pid = os.fork()
    if not pid:
        left = [writes]

        def dying(name: str) -> Any:
            real = getattr(os, name)

            def call(*arguments: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), 9)
                return real(*arguments)

            return call

        monkeypatch.setattr(os, "pwrite", dying("pwrite"))
        monkeypatch.setattr(os, "write", dying("write"))
        try:
            main(["dump", "-q", "-f", "-d", "0", "--codec", "none", *form, str(there), "out"] if form != ["-E"] else
                 ["dump", "-q", "-f", "-d", "0", *form, str(there), "out"])  # fmt: skip
        finally:
            os._exit(70)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    assert Path("out").read_bytes() == b"precious"
    (beside,) = Path().glob("out.incomplete-*")
    assert main(["info", str(beside)]) in (1, 4)


@pytest.mark.parametrize("name", ["/nonexistent/r", "there", ".", "fifo"])
def test_an_unwritable_report_does_not_fail_the_dump(
    name: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report that can't be written, or exists: the dump and its status are unaffected, and a line says so."""
    Path("there").write_bytes(b"precious")
    os.mkfifo("fifo")
    assert main(["dump", "-q", "-d", "31", "--json", name, str(there), "out"]) == 0
    assert capsys.readouterr().err.startswith(f"vmsieve: there will be no report: {name}: ")
    assert main(["verify", str(there), "out"]) == 0
    assert Path("there").read_bytes() == b"precious"
    assert main(["dump", "-q", "-d", "31", "--size-limit", "300000", "--json", name, str(there), "less"]) == 4


def test_a_report_that_fails_at_the_end(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with the folder removed by then."""
    os.mkdir("folder")
    monkeypatch.setattr("vmsieve.pipeline.dump.report.Report.lines", lambda _: [str(os.rmdir("folder"))])  # type: ignore[func-returns-value]
    assert main(["dump", "-d", "31", "--json", "folder/report", str(there), "out"]) == 0
    assert "there is no report: folder/report: can't write the report: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out", "./out", "link"])
def test_a_report_is_not_the_dump(name: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file can't be both: nothing is done."""
    os.symlink(".", "folder")
    assert main(["dump", "-q", "-f", "--json", name if name != "link" else "folder/out", str(there), "out"]) == 2
    assert "can't be the dump and the report" in capsys.readouterr().err
    assert not os.path.lexists("out")


def test_files_about_the_kernel_are_inputs(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of --vmcoreinfo, --vmlinux, -i and -x, and each volume of a dump, are refused as outputs."""
    assert main(["vmcoreinfo", str(there)]) == 0
    Path("info").write_text(capsys.readouterr().out)
    text = Path("info").read_bytes()
    for words in (
        ["dump", "-f", "--vmcoreinfo", "info", "in.png", "info"],
        ["dump", "-f", "--vmlinux", "info", "in.png", "info"],
        ["dump", "-f", "--json", "info", "--vmcoreinfo", "info", "in.png", "out"],
        ["dmesg", "-f", "--vmcoreinfo", "info", "in.png", "info"],
        ["skeleton", "-f", "--vmcoreinfo", "info", "in.png", "info"],
        ["dump", "-f", "in.png,info", "info"],
        ["dump", "-f", "in.png,info", "out", "--json", "info"],
    ):
        assert main(words) in (1, 2)
    for option in ("-i", "-x"):
        for job in ([], ["--dump-dmesg"], ["--split"]):
            assert (
                makedumpfile(["-f", *job, option, "info", "in.png", "info", *["out"] * bool(job == ["--split"])]) == 1
            )
    assert makedumpfile(["-f", "-g", "info", "-x", "info"]) == 1
    assert Path("info").read_bytes() == text
    assert sorted(os.listdir()) == ["in.png", "info"]


def test_vmcoreinfo_of_a_vmlinux_file(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makedumpfile -g too overwrites nothing without -f."""
    monkeypatch.setattr("vmsieve.pipeline.makedumpfile.kernel_info.read_vmlinux", lambda _: b"OSRELEASE=6.12\n")
    assert makedumpfile(["-g", "info", "-x", str(there)]) == 0
    assert Path("info").read_bytes() == b"OSRELEASE=6.12\n"
    assert Path("info").stat().st_mode & 0o777 == 0o600
    Path("info").write_bytes(b"precious")
    assert makedumpfile(["-g", "info", "-x", str(there)]) == 1
    assert Path("info").read_bytes() == b"precious"
    assert makedumpfile(["-f", "-g", "info", "-x", str(there)]) == 0
    assert Path("info").read_bytes() == b"OSRELEASE=6.12\n"


@pytest.mark.parametrize("words", [["dump", "-F", "in.png"], ["dump", "-E", "in.png", "-"], ["dmesg", "in.png"],
                                   ["vmcoreinfo", "in.png"], ["info", "in.png"], ["classes", "in.png"],
                                   ["skeleton", "in.png", "-"], ["makedumpfile", "-F", "in.png"]])  # fmt: skip
def test_standard_output_is_not_the_input(words: Words, there: Path) -> None:
    """A shell appends a command's output to its input (``>>``): refused."""
    with there.open("ab") as stream:
        ran = subprocess.run(
            [sys.executable, "-m", "vmsieve", *words], stdout=stream, stderr=subprocess.PIPE, env=environment(),
            check=False, text=True,
        )  # fmt: skip
    assert ran.returncode == 1
    assert "standard output: the output is the input" in ran.stderr


def test_an_image_goes_the_same_way(tmp_path: Path) -> None:
    """An archive: overwrites neither files nor its own interpreter; owner-only."""
    out = tmp_path / "image"
    out.write_bytes(b"precious")
    program = tmp_path / "python"
    shutil.copyfile(os.path.realpath(sys.executable), program)
    words = ["image", "--format", "cpio", "--pack", "none", "--no-trial", str(out)]
    assert main(words) == 2
    assert out.read_bytes() == b"precious"
    assert main([*words, "-f"]) == 0
    assert out.read_bytes()[:6] == b"070701"
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["image", "python"]


#: Arguments with a value, by command: names of inputs, and names of outputs. The other
#: ones are numbers, names and texts.
READ = {"INPUT", "SOURCE", "DUMP", "--vmcoreinfo", "--vmlinux", "--python", "--root"}
WRITTEN = {
    "dump": {"OUTPUT", "-o", "--json"}, "dmesg": {"OUTPUT", "-o"}, "skeleton": {"OUTPUT", "-o", "--json"},
    "classes": {"--map", "--json"}, "info": {"--json"}, "verify": {"--json"}, "bench": {"--html", "--json"},
    "check-crashkernel": {"--json"}, "doctor": {"--json"}, "image": {"OUTPUT", "-o"}, "capture": {"TARGET", "--status"},
}  # fmt: skip
#: Commands that write a file only by ``printing.Report``, as ``info`` does; these need a system or a crash kernel.
BY_REPORT = {"check-crashkernel", "doctor"}
OTHER = {
    "-d", "-E", "-c", "-l", "-p", "-z", "--codec", "--format", "--frame", "--threads", "--select", "--size-limit",
    "--order",
    "--sample", "--seconds", "--output-speed", "--crashkernel", "--pack", "--flavour", "--options", "--deadline",
    "--stall", "--min-level", "OPTION",
}  # fmt: skip


def test_every_option_is_known() -> None:
    """A new option is added here with the files that it names; if it writes, also to the writers above."""
    for command in commands():
        for option in listed(command.options):
            called = {*option.flags} or {option.metavar}
            known = called & (READ | OTHER | WRITTEN.get(command.name, set()))
            assert known or not option.takes_value, f"does {command.name} {called} name an input, an output, or none?"
    tested = {words[0] for words in (make("i", "o") for make in WRITERS.values())}
    assert {*WRITTEN} - {"image", "capture", *BY_REPORT} <= tested


#: Source files that open files for writing in another way, and which files.
ELSEWHERE = {
    "pipeline/process/writing.py": "the one way",
    "pipeline/process/streams.py": "standard streams",
    "pipeline/services/system_files.py": "a service's configuration, which keeps its owner and labels",
    "pipeline/cli/commands/image.py": "folders of an image, moved to their place",
    "pipeline/initramfs/tree.py": "files of an image, in a folder of its own",
    "pipeline/initramfs/sample.py": "the same",
    "pipeline/initramfs/inside.py": "the same",
    "pipeline/initramfs/make.py": "the same",
    "filters/linux/debuginfo/elf_sections.py": "a file without a name",
    "formats/frames/_unpacked.py": "a file without a name",
    "formats/compiler/lowering.py": "machine code, when the package is built",
}
_CALLS = {
    "rename", "replace", "link", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "mkdtemp", "TemporaryDirectory",
    "write_text", "write_bytes", "copyfile", "copy", "copy2", "move", "truncate",
}  # fmt: skip
_OWNERS = {"os", "shutil", "tempfile", "posix"}


def opens_for_writing(node: ast.AST) -> bool:
    """True if a call creates, opens for writing or renames a file, judged by its source text."""
    if not isinstance(node, ast.Call):
        return False
    text = ast.unparse(node)
    if isinstance(node.func, ast.Name) and node.func.id == "open":
        mode = ast.unparse(node.args[1]) if len(node.args) > 1 else "'r'"
        # Of a descriptor, the call that opened it counts.
        return any(one in mode for one in "wax+") and not ast.unparse(node.args[0]).endswith("fd")
    if not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr == "open" and ast.unparse(node.func.value) in _OWNERS:
        return any(flag in text for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "flags"))
    written = node.func.attr in {"write_text", "write_bytes"}
    return written or (node.func.attr in _CALLS and ast.unparse(node.func.value) in _OWNERS)


def test_nothing_is_opened_for_writing_elsewhere() -> None:
    """All files are written by one module. A capture opens its own files, which its tests check."""
    found = set()
    for room in ("pipeline", "filters", "formats"):
        for path in (PACKAGE / room).rglob("*.py"):
            if any(opens_for_writing(node) for node in ast.walk(ast.parse(path.read_text()))):
                found.add(path.relative_to(PACKAGE).as_posix())
    found = {name for name in found if not name.startswith("pipeline/capture/")}
    assert found == {*ELSEWHERE}


def test_every_writer_is_used() -> None:
    """Each writer of the table uses its output."""
    used: dict[str, Any] = {name: make("in", "out") for name, make in WRITERS.items()}
    assert all("out" in words for words in used.values())
