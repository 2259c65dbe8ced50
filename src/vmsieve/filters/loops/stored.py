"""Struct pages in a file: read, classified and applied to a bitmap, many in one call.

What a long free block covers is not read: its class is known from its first page. A piece of half a megabyte then costs
one small read instead of a copy. Between such blocks, pieces are large. Copies stay in the processor's cache, where the
classification reads them: together as fast as mapping (AMD EPYC: 300 ns to copy 4 KiB, 210 to map them, but then 100
more to fetch them), and threads do not wait for each other's mappings.
"""

from __future__ import annotations

from vmsieve.filters.loops import parameters as at
from vmsieve.filters.loops.classify import apply_run, classify_run
from vmsieve.filters.loops.runs import fill
from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import call4, call5, load64, store64
from vmsieve.formats.slim.typing import Final

# Offsets of 64-bit words that tell the loop how to read.
(
    READ,  # address of pread
    TRY,  # address of preadv2; 0: nothing is skipped
    VECTOR,  # two words: struct iovec for preadv2
    _LENGTH,
    FILE,  # file descriptor
    BUFFER,  # address of a buffer
    ROOM,  # struct pages that fit into it, less 1
    PART,  # struct pages that are accepted or rejected together
    STRIDE,  # 1: a byte of classes for each page is kept; 0: those of a part replace the previous ones
    STEP,  # state: struct pages of the next read
    SAVED,  # the parameters before a part
) = range(0, 11 * 8, 8)
#: 64-bit words in all.
WORDS: Final = SAVED // 8 + at.WORDS

#: Struct pages that are read behind a long block, where another is likely; and by what the next read grows otherwise.
_FEW: Final = 32
_GROWTH: Final = 4
#: Page frames that the end of a long block is a multiple of.
_LONG: Final = 512
#: One of this many struct pages may contradict others; beyond that they are noise.
NOISE: Final = 8
#: Read from the page cache alone (RWF_NOWAIT, include/uapi/linux/fs.h): a disk is read in large pieces.
_NO_WAIT: Final = 8


@inline
def copy_words(source: int, target: int, count: int) -> int:
    """Copy ``count`` 64-bit words."""
    for i in range(count):
        store64(target, i * 8, load64(source, i * 8))
    return 0


@inline
def read_cached(r: int, place: int, size: int) -> int:
    """Read ``size`` bytes at file offset ``place`` if they are in the page cache; returns how many were read."""
    store64(r, VECTOR, load64(r, BUFFER))
    store64(r, VECTOR + 8, size)
    return call5(load64(r, TRY), load64(r, FILE), r + VECTOR, 1, place, _NO_WAIT)


@inline
def classify_part(p: int, r: int, first_pfn: int, count: int, place: int, out: int) -> int:
    """Read and classify ``count`` struct pages at file offset ``place``; returns 0 if some can't be read."""
    size = load64(p, at.SIZE)
    buffer = load64(r, BUFFER)
    room = load64(r, ROOM)
    skips = 1 if load64(p, at.THOROUGH) == 0 and load64(p, at.VERIFY) == 0 and load64(r, TRY) else 0
    step = load64(r, STEP)
    done = 0
    while done < count:
        pfn = first_pfn + done
        end = load64(p, at.BLOCK_END)
        if skips and pfn < end and load64(p, at.COMPOUND_END) <= end:
            run = min(end - pfn, count - done)
            fill(out, done, run, load64(p, at.BLOCK_CLASS))
            store64(p, at.COMPOUND_END, 0)
            done += run
            continue
        n = min(step, count - done)
        more = 1 if done + n < count else 0
        wanted = (n + more) * size
        if step >= room or read_cached(r, place + done * size, wanted) != wanted:
            step = room
            n = min(room, count - done)
            more = 1 if done + n < count else 0
            wanted = (n + more) * size
            if call4(load64(r, READ), load64(r, FILE), buffer, wanted, place + done * size) != wanted:
                store64(r, STEP, step)
                return 0
        classify_run(p, buffer, pfn, n, more, out + done)
        done += n
        end = load64(p, at.BLOCK_END)
        step = _FEW if skips and end >= first_pfn + done and end & (_LONG - 1) == 0 else min(step * _GROWTH, room)
    store64(r, STEP, step)
    return 1


@loop
def sieve_stored(
    p: int, r: int, first_pfn: int, count: int, place: int, classes: int, kept: int, bit: int, drop: int,
    histogram: int,
) -> int:  # fmt: skip
    """Read and classify struct pages and clear the bits of dropped pages; returns for how many page frames.

    They are fewer than ``count`` if the next part can't be read, is noise, or has tails that point to a foreign head:
    the state is that before the part.

    Args:
        p: Address of the parameters, without marks. They carry the state over, as for ``classify_pages``.
        r: Address of the words above.
        first_pfn: The first page frame.
        count: Page frames.
        place: File offset of their struct pages.
        classes: Address of a byte for each page frame, or for each of a part.
        kept: Address of a bitmap, least significant bit first; ``bit`` is that of ``first_pfn``.
        drop: The class bits that drop a page.
        histogram: Address of 256 64-bit counters by class, of pages whose bit was set.
    """
    done = 0
    while done < count:
        n = min(load64(r, PART), count - done)
        copy_words(p, r + SAVED, at.WORDS)
        before = load64(p, at.CONTRADICTIONS)
        out = classes + done * load64(r, STRIDE)
        read = classify_part(p, r, first_pfn + done, n, place + done * load64(p, at.SIZE), out)
        if read == 0 or load64(p, at.FOREIGN_TAILS) or load64(p, at.CONTRADICTIONS) - before > n // NOISE:
            copy_words(r + SAVED, p, at.WORDS)
            return done
        apply_run(out, n, kept, bit + done, drop, histogram)
        done += n
    return done
