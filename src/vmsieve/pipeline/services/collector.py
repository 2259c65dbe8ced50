"""The command that a kdump service runs to save memory."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.makedumpfile.request import parse_command_line

#: vmsieve's program in a collector setting; services treat names that contain "makedumpfile" as makedumpfile.
OURS: Final = "vmsieve-makedumpfile"


@record(frozen=True)
class Collector:
    """A collector command."""

    words: tuple[str, ...]  # the command and its options, without input and output
    ours: bool  # true for vmsieve
    streams: bool  # the service reads the dump from the command's standard output
    origin: str  # the setting that names it

    @property
    def options(self) -> tuple[str, ...]:
        """Its options."""
        return self.words[1:]

    @property
    def is_makedumpfile(self) -> bool:
        """True if it takes makedumpfile's options."""
        return bool(self.words) and self.words[0].rpartition("/")[2] in ("makedumpfile", OURS)

    def level(self) -> int:
        """The first dump level in its options; 0 if missing or malformed."""
        for at, word in enumerate(self.words):
            if word.startswith("-d"):
                text = (word[2:] or " ".join(self.words[at + 1 : at + 2])).split(",")[0]
                known = text.isascii() and text.isdigit() and len(text) < 4 and int(text) < 32
                return int(text) if known else 0
        return 0


def refusal(options: tuple[str, ...], *, streams: bool) -> str:
    """Why vmsieve rejects these options of makedumpfile, or "". ``streams``: the dump goes to standard output."""
    try:
        parse_command_line(["--check-params", *options, "vmcore", *([] if streams else ["dumpfile"])])
    except UsageError as error:
        return str(error)
    return ""


def require_accepted(options: tuple[str, ...], *, streams: bool) -> None:
    """Raise UsageError if vmsieve rejects these options; see :func:`refusal`."""
    why = refusal(options, streams=streams)
    if why:
        what = f"vmsieve does not take the options {' '.join(options)!r}: {why}"
        raise UsageError(what, hint="--options gives others")
