"""Did you mean: advice on options and commands that do not exist. Loaded only for a mistake."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.process.options import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.pipeline.cli.commands import Command

#: Names of other programs for our options: makedumpfile's, and common ones.
_HERE: Final = {
    "-x": "--vmlinux", "-i": "--vmcoreinfo", "-L": "--size-limit", "-D": "--verbose", "-j": "--threads",
    "--num-threads": "--threads", "--jobs": "--threads", "--partial-dmesg": "--partial", "--debug": "--verbose",
    "--dump-level": "--level", "--exclude": "--level", "--filter": "--level", "--out": "--output",
    "--overwrite": "--force", "--silent": "--quiet", "-s": "--quiet", "--compress": "--codec", "--elf": "--format",
    "--compression": "--codec", "--limit": "--size-limit", "--timeout": "--deadline",
}  # fmt: skip
#: What is done by another command, or in another way.
_ELSEWHERE: Final = {
    "--message-level": "-q prints errors only, -v more",
    "--split": "'vmsieve makedumpfile --split' writes several files, which 'vmsieve dump A,B OUTPUT' joins",
    "--reassemble": "'vmsieve dump A,B OUTPUT' joins the files of a split dump",
    "-R": "'vmsieve dump - OUTPUT' rebuilds a dump from a flattened stream on standard input",
    "--dump-dmesg": "'vmsieve dmesg INPUT OUTPUT' writes the kernel log",
    "--partial-dmesg": "'vmsieve dmesg --partial INPUT OUTPUT' writes the log since it was last cleared",
    "-g": "'vmsieve vmcoreinfo --vmlinux FILE' prints VMCOREINFO",
    "--mem-usage": "'vmsieve classes INPUT' counts the pages of each class",
    "--dry-run": "'vmsieve classes INPUT' estimates the dump of each level",
    "--show-stats": "the report is printed in any case",
    "--check-params": "'vmsieve makedumpfile --check-params' checks makedumpfile's options",
    "-h": "--help",
}
#: How alike two words must be, from 0 to 1: --levl is --level rather than --help.
_ALIKE: Final = 0.7
#: Names that commands do not have.
_COMMANDS: Final = {
    "log": "dmesg", "compare": "verify", "diff": "verify", "check": "verify", "filter": "dump", "compress": "dump",
    "convert": "dump", "copy": "dump", "map": "classes", "zones": "classes", "levels": "classes", "stats": "classes",
    "estimate": "classes", "show": "info", "file": "info", "codecs": "info", "benchmark": "bench", "kdump": "capture",
    "install": "install-kdump", "uninstall": "install-kdump", "setup": "install-kdump", "initramfs": "image",
    "anonymise": "skeleton", "anonymize": "skeleton", "strip": "skeleton",
}  # fmt: skip


def similar(word: str, among: Iterable[str]) -> list[str]:
    """Those of ``among`` that ``word`` may be a misspelling of, the likeliest first."""
    from difflib import get_close_matches

    lower = {one.lower(): one for one in among}
    return [lower[one] for one in get_close_matches(word.lower(), lower, n=2, cutoff=_ALIKE)]


def advice(command: Command, flag: str, flags: list[str]) -> tuple[str, str]:
    """What is wrong with ``flag``, which is not one of a command's ``flags``, and what to do; empty: no idea."""
    message = f"no option is called {flag}"
    if _HERE.get(flag) in flags:
        return message, f"did you mean {_HERE[flag]}?"
    if flag in _ELSEWHERE:
        return message, _ELSEWHERE[flag]
    if others := [name for name in commands_with(flag) if name != command.name]:
        return message, f"'vmsieve {others[0]}' has it"
    near = similar(flag, (one for one in flags if one.startswith("--"))) if flag.startswith("--") else []
    if near:
        return message, f"did you mean {' or '.join(near)}?"
    return message, "'vmsieve makedumpfile' takes makedumpfile's options" if _of_makedumpfile(flag) else ""


def commands_with(flag: str) -> list[str]:
    """Names of the commands that have the option ``flag``, in the order of the help."""
    from vmsieve.pipeline.cli.commands import commands

    return [one.name for one in commands() if any(flag in option.flags for option in listed(one.options))]


def _of_makedumpfile(flag: str) -> bool:
    from vmsieve.pipeline.makedumpfile.options import OPTIONS

    return flag.lstrip("-") in {name for option in OPTIONS for name in (option.letter, option.name)}


def command_like(word: str, names: Iterable[str]) -> list[str]:
    """Commands that ``word`` may mean, the likeliest first."""
    known = _COMMANDS.get(word.lower())
    return [known] if known else similar(word, names)
