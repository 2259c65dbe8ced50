"""All files that the package installs below ``share``."""

from __future__ import annotations

from vmsieve.pipeline.manual import bash, fish, zsh
from vmsieve.pipeline.manual.pages import pages
from vmsieve.pipeline.manual.troff import command_page, main_page

#: The command that is also a program of its own.
_ALONE = "makedumpfile"


def shared_files(version: str) -> dict[str, str]:
    """The text of each file, by its path below ``share``."""
    every = pages()
    (alone,) = (page for page in every if page.command == _ALONE)
    return {
        "man/man1/vmsieve.1": main_page(every, version),
        **{f"man/man1/{page.name}.1": command_page(page, version) for page in every},
        "bash-completion/completions/vmsieve": bash.script(every),
        f"bash-completion/completions/{alone.name}": bash.alone(alone),
        "fish/vendor_completions.d/vmsieve.fish": fish.script(every),
        f"fish/vendor_completions.d/{alone.name}.fish": fish.alone(alone),
        "zsh/site-functions/_vmsieve": zsh.script(every, alone),
    }
