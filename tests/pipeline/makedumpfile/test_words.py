"""makedumpfile's command line: accepted and refused words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dumps import ROOT
from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.makedumpfile import options
from vmsieve.pipeline.makedumpfile.getopt import parse_words
from vmsieve.pipeline.makedumpfile.main import main
from vmsieve.pipeline.makedumpfile.request import parse_command_line


def read(*words: str) -> tuple[dict[str, str], list[str]]:
    given, operands = parse_words(words)
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
    """Bundled letters, arguments in the same word or the next, abbreviated long options, operands anywhere."""
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
def test_invalid_command_lines_are_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line has the reason; the status is 1, for a check as for a run. No file is opened for it."""
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_command_line(words.split())
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
    """Any words are a request, or refused in one line."""
    try:
        request = parse_command_line(words)
    except UsageError as error:
        assert 0 < len(str(error)) < 500 + sum(map(len, words))  # noqa: PT017
    else:
        assert max(request.levels) <= 31 >= request.message_level


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
def test_check_params_accepts_kdump_scripts(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check-params`` answers by its status only; the files need not exist."""
    assert main(["--check-params", *words.split()]) == 0
    if words not in ("-h", "-v"):
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", ["-d x a b", "--num-threads y a b", "--message-level z a b"])
def test_numbers_are_looked_at_closely_in_time_only(words: str) -> None:
    """For a dump, a malformed number is 0, as in the C library's atoi."""
    assert main(["--check-params", *words.split()]) == 1
    assert parse_command_line(words.split()).levels == (0,)


def test_the_page_about_it_has_the_table() -> None:
    """docs/makedumpfile.md describes the effect of every option."""
    page = (ROOT / "docs" / "makedumpfile.md").read_text()
    rows = (f"| `{option.typed}` | {option.state} | {option.text} |" for option in options.OPTIONS)
    assert "\n".join(["| makedumpfile | here | |", "|---|---|---|", *rows, ""]) in page
