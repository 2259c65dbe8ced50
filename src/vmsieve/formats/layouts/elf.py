"""ELF core files: the structures of the gABI as Linux and QEMU use them for memory dumps.

Sources: ``include/uapi/linux/elf.h`` and ``elf-em.h`` of Linux (headers, notes, machines),
``include/linux/elfcore.h`` of Linux (``struct elf_prstatus``), ``include/linux/vmcore_info.h`` of Linux (names of the
crash notes), ``elf_info.h`` of makedumpfile (the incomplete flag).
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

# e_ident
MAGIC: Final = b"\x7fELF"
EI_CLASS: Final = 4
EI_DATA: Final = 5
ELFCLASS32: Final = 1
ELFCLASS64: Final = 2
ELFDATA2LSB: Final = 1
ELFDATA2MSB: Final = 2
EV_CURRENT: Final = 1

_EHDR: Final = (
    "e_ident:16s e_type:H e_machine:H e_version:I e_entry:{0} e_phoff:{0} e_shoff:{0} e_flags:I e_ehsize:H"
    " e_phentsize:H e_phnum:H e_shentsize:H e_shnum:H e_shstrndx:H"
)
_SHDR: Final = (
    "sh_name:I sh_type:I sh_flags:{0} sh_addr:{0} sh_offset:{0} sh_size:{0} sh_link:I sh_info:I sh_addralign:{0}"
    " sh_entsize:{0}"
)
EHDR: Final = Struct("Elf64_Ehdr", _EHDR.format("Q"))
PHDR: Final = Struct("Elf64_Phdr", "p_type:I p_flags:I p_offset:Q p_vaddr:Q p_paddr:Q p_filesz:Q p_memsz:Q p_align:Q")
SHDR: Final = Struct("Elf64_Shdr", _SHDR.format("Q"))
EHDR_32: Final = Struct("Elf32_Ehdr", _EHDR.format("I"))
PHDR_32: Final = Struct(
    "Elf32_Phdr", "p_type:I p_offset:I p_vaddr:I p_paddr:I p_filesz:I p_memsz:I p_flags:I p_align:I"
)
SHDR_32: Final = Struct("Elf32_Shdr", _SHDR.format("I"))
#: Name and descriptor follow, each padded to 4 bytes.
NHDR: Final = Struct("Elf64_Nhdr", "n_namesz:I n_descsz:I n_type:I")
NOTE_ALIGN: Final = 4

ET_CORE: Final = 4
PT_LOAD: Final = 1
PT_NOTE: Final = 4
#: p_flags: readable, writable, executable.
PF_RWX: Final = 7
#: e_phnum if the number of program headers is in sh_info of section header 0.
PN_XNUM: Final = 0xFFFF
#: p_paddr of a segment that has no physical address.
NO_PADDR: Final = 0xFFFFFFFFFFFFFFFF
NO_PADDR_32: Final = 0xFFFFFFFF
#: e_flags bit that makedumpfile -E sets when it could not write everything.
FLAG_INCOMPLETE: Final = 0x1

#: e_machine by ``uname -m``. ppc64 and ppc64le share theirs.
MACHINES: Final = {
    "x86_64": 62, "aarch64": 183, "ppc64": 21, "ppc64le": 21, "s390x": 22, "riscv64": 243, "loongarch64": 258,
}  # fmt: skip
#: The same for machines whose kernels are not supported: messages name them.
OTHER_MACHINES: Final = {
    "i386": 3, "m68k": 4, "mips64": 8, "parisc64": 15, "ppc": 20, "arm": 40, "sh4": 42, "sparc64": 43, "ia64": 50,
    "alpha": 0x9026,
}  # fmt: skip

_NUMBERS: Final = {**MACHINES, **OTHER_MACHINES}
#: Label of a 32-bit x86 machine; QEMU's label of an x86_64 one that is not in long mode.
I386: Final = "i386"
_ALIASES: Final = {"arm64": "aarch64", "S390X": "s390x", "powerpc64": "ppc64", "powerpc64le": "ppc64le"}
#: Prefixes of more precise names in utsname, such as ``armv7l`` and ``i686``.
_FAMILIES: Final = (("arm", "arm"), ("i386", I386), ("i486", I386), ("i586", I386), ("i686", I386))

#: Name (without its NUL) and type of notes.
NOTE_PRSTATUS: Final = (b"CORE", 1)
NOTE_VMCOREINFO: Final = (b"VMCOREINFO", 0)
NOTE_ORDER: Final = (b"VMSIEVE", 1)  # the order of the pages: vmsieve.formats.order_note
NOTE_ERASEINFO: Final = (b"ERASEINFO", 0)  # makedumpfile's record of what it erased

#: Names of a Xen host's notes, beside those of the Linux in its first domain (``kexec.h`` and ``elfnote.h`` of Xen,
#: kexec-tools), and the prefix of section names of ``xl dump-core`` (``docs/misc/dump-core-format.txt`` of Xen).
XEN_NOTES: Final = (b"Xen", b"VMCOREINFO_XEN")
XEN_SECTIONS: Final = b"\0.xen_"

#: Of all 64-bit machines, up to ``pr_reg``; and bytes after ``pr_reg`` (``pr_fpvalid``, padding).
PRSTATUS: Final = Struct("struct elf_prstatus", "pr_pid:i@32 :@112")
PRSTATUS_TAIL: Final = 8
#: The same of i386, with its size as a whole, and the registers in ``pr_reg`` there and on x86_64 (``struct
#: user_regs_struct``, ``arch/x86/include/asm/user_32.h`` and ``user_64.h`` of Linux), by their names on x86_64.
PRSTATUS_32: Final = Struct("struct elf_prstatus of i386", "pr_pid:i@24 :@72")
PRSTATUS_SIZE_32: Final = 144
REGISTERS_I386: Final = "bx cx dx si di bp ax ds es fs gs orig_ax ip cs flags sp ss"
REGISTERS_X86_64: Final = (
    "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs"
)


def machine_name(number: int, byte_order: str) -> str | None:
    """The machine with ``e_machine`` ``number``, or None."""
    if number == MACHINES["ppc64"]:
        return "ppc64le" if byte_order == "little" else "ppc64"
    return next((name for name, known in _NUMBERS.items() if known == number), None)


def machine_number(name: str | None) -> int:
    """``e_machine`` of the machine called ``name``; EM_NONE (0) if unknown."""
    if not name:
        return 0
    known = _NUMBERS.get(_ALIASES.get(name, name))
    if known is not None:
        return known
    return next((_NUMBERS[family] for start, family in _FAMILIES if name.startswith(start)), 0)
