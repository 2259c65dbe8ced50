"""Man pages: each command, operand and option is there, and troff prints what was written."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import pytest

from tests.dumps import PACKAGE
from vmsieve.pipeline.cli.commands import commands
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.makedumpfile.options import OPTIONS as MAKEDUMPFILE
from vmsieve.pipeline.manual import prose, troff
from vmsieve.pipeline.manual.make import shared_files
from vmsieve.pipeline.process.options import listed

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "1.2.3"
FILES = shared_files(VERSION)
PAGES = {name.rpartition("/")[2][:-2]: text for name, text in FILES.items() if name.startswith("man/")}
COMMANDS = {command.name: command for command in commands()}
#: The requests used, which groff's man macros and mandoc both know.
REQUESTS = {".TH", ".SH", ".PP", ".TP", ".RS", ".RE", ".EX", ".EE", ".br", ".nh"}
CHARACTERS = {
    r"\-": "-",
    r"\(rs": "\\",
    r"\(aq": "'",
    r"\(ga": "`",
    r"\(ha": "^",
    r"\(ti": "~",
    r"\(dq": '"',
    r"\&": "",
}


def read(line: str) -> str:
    """The text that troff prints for a line, without fonts."""
    return re.sub(r"\\(f[BIP]|\(..|[-&])", lambda found: CHARACTERS.get(found[0], ""), line)


def terms(page: str) -> list[tuple[str, str]]:
    """The tagged paragraphs: tag and text."""
    found = re.findall(r"^\.TP\n(.*)\n((?:[^.].*\n)*)", PAGES[page], re.MULTILINE)
    return [(read(tag), " ".join(read(text).split())) for tag, text in found]


def test_every_command_has_a_page() -> None:
    """And the program's page has every command."""
    assert set(PAGES) == {"vmsieve", *(f"vmsieve-{name}" for name in COMMANDS)}
    assert [term for term, _ in terms("vmsieve") if term in COMMANDS] == [*COMMANDS]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "makedumpfile"])
def test_a_page_has_every_option(name: str) -> None:
    """Each with all its names, its argument and its help, in the order of ``--help``."""
    found = iter(terms(f"vmsieve-{name}"))
    for option in listed(COMMANDS[name].options):
        tag, text = next(found)
        names = option.flags or [option.metavar]
        assert tag.replace(",", "").replace("[=", " [").split()[: len(names)] == names
        if option.takes_value:
            value = option.metavar or "|".join(option.choices)
            assert tag.endswith(f"[={value}]" if option.bare else value)
        assert text.startswith(" ".join(option.text.split()))
        if option.flags and option.default not in (None, "", 0, [], False, True):
            assert "default" in text
    assert next(found)[0] == "-h, --help"


def test_the_page_of_makedumpfile_has_every_option_of_its_own() -> None:
    found = dict(terms("vmsieve-makedumpfile"))
    assert {option.typed: option.text for option in MAKEDUMPFILE}.items() <= found.items()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_all_sections(page: str) -> None:
    sections = re.findall(r"^\.SH (.*)", PAGES[page], re.MULTILINE)
    assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"], "a description is the rest of a module's docstring"
    assert {"OPTIONS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"} <= {*sections}
    assert page == "vmsieve" or "EXAMPLES" in sections
    assert len(sections) == len({*sections})


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_every_example(name: str) -> None:
    """As it is typed, in a literal block."""
    typed = [read(line) for line in re.findall(r"^\.EX\n(.*)\n\.EE", PAGES[f"vmsieve-{name}"], re.MULTILINE)]
    lines = [line for line in COMMANDS[name].examples.splitlines() if line.startswith("  vmsieve")]
    assert len(typed) == len(lines) > 0
    for line, words in zip(lines, typed):
        assert line.startswith(f"  {words}")


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_a_request_by_accident(page: str) -> None:
    assert PAGES[page].isascii()
    for line in PAGES[page].splitlines():
        assert not line.startswith("'")
        assert not line.startswith(".") or line.split()[0] in REQUESTS
        assert not re.search(r"(?<!\\)-", line), "not an ASCII hyphen everywhere"
        assert "\\" not in read(line).replace("\\", "", line.count(r"\(rs"))
    assert f'"vmsieve {VERSION}"' in PAGES[page]


@pytest.mark.parametrize("text", [".so /etc/passwd", "'br", r"a\fBc", "a .b ...", "-x --y", '`a\' "b" ~ ^', "\\"])
def test_text_is_printed_as_it_is(text: str) -> None:
    assert read(troff.escaped(text)) == text
    assert not troff.escaped(text).startswith((".", "'"))
    assert not re.search(r"\s\.", troff.escaped(text)), "a wrapped line would be a request"


def test_exit_statuses_are_those_of_the_help() -> None:
    with redirect_stdout(io.StringIO()) as output:
        main(["--help"])
    assert all(f"{number}  {text}" in output.getvalue() for number, text in prose.EXIT_STATUS.items())


@pytest.mark.parametrize(
    ("page", "statuses"), [("doctor", "0123"), ("check-crashkernel", "0123"), ("verify", "0124"), ("dump", "01234")]
)
def test_a_command_may_have_exit_statuses_of_its_own(page: str, statuses: str) -> None:
    section = PAGES[f"vmsieve-{page}"].partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    assert re.findall(r"\\fB(\d)\\fP", section) == [*statuses]


def test_environment_variables_are_described() -> None:
    """Each that the program reads."""
    texts = [path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "lowering.py"]
    named = {name for text in texts for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", text)}
    assert {"VMSIEVE_KERNELS", "TERM"} <= named <= {*prose.ENVIRONMENT}


def test_they_are_made_without_other_packages() -> None:
    """Where a wheel is built, only hatchling, numba and llvmlite are installed."""
    code = """
import sys
from contextlib import redirect_stdout
for name in ("zstandard", "lz4", "tqdm", "isal", "PIL", "elftools", "numba", "numpy"):
    sys.modules[name] = None
from vmsieve.pipeline.manual.make import shared_files
print(len(shared_files("1")))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) == len(FILES)


@pytest.mark.oracle
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_no_fault(page: str, tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    (tmp_path / page).write_text(PAGES[page])
    ran = subprocess.run(["mandoc", "-T", "lint", page], cwd=tmp_path, capture_output=True, text=True, check=False)
    # A date would differ between two builds of the same source.
    assert [line for line in ran.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.oracle
@pytest.mark.parametrize("page", PAGES)
def test_groff_prints_it_without_warnings(page: str, tmp_path: Path) -> None:
    """Options, too: with ASCII hyphens, so that they can be pasted."""
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("man or groff is not installed")
    (tmp_path / f"{page}.1").write_text(PAGES[page])
    command = ["man", "--warnings", "-E", "UTF-8", "-l", f"./{page}.1"]
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert ran.stderr == ""
    printed = " ".join(ran.stdout.split())
    for tag, text in terms(page):
        assert f"{tag} {text}" in printed
