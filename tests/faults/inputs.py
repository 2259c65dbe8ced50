"""Faults of kernels and memory: damaged inputs."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from tests.faults.bench import ENVIRONMENT, Bench, last, run
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs.elf import ElfSource

if TYPE_CHECKING:
    from pathlib import Path

#: Makes reads of a range of the input fail, like a broken memory module. Built if there is a C compiler.
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
static int bad(off_t at, size_t size) {
    const char *from = getenv("BAD_FROM"), *to = getenv("BAD_TO");
    return from && at < strtoll(to, 0, 0) && at + (off_t)size > strtoll(from, 0, 0);
}
ssize_t preadv(int fd, const struct iovec *v, int n, off_t at) {
    ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, "preadv");
    size_t size = 0;
    for (int i = 0; i < n; i++) size += v[i].iov_len;
    if (bad(at, size)) { errno = EIO; return -1; }
    return real(fd, v, n, at);
}
ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at) { return preadv(fd, v, n, at); }
ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags) { return preadv(fd, v, n, at); }
ssize_t preadv64v2(int fd, const struct iovec *v, int n, off_t at, int flags) { return preadv(fd, v, n, at); }
ssize_t pread(int fd, void *p, size_t size, off_t at) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    if (bad(at, size)) { errno = EIO; return -1; }
    return real(fd, p, size, at);
}
ssize_t pread64(int fd, void *p, size_t size, off_t at) { return pread(fd, p, size, at); }
void *mmap(void *p, size_t size, int prot, int flags, int fd, off_t at) {
    void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    if (fd >= 0 && (flags & MAP_FIXED) && bad(at, size)) { errno = EIO; return MAP_FAILED; }
    return real(p, size, prot, flags, fd, at);
}
void *mmap64(void *p, size_t size, int prot, int flags, int fd, off_t at) { return mmap(p, size, prot, flags, fd, at); }
"""


def patched(bench: Bench, at: int, data: bytes) -> Path:
    made = bench.scratch / "patched"
    if not made.exists():
        shutil.copy(bench.source, made)
    with made.open("r+b") as file:
        file.seek(at)
        file.write(data)
    return made


def place_of(source: ElfSource, paddr: int) -> int:
    """Return the file offset of a byte of memory."""
    whole = source._data
    i = whole.find(paddr)
    return whole.offsets[i] + paddr - whole.starts[i]


def text_of(bench: Bench) -> int:
    """Return the file offset of the kernel's text."""
    source = open_source(str(bench.source))
    assert isinstance(source, ElfSource)
    knowledge = gather_knowledge(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    place = place_of(source, knowledge.memory.translator.translate(knowledge.info.need("SYMBOL", "_stext"))[0])
    source.close()
    return place


def kernel(bench: Bench) -> None:
    source = open_source(str(bench.source))
    assert isinstance(source, ElfSource)
    assert source.vmcoreinfo is not None
    with bench.source.open("rb") as file:
        note = file.read(4 << 20).index(source.vmcoreinfo)
    size = len(source.vmcoreinfo)
    knowledge = gather_knowledge(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    roots, _ = knowledge.memory.translator.translate(knowledge.info.need("SYMBOL", "mem_section"))
    table, _ = knowledge.memory.translator.translate(knowledge.memory.u64(knowledge.info.need("SYMBOL", "mem_section")))
    of_roots, of_table = place_of(source, roots), place_of(source, table)
    source.close()
    for fault, places in {
        "VMCOREINFO note zeroed": [(note, bytes(size))],
        "VMCOREINFO note's values garbled": [(note + 512, os.urandom(size - 512))],
        "mem_section garbage (the pointer)": [(of_roots, b"\xa5" * 8)],
        "mem_section garbage (the table)": [(of_table, os.urandom(4096))],
        "note zeroed and mem_section garbage": [(note, bytes(size)), (of_roots, b"\xa5" * 8)],
        "ELF header garbled": [(32, os.urandom(24))],
    }.items():
        for at, data in places:
            made = patched(bench, at, data)
        target = bench.scratch / "kernel"
        said = bench.capture(target, source=made)
        told = json.loads((target / "vmcore-status.json").read_text())
        steps = " > ".join(one["step"] for one in told["steps"])
        if fault == "ELF header garbled":
            same = (target / "vmcore").read_bytes() == made.read_bytes()
            bench.row(fault, said.returncode, "vmcore (the input's bytes)" if same else "WRONG", steps)
        else:
            bench.row(fault, said.returncode, bench.left(target, made), steps)
        shutil.rmtree(target)
        made.unlink()


def empty(bench: Bench) -> None:
    nothing = bench.scratch / "nothing"
    nothing.touch()
    target = bench.scratch / "empty"
    said = bench.capture(target, source=nothing)
    bench.row("input of no bytes", said.returncode, bench.left(target), last(said))
    shutil.rmtree(target)


def shim_of(bench: Bench) -> Path | None:
    """Build a library that makes reads fail; return None without a C compiler."""
    (bench.scratch / "shim.c").write_text(_SHIM)
    shim = bench.scratch / "shim.so"
    if shutil.which("gcc") is None or run("gcc", "-shared", "-fPIC", "-o", shim, bench.scratch / "shim.c").returncode:
        return None
    return shim


def unreadable(bench: Bench) -> None:
    shim = shim_of(bench)
    if shim is None:
        bench.row("unreadable pages", -1, "not tried: no C compiler")
        return
    size = bench.source.stat().st_size
    for fault, first, span in (
        ("2 MiB of the kernel unreadable", text_of(bench) & ~4095, 2 << 20),
        ("half of memory unreadable", size // 2 & ~4095, size),
        ("headers unreadable", 0, 4096),
        ("nothing readable", 0, size),
    ):
        bad = {"LD_PRELOAD": str(shim), "BAD_FROM": str(first), "BAD_TO": str(first + span)}
        target = bench.scratch / "unreadable"
        said = bench.capture(target, env={**ENVIRONMENT, **bad})
        if fault == "headers unreadable":
            same = (target / "vmcore").read_bytes()[span:] == bench.source.read_bytes()[span:]
            bench.wrong += not same
            bench.row(fault, said.returncode, "vmcore (the rest of the input's bytes)" if same else "WRONG", last(said))
        else:
            bench.row(fault, said.returncode, bench.left(target), last(said))
        shutil.rmtree(target)


ALL = (kernel, empty, unreadable)
