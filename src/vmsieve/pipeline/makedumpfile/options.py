"""The options of makedumpfile 1.7.9 and of its repository (commit b7587f1), and their support here.

This table is used by the parser, ``-h``, ``--check-params`` and the table in ``docs/makedumpfile.md``.
"""

from __future__ import annotations

from typing import Final

from vmsieve.formats.slim.records import record

#: Supported; differences from makedumpfile are in the text.
DONE: Final = "yes"
#: Accepted without effect.
IGNORED: Final = "ignored"
#: The pages that it excludes are kept: ``--check-params`` rejects it; a dump is made without it, with a message.
KEPT: Final = "without it"
#: Rejected: the dump would not be the requested one.
REFUSED: Final = "refused"


@record(frozen=True)
class Option:
    """An option.

    Attributes:
        letter: Short form without the dash, or "".
        name: Long form without the dashes, or "".
        argument: Name of its argument, or "".
        state: Support: one of the constants of this module.
        text: Its effect here, or why it has no effect.
    """

    letter: str
    name: str
    argument: str
    state: str
    text: str

    @property
    def key(self) -> str:
        """Key in ``Request.values``: the letter, or else the name."""
        return self.letter or self.name

    @property
    def typed(self) -> str:
        """Forms and argument, as in a usage message."""
        forms = ["-" + self.letter] * bool(self.letter) + ["--" + self.name] * bool(self.name)
        return ", ".join(forms) + (" " + self.argument if self.argument else "")


OPTIONS: Final = (
    Option("c", "", "", DONE, "pack pages with zlib"),
    Option("l", "", "", DONE, "pack pages with LZO"),
    Option("p", "", "", DONE, "pack pages with snappy"),
    Option("z", "", "", DONE, "pack pages with zstd; of several codecs, the last one counts"),
    Option("E", "", "", DONE, "write an ELF core; threads are allowed with it"),
    Option("d", "", "LEVEL[,LEVEL...]", DONE, "what to leave out, the sum of 1 (zero pages), 2 (page cache), 4 (page "
           "cache with private data, and 2), 8 (user pages), 16 (free pages); when there is no room, the file is "
           "deleted and the next LEVEL is tried"),
    Option("L", "", "SIZE", DONE, "write no more than SIZE bytes (K, M, G, T: of 1024)"),
    Option("F", "", "", DONE, "write the flattened format to standard output; to DUMPFILE if one is named"),
    Option("R", "", "", DONE, "make a file of the flattened stream at standard input; a stream that is cut off ends at "
           "once, as an incomplete file"),
    Option("f", "", "", DONE, "overwrite the output"),
    Option("x", "", "VMLINUX", DONE, "the kernel's vmlinux file; read with pyelftools, which no crash kernel needs"),
    Option("i", "", "VMCOREINFO", DONE, "the kernel's VMCOREINFO, from a file"),
    Option("g", "", "VMCOREINFO", DONE, "write the VMCOREINFO of the kernel whose file -x names; -f to "
           "overwrite, which makedumpfile does unasked"),
    Option("", "split", "", DONE, "share a dump out among several files, which are written side by side; threads are "
           "allowed with it"),
    Option("", "splitblock-size", "KIB", IGNORED, "the files of a split dump are cut at any page, so that they hold "
           "equally many"),
    Option("", "reassemble", "", DONE, "join the files of a split dump, in any order; every command of vmsieve reads "
           "them as they are too, with commas between them"),
    Option("", "num-threads", "N", DONE, "threads that read and pack, in any format; no more than the cores and the "
           "available memory are good for"),
    Option("", "dump-dmesg", "", DONE, "write the kernel's log alone; what can be read of a damaged one"),
    Option("", "partial-dmesg", "", DONE, "with --dump-dmesg: what was logged since the log was last cleared"),
    Option("", "mem-usage", "", DONE, "count the pages of each class in /proc/kcore, /proc/vmcore or any dump"),
    Option("", "dry-run", "", DONE, "do everything but write; the report tells the size, give or take a hundredth"),
    Option("", "show-stats", "", DONE, "print the report, whatever --message-level says"),
    Option("", "check-params", "", DONE, "say whether the command line is right, and end"),
    Option("", "message-level", "N", DONE, "what is said, the sum of 1 (progress), 2 (common), 4 (errors), 8 (debug), "
           "16 (report); 7 if nothing is asked for"),
    Option("D", "", "", DONE, "say more: 8 is added to the message level"),
    Option("", "vtop", "ADDRESS", DONE, "translate a virtual address; DUMPFILE may be left out then"),
    Option("", "non-mmap", "", DONE, "read VMCORE, never map it"),
    Option("h", "help", "", DONE, "print this"),
    Option("v", "", "", DONE, "print the version, and which codecs there are"),
    Option("b", "", "ORDER", IGNORED, "what is written is gathered anyway"),
    Option("", "cyclic-buffer", "KIB", IGNORED, "the page bitmaps are held compressed: there are no cycles"),
    Option("", "work-dir", "DIR", IGNORED, "no temporary files are needed"),
    Option("e", "", "", KEPT, "the struct pages of pages that are left out are kept"),
    Option("X", "", "", KEPT, "the pages of Xen's user domains are kept"),
    Option("", "extension", "FILE", KEPT, "its plug-ins are machine code for makedumpfile itself; the pages that one "
           "would leave out are kept"),
    Option("", "xen-syms", "FILE", KEPT, "nothing is known of Xen: every page is kept where a Xen hypervisor ran"),
    Option("", "xen-vmcoreinfo", "FILE", KEPT, "as --xen-syms"),
    Option("", "xen_phys_start", "ADDRESS", KEPT, "as --xen-syms"),
    Option("", "config", "FILE", REFUSED, "no data is erased here: the dump would hold what was to be kept secret"),
    Option("", "eppic", "FILE", REFUSED, "as --config"),
    Option("", "diskset", "FILE", REFUSED, "dumps of sadump are not read"),
)  # fmt: skip


def table() -> list[str]:
    """The options as lines of a Markdown table."""
    lines = ["| makedumpfile | here | |", "|---|---|---|"]
    for option in OPTIONS:
        typed = option.typed.replace("|", "\\|")
        lines.append(f"| `{typed}` | {option.state} | {option.text} |")
    return lines
