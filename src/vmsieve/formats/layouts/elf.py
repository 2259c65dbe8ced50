"""ELF core files: the structures of the gABI as Linux and QEMU use them for memory dumps.

Sources: ``include/uapi/linux/elf.h`` and ``elf-em.h`` of Linux (headers, notes, machines),
``include/linux/elfcore.h`` of Linux (``struct elf_prstatus``), ``include/linux/vmcore_info.h`` of Linux (names of the
crash notes), ``elf_info.h`` of makedumpfile (the incomplete flag).

A layout is a :mod:`struct` format without its byte order; put :data:`ORDERS` ``[byte_order]`` before it.
"""

from __future__ import annotations

from typing import Final

#: Prefix of a struct format by name of the byte order.
ORDERS: Final = {"little": "<", "big": ">"}

# e_ident
MAGIC: Final = b"\x7fELF"
EI_CLASS: Final = 4
EI_DATA: Final = 5
EI_VERSION: Final = 6
ELFCLASS32: Final = 1
ELFCLASS64: Final = 2
ELFDATA2LSB: Final = 1
ELFDATA2MSB: Final = 2
EV_CURRENT: Final = 1

#: Elf64_Ehdr: e_ident, e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize,
#: e_phnum, e_shentsize, e_shnum, e_shstrndx.
EHDR: Final = "16sHHIQQQIHHHHHH"
EHDR_SIZE: Final = 64
#: Elf64_Phdr: p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
PHDR: Final = "IIQQQQQQ"
PHDR_SIZE: Final = 56
#: Elf64_Shdr: sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, sh_info, sh_addralign, sh_entsize.
SHDR: Final = "IIQQQQIIQQ"
SHDR_SIZE: Final = 64
#: Those of a 32-bit core: Elf32_Ehdr and Elf32_Shdr have the same fields, Elf32_Phdr has p_flags behind p_memsz.
EHDR_32: Final = "16sHHIIIIIHHHHHH"
EHDR_SIZE_32: Final = 52
PHDR_32: Final = "IIIIIIII"
PHDR_SIZE_32: Final = 32
SHDR_32: Final = "IIIIIIIIII"
SHDR_SIZE_32: Final = 40
#: Elf64_Nhdr: n_namesz, n_descsz, n_type. Name and descriptor follow, each padded to 4 bytes.
NHDR: Final = "III"
NHDR_SIZE: Final = 12
NOTE_ALIGN: Final = 4

ET_CORE: Final = 4
PT_LOAD: Final = 1
PT_NOTE: Final = 4
#: p_flags of readable, writable, executable memory.
PF_RWX: Final = 7
#: In e_phnum: the number of program headers is in sh_info of section header 0.
PN_XNUM: Final = 0xFFFF
#: p_paddr of a segment that has no physical address.
NO_PADDR: Final = 0xFFFFFFFFFFFFFFFF
NO_PADDR_32: Final = 0xFFFFFFFF
#: e_flags bit that makedumpfile -E sets when it could not write everything.
FLAG_INCOMPLETE: Final = 0x1

#: e_machine by name of the machine, as ``uname -m`` says it. ppc64 and ppc64le share theirs.
MACHINES: Final = {
    "x86_64": 62,
    "aarch64": 183,
    "ppc64": 21,
    "ppc64le": 21,
    "s390x": 22,
    "riscv64": 243,
    "loongarch64": 258,
}
#: Likewise of machines whose kernels are not understood: they have a name all the same.
OTHER_MACHINES: Final = {
    "i386": 3,
    "m68k": 4,
    "mips64": 8,
    "parisc64": 15,
    "ppc": 20,
    "arm": 40,
    "sh4": 42,
    "sparc64": 43,
    "ia64": 50,
    "alpha": 0x9026,
}

#: Name (without its NUL) and type of the notes that matter here.
NOTE_PRSTATUS: Final = (b"CORE", 1)
NOTE_VMCOREINFO: Final = (b"VMCOREINFO", 0)
NOTE_ERASEINFO: Final = (b"ERASEINFO", 0)  # makedumpfile's record of what it erased

#: Names of notes that a Xen host leaves beside those of the Linux that ran as its first domain (``kexec.h`` and
#: ``elfnote.h`` of Xen, kexec-tools), and how sections of the cores of ``xl dump-core`` begin
#: (``docs/misc/dump-core-format.txt`` of Xen).
XEN_NOTES: Final = (b"Xen", b"VMCOREINFO_XEN")
XEN_SECTIONS: Final = b"\0.xen_"

#: ``struct elf_prstatus`` of every 64-bit machine: ``pr_pid`` (i32) and ``pr_reg`` are at these offsets; after
#: ``pr_reg`` come ``pr_fpvalid`` and padding.
PRSTATUS_PID: Final = 32
PRSTATUS_REGISTERS: Final = 112
PRSTATUS_TAIL: Final = 8
#: The same of i386, and ``pr_reg`` there and on x86_64 (``struct user_regs_struct``,
#: ``arch/x86/include/asm/user_32.h`` and ``user_64.h`` of Linux): registers by their names on x86_64.
PRSTATUS_SIZE_32: Final = 144
PRSTATUS_PID_32: Final = 24
PRSTATUS_REGISTERS_32: Final = 72
REGISTERS_I386: Final = "bx cx dx si di bp ax ds es fs gs orig_ax ip cs flags sp ss"
REGISTERS_X86_64: Final = (
    "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs"
)
