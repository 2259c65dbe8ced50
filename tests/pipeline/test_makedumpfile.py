"""makedumpfile's command line: what is understood, what is refused, what is said, and the dumps that come of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.memory_file import bits
from tests.dumps import ROOT, dump
from tests.pipeline.cli_kit import environment
from tests.pipeline.kit import contents, machine, make
from tests.test_rooms import HEAVY, MEMORY_BUDGET
from vmsieve.formats.errors import KernelError, UsageError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli import main as vmsieve
from vmsieve.pipeline.compat import options
from vmsieve.pipeline.compat.main import main
from vmsieve.pipeline.compat.request import understand
from vmsieve.pipeline.compat.usage import Without
from vmsieve.pipeline.compat.words import read_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.build.machine import Machine

PROGRAM = "from vmsieve.pipeline.compat.main import run; run()"


@pytest.fixture(scope="module")
def built() -> Machine:
    return machine()


@pytest.fixture(scope="module")
def core(built: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.write(tmp_path_factory.mktemp("machine") / "core")


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The program itself."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, check=False, **more)


def read(*words: str) -> tuple[dict[str, str], list[str]]:
    given, operands = read_words(words)
    return {option.key: value for option, value in given}, operands


@pytest.mark.parametrize(
    ("words", "options_", "operands"),
    [
        ("-cd31 a b", {"c": "", "d": "31"}, ["a", "b"]),
        ("-c -d 31 a b", {"c": "", "d": "31"}, ["a", "b"]),
        ("a -Fc b -d 1,31 c", {"F": "", "c": "", "d": "1,31"}, ["a", "b", "c"]),
        ("--num-threads=4 a", {"num-threads": "4"}, ["a"]),
        ("--num 4 --mess 7 --dump a", {"num-threads": "4", "message-level": "7", "dump-dmesg": ""}, ["a"]),
        ("--split a -- -c --nonsense", {"split": ""}, ["a", "-c", "--nonsense"]),
        ("--splitblock 4 - b", {"splitblock-size": "4"}, ["-", "b"]),
        ("-d -c a", {"d": "-c"}, ["a"]),
        ("--xen_phys_start=0x1", {"xen_phys_start": "0x1"}, []),
    ],
)
def test_words_are_read_as_getopt_long_reads_them(words: str, options_: dict[str, str], operands: list[str]) -> None:
    """Bundled letters, arguments in the same word or the next, long options cut short, operands anywhere."""
    assert read(*words.split()) == (options_, operands)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nonsense a b", "no option --nonsense"),
        ("-Q a b", "no option -Q"),
        ("-cQ a b", "no option -Q"),
        ("--xen a b", "--xen-syms or --xen-vmcoreinfo or --xen_phys_start"),
        ("a b -d", "-d lacks its argument"),
        ("a b --num-threads", "--num-threads lacks its argument"),
        ("--dry-run=3 a b", "--dry-run takes no argument"),
        ("a", "a file is missing"),
        ("a b c", "too many files"),
        ("-E -c a b", "no codec"),
        ("-d 32 a b", "0 to 31"),
        ("-d 1,99 a b", "0 to 31"),
        ("--message-level 32 a b", "0 to 31"),
        ("-L 0 a b", "a size"),
        ("-L 5x a b", "a size"),
        ("-i f -x g a b", "-i and -x"),
        ("--partial-dmesg a b", "goes with --dump-dmesg"),
        ("--dump-dmesg --dry-run a b", "--dry-run"),
        ("-R -c a", "-c does not go with it"),
        ("-R -d 1 a", "-d does not go with it"),
        ("-R a b", "too many files"),
        ("-g f", "-x VMLINUX"),
        ("-g f -x v -d 31", "-d does not go with it"),
        ("-g f -x v a", "too many files"),
        ("-d 31 --config f -x v a b", "--config FILE can't be done"),
        ("-d 31 --eppic f -x v a b", "--eppic FILE can't be done"),
        ("--diskset=f --diskset=g a", "--diskset FILE can't be done"),
    ],
)
def test_what_makes_no_sense_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says why; the status is 1, when it is checked as when it is done. No file is opened for that."""
    with pytest.raises(UsageError, match=re.escape(said)):
        understand(words.split())
    for checked in (False, True):
        assert main([*["--check-params"] * checked, *words.split()]) == 1
        heard = capsys.readouterr()
        assert said in heard.err
        assert heard.err.count("\n") == 1
        assert ("makedumpfile Failed." in heard.out) is not checked


WORDS = st.one_of(
    st.sampled_from([f"-{o.letter}" for o in options.OPTIONS if o.letter] + [f"--{o.name}" for o in options.OPTIONS]),
    st.sampled_from(["--", "-", "", "a", "b", "31", "-1", "-d31", "--num-threads=", "-L9999999K", "-d" + "1" * 5000]),
    st.sampled_from(["--check-params", "--message-level=" + "2" * 5000, "-L" + "3" * 5000, "-d1,,2", "-d,"]),
    st.text(max_size=12),
)


@pytest.mark.fuzz
@given(st.lists(WORDS, max_size=7))
def test_any_words_are_a_request_or_refused(words: list[str]) -> None:
    """Whatever is typed; what is refused is told in a line."""
    try:
        request = understand(words)
    except UsageError as error:
        assert 0 < len(str(error)) < 500 + sum(map(len, words))  # noqa: PT017
    else:
        assert max(request.levels) <= 31 >= request.messages


@pytest.mark.parametrize(
    "words",
    [
        "-l --message-level 7 -d 31 a b",
        "-l --message-level 7 -d 31 -F a",
        "-F -c -d 31 a",
        "-F -z --num-threads 8 --message-level 6 -d 31 a",
        "-E --num-threads=8 -d 31 a b",
        "-E -F --num-threads=8 -d 31 a",
        "-F -d 31 a b",
        "--num-threads=0 -b 4 --cyclic-buffer 1024 --work-dir /tmp --splitblock-size 1 --non-mmap a b",
        "-c -l a b",
        "--mem-usage /proc/kcore",
        "--dump-dmesg --partial-dmesg a b",
        "-R a",
        "-g f -x v",
        "-h",
        "-v",
    ],
)
def test_what_kdump_scripts_ask_for_is_right(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check-params`` says so by its status alone; the files need not be there."""
    assert main(["--check-params", *words.split()]) == 0
    if words not in ("-h", "-v"):
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", ["-e", "-X", "--extension x.so", "--xen-syms s", "--xen_phys_start 0x100000"])
def test_a_dump_is_made_without_what_only_makes_it_smaller(
    words: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In time it is refused; in the crash kernel, there is a dump, and a line that says what is not done."""
    out = str(tmp_path / "out")
    assert main(["--check-params", *words.split(), "-d", "31", str(core), out]) == 1
    assert "is not done" in capsys.readouterr().err
    assert main([*words.split(), "-d", "31", str(core), out]) == 0
    assert "is not done" in capsys.readouterr().err
    assert contents(tmp_path / "out")


@pytest.mark.parametrize("words", ["-d x a b", "--num-threads y a b", "--message-level z a b"])
def test_numbers_are_looked_at_closely_in_time_only(words: str) -> None:
    """As the C library's atoi when a dump is at stake: what is no number is 0."""
    assert main(["--check-params", *words.split()]) == 1
    assert understand(words.split()).levels == (0,)


@pytest.mark.parametrize("codec", ["", "-c", "-l", "-p", "-z"])
def test_a_dump(codec: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the one that ``vmsieve dump`` makes, byte for byte; what is said is what makedumpfile says."""
    names = {"": "none", "-c": "zlib", "-l": "lzo", "-p": "snappy", "-z": "zstd"}
    make(core, tmp_path / "ours", 31, codec=names[codec])
    assert main([*codec.split(), "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()
    heard = capsys.readouterr()
    assert heard.out == f"\nThe dumpfile is saved to {tmp_path / 'out'}.\n\nmakedumpfile Completed.\n"
    assert "\rCopying data                                      : [100.0 %]" in heard.err
    assert main(["-d", "31", str(core), str(tmp_path / "out")]) == 1
    heard = capsys.readouterr()
    assert "exists already" in heard.err
    assert heard.out == "\nmakedumpfile Failed.\n"


def test_an_elf_core_and_threads(core: Path, tmp_path: Path) -> None:
    make(core, tmp_path / "ours", 31, format="elf")
    assert main(["-E", "--num-threads=3", "--non-mmap", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()


def test_a_stream_and_a_file_of_it(core: Path, tmp_path: Path) -> None:
    """-F writes nothing but data to standard output; -R, and `vmsieve-makedumpfile -F`, make the file of it."""
    sent = run("-F", "-l", "--num-threads=2", "-d", "31", core)
    assert sent.returncode == 0
    assert sent.stdout.startswith(b"makedumpfile\0")
    assert b"The dumpfile is saved to STDOUT.\n\nmakedumpfile Completed." in sent.stderr
    assert run("-R", tmp_path / "out", input=sent.stdout).returncode == 0
    make(core, tmp_path / "ours", 31, codec="lzo")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()
    cut = run("-R", "-f", tmp_path / "out", input=sent.stdout[:-100])
    assert cut.returncode == 1
    assert b"ends before its end mark" in cut.stderr
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    source.close()


def test_the_report(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row, in makedumpfile's order and form; the message level says what is said."""
    assert main(["--message-level", "16", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    assert heard.err == ""
    rows = re.findall(r"^ *([A-Z(][\w -]+?) *: (0x[0-9a-f]{16}|\d+)$", heard.out, re.MULTILINE)
    assert [name for name, _ in rows] == [
        "Original pages", "Excluded pages", "Pages filled with zero", "Non-private cache pages", "Private cache pages",
        "User process data pages", "Free pages", "Hwpoison pages", "Offline pages", "Remaining pages", "Memory Hole",
        "Total pages", "Write bytes",
    ]  # fmt: skip
    found = {name: int(value, 0) for name, value in rows}
    classes = list(found.values())[2:9]
    assert found["Excluded pages"] == sum(classes) > 0
    assert found["Original pages"] == found["Excluded pages"] + found["Remaining pages"]
    assert found["Total pages"] == found["Original pages"] + found["Memory Hole"]
    assert main(["--message-level", "0", "-f", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_report_of_a_dump_that_was_filtered_before(
    core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it lacks already is excluded, as if all had been done at once."""
    make(core, tmp_path / "before", 17)
    found = []
    for number, source in enumerate((core, tmp_path / "before")):
        assert main(["--message-level", "16", "-d", "31", str(source), str(tmp_path / f"{number}")]) == 0
        rows = dict(re.findall(r"^ *([A-Z][\w ]+?) *: (0x[0-9a-f]{16})$", capsys.readouterr().out, re.MULTILINE))
        found.append([rows[name] for name in ("Original pages", "Excluded pages", "Remaining pages", "Memory Hole")])
    assert found[0] == found[1]


@pytest.mark.parametrize("levels", ["1,31", "0,8,31"])
def test_the_next_level_is_tried_when_there_is_no_room(
    levels: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the first level was: what is left is the dump of the last one."""
    make(core, tmp_path / "ours", 31, codec="none")
    size = (tmp_path / "ours").stat().st_size
    assert main(["-d", levels, "-L", str(size), str(core), str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    assert f"Can't write the dump file({tmp_path / 'out'}). Size limit({size}) reached.\n" in heard.out
    assert heard.out.count("Retry to create a dumpfile by dump_level(") == levels.count(",")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()


def test_when_the_levels_run_out_the_last_dump_stays(
    core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Marked as incomplete, with status 1."""
    out = tmp_path / "out"
    assert main(["-d", "17,31", "-L", "1M", str(core), str(out)]) == 1
    assert "makedumpfile Failed." in capsys.readouterr().out
    assert out.stat().st_size <= 1 << 20
    source = open_source(str(out))
    assert source.incomplete
    assert source.dump_level == 31
    source.close()


def test_a_full_stream_is_not_tried_again() -> None:
    """What went out can't be taken back."""
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, "-F", "-d", "1,31", str(ROOT / "tests/zoo/x86_64-6.1-kdump.zst")],
            env=environment(), stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert b"Retry" not in ran.stderr
    assert b"makedumpfile Failed." in ran.stderr


def test_a_kernel_that_is_not_understood(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every page is kept, status 0, and it is said."""
    strange = tmp_path / "strange"
    strange.write_bytes(core.read_bytes().replace(b"mem_section", b"mem_sectixn"))
    assert main(["-d", "31", str(strange), str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    assert "The kernel version is not supported.\n" in heard.out
    assert "every page is kept" in heard.err


@pytest.fixture(scope="module")
def demo(scratch: Path) -> Path:
    return dump("demo.elf", scratch)


def test_the_log(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``vmsieve dmesg`` writes it; -F: to standard output, with what SUSE's script looks for on standard error."""
    assert vmsieve(["dmesg", str(demo), str(tmp_path / "ours")]) == 0
    assert main(["--dump-dmesg", str(demo), str(tmp_path / "log")]) == 0
    assert (tmp_path / "log").read_bytes() == (tmp_path / "ours").read_bytes() != b""
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert f"The dmesg log is saved to {tmp_path / 'log'}.\n\nmakedumpfile Completed." in capsys.readouterr().out
    assert main(["--dump-dmesg", str(demo), str(tmp_path / "log")]) == 1
    ran = run("-F", "--message-level", "8", "--dump-dmesg", demo)
    assert (ran.returncode, ran.stdout) == (0, (tmp_path / "ours").read_bytes())
    # IFS=" =" read KEY VALUE, as bash does it.
    told = dict(line.strip().split("=", 1) for line in ran.stderr.decode().splitlines())
    assert told.keys() == {"OSRELEASE", "CRASHTIME"}
    assert main(["-f", "-L", "100", "--dump-dmesg", str(demo), str(tmp_path / "log")]) == 1
    assert (tmp_path / "log").stat().st_size == 100


def test_the_log_since_it_was_cleared(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--partial-dmesg, and ``vmsieve dmesg --partial``, ask for that part."""
    asked = []

    def kernel_log(*_: object, since_clear: bool) -> Iterator[bytes]:
        asked.append(since_clear)
        yield b"a line\n"

    monkeypatch.setattr("vmsieve.pipeline.log.kernel_log", kernel_log)
    for words in (["--partial-dmesg"], []):
        assert main(["-f", "--dump-dmesg", *words, str(demo), str(tmp_path / "log")]) == 0
    for words in (["--partial"], []):
        assert vmsieve(["dmesg", *words, str(demo), str(tmp_path / "log")]) == 0
    assert asked == [True, False, True, False]


def test_a_damaged_log(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be read of it is there, and the status says that this is not all."""

    def kernel_log(*_: object, since_clear: bool) -> Iterator[bytes]:
        yield b"a line\n"
        raise KernelError("the rest is damaged")

    monkeypatch.setattr("vmsieve.pipeline.log.kernel_log", kernel_log)
    assert main(["--dump-dmesg", str(demo), str(tmp_path / "log")]) == 1
    assert (tmp_path / "log").read_bytes() == b"a line\n"


def test_vmcoreinfo_of_another_kernel(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, as makedumpfile's; of the same kernel it is used."""
    assert vmsieve(["vmcoreinfo", str(core)]) == 0
    text = capsys.readouterr().out
    (tmp_path / "right").write_text(text)
    (tmp_path / "wrong").write_text(re.sub("OSRELEASE=.*", "OSRELEASE=1.2.3", text))
    assert main(["-d", "31", "-i", str(tmp_path / "right"), str(core), str(tmp_path / "out")]) == 0
    for words in (["-d", "31"], ["--dump-dmesg"]):
        assert main([*words, "-i", str(tmp_path / "wrong"), str(core), str(tmp_path / "none")]) == 2
        assert "another kernel" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_address(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--vtop says what the dump's headers say; with a DUMPFILE, the dump is made too."""
    source = open_source(str(core))
    virtual, paddr, _ = min(
        ((one.vaddr, one.paddr, one.size) for one in source.virtual), key=lambda one: one[0]
    )  # fmt: skip
    source.close()
    for typed in (f"{virtual:#x}", f"{virtual:x}"):
        assert main(["--vtop", typed, str(core)]) == 0
        assert f"{virtual:16x}  {paddr:x}\n" in capsys.readouterr().out
    for wrong in ("0", "zzz", f"{1 << 64:#x}"):
        assert main(["--vtop", wrong, str(core)]) == 1
    assert main(["--vtop", f"{virtual:#x}", "-d", "31", str(core), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").exists()


def test_a_dry_run(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written; the report tells the size that the dump would have, give or take a hundredth."""
    make(core, tmp_path / "ours", 31, codec="lzo")
    assert main(["--dry-run", "--show-stats", "-l", "-d", "31", str(core), str(tmp_path / "none")]) == 0
    heard = capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    assert "saved" not in heard
    size = int(re.search(r"Write bytes     : (\d+)", heard)[1])  # type: ignore[index]
    assert size == pytest.approx((tmp_path / "ours").stat().st_size, rel=0.01)


def test_memory_by_type(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the counts that ``vmsieve classes`` has."""
    assert main(["--mem-usage", str(core)]) == 0
    heard = capsys.readouterr().out
    counts = {name: int(count) for name, count in re.findall(r"^([A-Z_]+)\t+(\d+)", heard, re.MULTILINE)}
    total = re.search(r"^Total pages on system:\t(\d+)", heard, re.MULTILINE)
    assert total
    assert vmsieve(["classes", "--json", str(core)]) == 0
    ours = json.loads(capsys.readouterr().out)["pages"]
    assert counts == {
        "ZERO": ours["zero"], "NON_PRI_CACHE": ours["cache"], "PRI_CACHE": ours["cache_private"], "USER": ours["user"],
        "FREE": ours["free"] + ours["unaccepted"], "KERN_DATA": ours["kept"],
    }  # fmt: skip
    assert int(total[1]) == sum(counts.values()) + ours["hwpoison"] + ours["offline"]
    assert "Completed" not in heard


def test_memory_of_the_crash_kernel_is_not_counted(core: Path) -> None:
    """It is no part of the machine's dump: pages that lie in it as a whole."""
    source = open_source(str(core))
    less = Without(source, [(0x10_0800, 0x10_4800), (0x7FFF_F000, 1 << 40)])
    for first in (0, 256):
        for whole, left in zip(source.memory_bits(first, 512, 4096), less.memory_bits(first, 512, 4096)):
            gone = {0x101, 0x102, 0x103}
            assert bits(left) == {bit for bit in bits(whole) if bit + first not in gone}
    source.close()


def test_the_page_about_it_has_the_table() -> None:
    """docs/makedumpfile.md says of every option what the program does with it."""
    page = (ROOT / "docs" / "makedumpfile.md").read_text()
    assert "\n".join(options.table()) in page


def test_a_log_that_is_not_there_leaves_no_file(core: Path, tmp_path: Path) -> None:
    """The next try is not hindered by an empty one."""
    assert main(["--dump-dmesg", str(core), str(tmp_path / "log")]) == 1
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("name", ["makedumpfile", "/sbin/makedumpfile"])
def test_a_link_that_is_called_makedumpfile_is_that(name: str) -> None:
    """To vmsieve, or to vmsieve-makedumpfile."""
    for module in ("start", "compat.main"):
        code = f"import sys; sys.argv[0] = {name!r}; from vmsieve.pipeline.{module} import run; run()"
        for words, status in ((["--check-params", "-d", "31", "a", "b"], 0), (["--check-params", "a"], 1)):
            command = [sys.executable, "-c", code, *words]
            assert subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == status


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option is in the help; the codecs are named as makedumpfile names its own."""
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(option.typed in told for option in options.OPTIONS)
    assert main(["-v"]) == 0
    assert {"lzo\tenabled", "snappy\tenabled", "zstd\tenabled"} <= set(capsys.readouterr().out.splitlines())


def test_nobody_hears_the_help() -> None:
    """Standard output that is full or closed is no reason for a traceback."""
    for words in (["-h"], ["-v"], ["--check-params"]):
        for out in (os.open("/dev/full", os.O_WRONLY), os.open(os.devnull, os.O_RDONLY)):
            ran = subprocess.run(
                [sys.executable, "-c", PROGRAM, *words], env=environment(), stdout=out, stderr=subprocess.PIPE,
                check=False,
            )  # fmt: skip
            os.close(out)
            assert b"Traceback" not in ran.stderr


def test_what_is_read_is_not_overwritten(core: Path, demo: Path, tmp_path: Path) -> None:
    """Not by any name it has, with -f neither: not by a log, a joined dump, a rebuilt one, VMCOREINFO."""
    there = demo.read_bytes()[: 1 << 20]
    source = tmp_path / "in"
    source.write_bytes(there)
    os.link(source, tmp_path / "link")
    for words in (("--dump-dmesg", "-f", source, source), ("--dump-dmesg", "-f", source, tmp_path / "link")):
        assert b"is the input" in run(*words).stderr
    flat, parts = tmp_path / "flat", [tmp_path / "part,1", tmp_path / "part,2"]
    flat.write_bytes(run("-F", "-d", "31", core).stdout)
    assert main(["--split", "-d", "31", str(core), *map(str, parts)]) == 0
    before = [path.read_bytes() for path in (flat, parts[0])]
    with flat.open("rb") as stream:
        assert b"is the input" in run("-R", "-f", flat, stdin=stream).stderr
    assert b"is the input" in run("--reassemble", "-f", *parts, parts[0]).stderr
    assert [path.read_bytes() for path in (flat, parts[0])] == before
    assert source.read_bytes() == there


def test_a_log_for_no_file_removes_none(demo: Path, tmp_path: Path) -> None:
    """A device or a FIFO that takes the log is still there afterwards."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        assert main(["--dump-dmesg", "-f", str(demo), str(fifo)]) == 0
        told, _ = reader.communicate()
    assert b"Linux version" in told
    assert fifo.is_fifo()


def test_the_next_level_goes_where_a_link_leads(core: Path, tmp_path: Path) -> None:
    """The link stays, and what it names is the smaller dump."""
    link, target = tmp_path / "link", tmp_path / "target"
    target.touch()
    link.symlink_to(target)
    make(core, tmp_path / "ours", 31, codec="zlib")
    limit = (tmp_path / "ours").stat().st_size + 4096
    assert main(["-f", "-c", "-d", "0,31", "-L", str(limit), str(core), str(link)]) == 0
    assert link.is_symlink()
    assert target.read_bytes() == (tmp_path / "ours").read_bytes()


def test_it_loads_little(demo: Path, tmp_path: Path) -> None:
    """As in a crash kernel: nothing heavy, no argparse, and no more memory than ``vmsieve dump`` may take."""
    code = (
        "import json, sys; from vmsieve.pipeline.compat.main import main; status = main(sys.argv[1:])\n"
        "peak = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM:'))\n"
        "print(json.dumps([status, peak, sorted(sys.modules)]))"
    )
    words = ["--message-level", "4", "-l", "-d", "31", str(demo), str(tmp_path / "out")]
    told = subprocess.run(
        [sys.executable, "-c", code, *words], env={**environment(), "VMSIEVE_KERNELS": "aot"}, check=True,
        capture_output=True,
    )  # fmt: skip
    status, peak, modules = json.loads(told.stdout)
    assert status == 0
    assert not {"argparse", *HEAVY} & {module.partition(".")[0] for module in modules}
    assert peak < MEMORY_BUDGET * 1024


def test_it_is_a_command_of_vmsieve_too(core: Path, tmp_path: Path) -> None:
    """Words that look like options of vmsieve's are makedumpfile's; the program does without argparse for them."""
    words = ["makedumpfile", "--check-params", "-l", "-d", "31", "a", "b"]
    code = (
        "import os, sys; sys.argv[1:] = " + repr(words) + "; from vmsieve.pipeline.start import run\n"
        "os._exit = lambda status: sys.exit(status + 10 * ('argparse' in sys.modules)); run()"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    assert vmsieve(["makedumpfile", "-cd", "31", "--num-threads=2", str(core), str(tmp_path / "out")]) == 0
    assert vmsieve(["makedumpfile", "--check-params", "-h"]) == 0
    make(core, tmp_path / "ours", 31, codec="zlib")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()
