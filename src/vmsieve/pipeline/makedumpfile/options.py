"""The options of makedumpfile 1.7.9 and of its repository (commit b7587f1), and their support here.

This table is used by the parser, ``-h``, ``--check-params`` and the table in ``docs/makedumpfile.md``.
"""

from __future__ import annotations

from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import Final

DONE: Final = "yes"  # supported; differences from makedumpfile are in the text
IGNORED: Final = "ignored"  # accepted without effect
#: The pages that it excludes are kept: ``--check-params`` rejects it; a dump is made without it, with a message.
KEPT: Final = "without it"
REFUSED: Final = "refused"  # rejected: the dump would not be the requested one


@record(frozen=True)
class Option:
    """An option."""

    typed: str  # its forms, and the name of its argument, as in a usage message
    state: str  # support: one of the constants of this module
    text: str  # its effect here, or why it has no effect

    @property
    def letter(self) -> str:
        """Short form without the dash, or ""."""
        return self.typed[1].strip("-")

    @property
    def name(self) -> str:
        """Long form without the dashes, or ""."""
        return self.typed.partition("--")[2].partition(" ")[0]

    @property
    def has_argument(self) -> bool:
        """True if it takes an argument."""
        return not self.typed.split()[-1].startswith("-")

    @property
    def key(self) -> str:
        """Key in ``Request.values``: the letter, or else the name."""
        return self.letter or self.name


OPTIONS: Final = (
    Option("-c", DONE, "pack pages with zlib"),
    Option("-l", DONE, "pack pages with LZO"),
    Option("-p", DONE, "pack pages with snappy"),
    Option("-z", DONE, "pack pages with zstd; of several codecs, the last one counts"),
    Option("-E", DONE, "write an ELF core; may be combined with --num-threads"),
    Option("-d LEVEL[,LEVEL...]", DONE, "dump level, the sum of 1 (zero pages), 2 (page cache), 4 (private page cache, "
           "implies 2), 8 (user pages), 16 (free pages); on ENOSPC, the file is deleted and the next LEVEL is tried"),
    Option("-L SIZE", DONE, "limit the output to SIZE bytes (suffixes K, M, G, T: powers of 1024)"),
    Option("-F", DONE, "write the flattened format to standard output, or to DUMPFILE if given"),
    Option("-R", DONE, "rebuild a dump from a flattened stream on standard input; a truncated stream gives an "
           "incomplete dump at once"),
    Option("-f", DONE, "overwrite the output"),
    Option("-x VMLINUX", DONE, "the kernel's vmlinux file; needs pyelftools, which a crash kernel's image lacks"),
    Option("-i VMCOREINFO", DONE, "the kernel's VMCOREINFO, from a file"),
    Option("-g VMCOREINFO", DONE, "write the VMCOREINFO of the vmlinux given by -x; existing files need -f"),
    Option("--split", DONE, "split the dump into several files, written in parallel; may be combined with "
           "--num-threads"),
    Option("--splitblock-size KIB", IGNORED, "a split dump is cut at any page, into files with equal numbers of pages"),
    Option("--reassemble", DONE, "join the files of a split dump, in any order; vmsieve also reads them unjoined, as "
           "a comma-separated list"),
    Option("--num-threads N", DONE, "threads that scan, read and pack; limited by the number of CPUs and free memory"),
    Option("--dump-dmesg", DONE, "write the kernel log only; of a damaged log, the readable part"),
    Option("--partial-dmesg", DONE, "with --dump-dmesg: messages since the log was last cleared"),
    Option("--mem-usage", DONE, "count the pages of each class in /proc/kcore, /proc/vmcore or a dump"),
    Option("--dry-run", DONE, "write nothing; the report has the size, to within 1 %"),
    Option("--show-stats", DONE, "print the report at any message level"),
    Option("--check-params", DONE, "check the command line and exit"),
    Option("--message-level N", DONE, "messages to print, the sum of 1 (progress), 2 (common), 4 (errors), 8 (debug), "
           "16 (report); default: 7"),
    Option("-D", DONE, "add 8 (debug) to the message level"),
    Option("--vtop ADDRESS", DONE, "translate a virtual address; DUMPFILE is optional"),
    Option("--non-mmap", DONE, "read VMCORE, never map it"),
    Option("-h, --help", DONE, "print this"),
    Option("-v", DONE, "print the version and the available codecs"),
    Option("-b ORDER", IGNORED, "writes are buffered in any case"),
    Option("--cyclic-buffer KIB", IGNORED, "the page bitmaps are compressed in memory: there are no cycles"),
    Option("--work-dir DIR", IGNORED, "no temporary files are needed"),
    Option("-e", KEPT, "the struct pages of excluded pages are kept"),
    Option("-X", KEPT, "the pages of Xen's user domains are kept"),
    Option("--extension FILE", KEPT, "plug-ins are machine code for makedumpfile; pages that one excludes are kept"),
    Option("--xen-syms FILE", KEPT, "Xen is not supported: all pages are kept where a Xen hypervisor ran"),
    Option("--xen-vmcoreinfo FILE", KEPT, "as --xen-syms"),
    Option("--xen_phys_start ADDRESS", KEPT, "as --xen-syms"),
    Option("--config FILE", REFUSED, "data can't be erased: the dump would contain what should be kept secret"),
    Option("--eppic FILE", REFUSED, "as --config"),
    Option("--diskset FILE", REFUSED, "sadump is not supported"),
)  # fmt: skip
