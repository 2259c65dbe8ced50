"""Text of man pages that is no command's own."""

from __future__ import annotations

from vmsieve.pipeline.capture.target import RECORD
from vmsieve.pipeline.services.journal import FOLDER

TITLE = "filter and compress the memory of a crashed machine"

DESCRIPTION = (
    "``vmsieve`` turns the memory of a crashed Linux machine into a small dump that ``crash``, ``drgn``, ``gdb`` and "
    "libkdumpfile open. It reads /proc/vmcore in the kdump crash kernel, or a saved dump of any supported architecture "
    "on any machine. It leaves out the pages that an investigation rarely needs (zero, free, page cache, user memory), "
    "packs the rest, and writes makedumpfile's kdump-compressed format or an ELF core.",
    "Formats are recognised by content: ELF cores, kdump-compressed dumps (split ones too), flattened streams, "
    "stand-alone dumps of s390x, LKCD, VMDUMP, and any of these in a zstd, lz4 or gzip frame.",
    "A dump holds passwords and keys. Files are written with mode 0600.",
)

#: Meaning of each bit of a dump level.
LEVELS = {
    1: "pages of zeros (described in the dump, but not stored)",
    2: "page cache without private data",
    4: "page cache with private data, and 2",
    8: "memory of user processes",
    16: "free pages in blocks of the buddy allocator",
}

#: Meaning of each exit status, unless a command's help has its own.
EXIT_STATUS = {
    0: "done as asked",
    1: "failed, nothing usable",
    2: "wrong usage",
    3: "whole, but less was filtered than asked",
    4: "usable, but incomplete (truncated input, unreadable pages, disk full)",
}
MAKEDUMPFILE_STATUS = {
    0: "done as asked",
    1: "failed, wrong usage, or the dump is incomplete",
    2: "the file of -x or -i belongs to another kernel",
}

#: Environment variables that the program reads.
ENVIRONMENT = {
    "VMSIEVE_KERNELS": "how inner loops run: aot (machine code built with the package), jit (numba), python "
    "(interpreted, slow) or auto (the first available one; the default)",
    "TMPDIR": "folder for temporary files, such as a dump in a frame without a seek table (default: /var/tmp)",
    "TERM": "dumb or empty: progress is printed as lines, and no line is drawn again",
    "LC_ALL, LC_CTYPE, LANG": "C or POSIX: progress is drawn in ASCII; all other text is the same in any locale",
    "NO_COLOR": "without effect: nothing is coloured",
}

FILES = {
    "/proc/vmcore": "memory of the crashed kernel, in the crash kernel",
    "/proc/kcore": "memory of the running kernel, as root",
}
#: Files of a command, beside those of all.
OWN_FILES = {
    "install-kdump": {FOLDER: "the changed files as they were, for --undo"},
    "capture": {RECORD: "the record, beside the dump, as described in docs/capture.md"},
}

SEE_ALSO = ("crash(8)", "drgn(1)", "gdb(1)", "makedumpfile(8)", "kdump.conf(5)", "kexec(8)")
