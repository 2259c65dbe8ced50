"""The command that a kdump service runs to save memory."""

from __future__ import annotations

from typing import Final

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record
from vmsieve.pipeline.makedumpfile.request import parse_command_line

__all__ = ["OURS", "Collector", "refusal"]

#: How vmsieve is called by services that are told a command; it is one that they know how to treat.
OURS: Final = "vmsieve-makedumpfile"


@record(frozen=True)
class Collector:
    """A command and how it is come by.

    Attributes:
        words: The command and its options, without input and output.
        ours: It is vmsieve.
        streams: The service takes the dump from its standard output.
        origin: Where it is set.
    """

    words: tuple[str, ...]
    ours: bool
    streams: bool
    origin: str

    @property
    def options(self) -> tuple[str, ...]:
        """Its options alone."""
        return self.words[1:]

    @property
    def is_makedumpfile(self) -> bool:
        """It takes makedumpfile's options."""
        return bool(self.words) and self.words[0].rpartition("/")[2] in ("makedumpfile", OURS)

    def level(self) -> int:
        """The dump level that it is asked for first; 0 if none is, or it is no number."""
        for at, word in enumerate(self.words):
            if word.startswith("-d"):
                text = (word[2:] or " ".join(self.words[at + 1 : at + 2])).split(",")[0]
                known = text.isascii() and text.isdigit() and len(text) < 4 and int(text) < 32
                return int(text) if known else 0
        return 0


def refusal(options: tuple[str, ...], *, streams: bool) -> str:
    """Why vmsieve would not take these options of makedumpfile; empty: it takes them.

    ``streams``: its standard output takes the dump, not a file.
    """
    try:
        parse_command_line(["--check-params", *options, "vmcore", *([] if streams else ["dumpfile"])])
    except UsageError as error:
        return str(error)
    return ""
