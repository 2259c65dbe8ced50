r"""The kernel's log, as ``dmesg`` shows it.

Three layouts, distinguished by the keys in VMCOREINFO:

* v5.10 and later: a ring of descriptors and a ring of text (kernel/printk/printk_ringbuffer.h, "struct
  printk_ringbuffer"; Linux commit 896fbe20b4e2, "printk: use the lockless ringbuffer");
* v3.5 to v5.9: consecutive records of a header and text (kernel/printk/printk.c, "struct printk_log", before v3.11
  "struct log");
* before v3.5: a ring of characters.

A line reads ``[    1.234567] [     T42] text``: seconds since boot, and the task (T) or processor (C) that logged it,
if recorded. Further lines of one record are indented alike. Bytes that are neither printable ASCII nor white space are
shown as ``\xNN``.
"""

from __future__ import annotations

from vmsieve.filters.linux.log_buffer import flat_buffer, text_ring
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_WORD = (1 << 64) - 1
# No kernel reaches these sizes: a larger one is damaged.
_MAX_RECORD_BITS = 24
_MAX_LOG = 1 << 28
# Unreadable records in a row after which the rest is skipped.
_GIVE_UP = 4096
_CHUNK = 1 << 16

# The two top bits of a descriptor's state_var are its state, the rest is its id (printk_ringbuffer.h).
_STATE_SHIFT = 62
_ID_MASK = (1 << _STATE_SHIFT) - 1
_COMMITTED, _FINALIZED = 1, 2
# This bit marks a caller id as a processor's.
_PROCESSOR = 1 << 31

_SPACES = "\t\n\v\f\r"
_PLAIN = bytes((*_SPACES.encode(), *range(0x20, 0x7F)))


def kernel_log(memory: VirtualMemory, info: VmcoreInfo, *, since_clear: bool = False) -> Iterator[bytes]:
    """Yield the lines of the log, each with its newline.

    ``since_clear``: only lines since the log was last cleared (``dmesg -c``), if the kernel recorded that. A
    KernelError after the last line: parts of the log are damaged; all readable lines were yielded.
    """
    damage = _Damage()
    if info.symbol("prb") is not None:
        yield from _Ring(memory, info, since_clear).lines(damage)
    elif info.symbol("log_end") is not None:
        yield from _characters(memory, info, since_clear, damage)
    elif info.symbol("log_buf") is not None:
        yield from _Records(memory, info, since_clear).lines(damage)
    else:
        raise KernelError("VMCOREINFO lacks the address of the kernel's log", expected="SYMBOL(prb) or SYMBOL(log_buf)")
    if damage.count:
        places = "a place" if damage.count == 1 else f"{damage.count} places"
        raise KernelError(f"the kernel's log is damaged in {places}: {damage.first}")


@record
class _Damage:
    """Damage found while a log is read."""

    count: int = 0
    first: str = ""

    def note(self, what: object) -> None:
        self.count += 1
        self.first = self.first or str(what)


def _escape(text: bytes) -> bytes:
    if not text.translate(None, _PLAIN):
        return text
    return shown(text.decode("ascii", "surrogateescape"), keep=_SPACES).encode()


def _format(ts_nsec: int, caller: int | None, text: bytes) -> Iterator[bytes]:
    """The lines of one record. ``ts_nsec``: nanoseconds since boot."""
    seconds, rest = divmod(ts_nsec, 1_000_000_000)
    head = f"[{seconds:5d}.{rest // 1000:06d}] "
    if caller is not None:
        name = f"{'C' if caller & _PROCESSOR else 'T'}{caller & ~_PROCESSOR}"
        head += f"[{name:>8}] "
    prefix = head.encode("ascii")
    for line in _escape(text).split(b"\n"):
        yield b"%b%b\n" % (prefix, line)
        prefix = b" " * len(prefix)


class _Ring:
    """The log of v5.10 and later.

    Record *id* has its descriptor and its info at index ``id % count`` of their arrays. The descriptor has the state,
    and the begin and end of the text block: logical positions, which grow for ever; the offset in the text ring is the
    position modulo the ring's size. A block that would cross the end is stored at the start instead. Each block begins
    with its record's id, 8 bytes.
    """

    def __init__(self, memory: VirtualMemory, info: VmcoreInfo, since_clear: bool) -> None:
        def at(base: int, name: str) -> int:
            return base + info.need("OFFSET", name) & _WORD

        self._memory = memory
        counter = info.offset("atomic_long_t.counter") or 0
        ring = memory.u64(info.need("SYMBOL", "prb"))
        descs = at(ring, "printk_ringbuffer.desc_ring")
        count_bits = memory.u32(at(descs, "prb_desc_ring.count_bits"))
        if count_bits > _MAX_RECORD_BITS:
            raise KernelError("the size of the kernel's log is implausible", found=f"2**{count_bits} records")
        self._count = 1 << count_bits
        self._text, self._text_size = text_ring(memory, info)
        self._descs = memory.u64(at(descs, "prb_desc_ring.descs"))
        self._infos = memory.u64(at(descs, "prb_desc_ring.infos"))
        self._head = memory.u64(at(descs, "prb_desc_ring.head_id") + counter) & _ID_MASK
        self._tail = memory.u64(at(descs, "prb_desc_ring.tail_id") + counter) & _ID_MASK
        self._first_seq = _clear_seq(memory, info) if since_clear else 0
        # Keys are looked up once, not for each of thousands of records.
        block = info.need("OFFSET", "prb_desc.text_blk_lpos")
        self._state_at = info.need("OFFSET", "prb_desc.state_var") + counter
        self._begin_at = block + info.need("OFFSET", "prb_data_blk_lpos.begin")
        self._next_at = block + info.need("OFFSET", "prb_data_blk_lpos.next")
        self._ts_at, self._length_at = (info.need("OFFSET", f"printk_info.{name}") for name in ("ts_nsec", "text_len"))
        self._desc_size, self._info_size = info.need("SIZE", "prb_desc"), info.need("SIZE", "printk_info")
        # Not all kernels have these.
        self._seq_at, self._caller_at = info.offset("printk_info.seq"), info.offset("printk_info.caller_id")

    def lines(self, damage: _Damage) -> Iterator[bytes]:
        """The log's lines, oldest first."""
        records = (self._head - self._tail & _ID_MASK) + 1
        if records > self._count:
            damage.note(f"its oldest record {self._tail:#x} and its newest {self._head:#x} are too far apart")
            records = self._count
        text_left, unreadable = self._text_size, 0
        for number in range(self._head - records + 1, self._head + 1):
            try:
                block = self._block(number & _ID_MASK)
                unreadable = 0
                if block is None:
                    continue
                # Blocks do not overlap, so they have no more text than the ring.
                text_left -= block[1]
                if text_left < 0:
                    damage.note("its records claim more text than there is")
                    return
                yield from self._record(number & _ID_MASK, *block)
            except (KernelError, ReadError) as error:
                damage.note(error)
                unreadable += 1
                if unreadable == _GIVE_UP:
                    return

    def _word(self, vaddr: int) -> int:
        return self._memory.u64(vaddr & _WORD)

    def _block(self, record: int) -> tuple[int, int] | None:
        """Offset and size of the record's text block in the text ring; None if the record or its text is missing."""
        desc = self._descs + record % self._count * self._desc_size
        state = self._word(desc + self._state_at)
        if state & _ID_MASK != record or state >> _STATE_SHIFT not in (_COMMITTED, _FINALIZED):
            return None
        begin, end = self._word(desc + self._begin_at), self._word(desc + self._next_at)
        if begin % self._text_size == end % self._text_size:
            return None
        if begin // self._text_size == (end - 1 & _WORD) // self._text_size:
            offset, length = begin % self._text_size, end - begin
        else:
            offset, length = 0, end % self._text_size
        if length < 8 or offset + length > self._text_size:
            raise KernelError(f"the text of record {record:#x} lies outside of the log", offset=begin)
        return offset, length

    def _record(self, record: int, offset: int, length: int) -> Iterator[bytes]:
        info = self._infos + record % self._count * self._info_size
        if self._first_seq and self._seq_at is not None and self._word(info + self._seq_at) < self._first_seq:
            return
        text_length = min(self._memory.u16(info + self._length_at & _WORD), length - 8)
        text = self._memory.read(self._text + offset + 8 & _WORD, text_length)
        caller = None if self._caller_at is None else self._memory.u32(info + self._caller_at & _WORD)
        yield from _format(self._word(info + self._ts_at), caller, text)


def _clear_seq(memory: VirtualMemory, info: VmcoreInfo) -> int:
    """Sequence number of the first record since the log was cleared; 0 if unknown."""
    symbol = info.symbol("clear_seq")
    if symbol is None:
        return 0
    if info.size("latched_seq") is None:
        return memory.u64(symbol)
    # Two copies since v5.13; the low bit of a counter selects the consistent one (struct latched_seq).
    return memory.u64(symbol + info.need("OFFSET", "latched_seq.val") + (memory.u32(symbol) & 1) * 8)


class _Records:
    """The log of v3.5 to v5.9: records in a buffer, each with its length; a length of 0 wraps to the start."""

    def __init__(self, memory: VirtualMemory, info: VmcoreInfo, since_clear: bool) -> None:
        name = "printk_log" if info.size("printk_log") is not None else "log"
        start = info.symbol("clear_idx") if since_clear else None
        self._memory = memory
        self._buffer, self._size = flat_buffer(memory, info)
        self._header = info.need("SIZE", name)
        if self._size > _MAX_LOG or not 8 <= self._header <= 256:
            raise KernelError("the size of the kernel's log is implausible", found=self._size)
        self._first = memory.u32(start or info.need("SYMBOL", "log_first_idx"))
        self._end = memory.u32(info.need("SYMBOL", "log_next_idx"))
        members = [f"{name}.{member}" for member in ("len", "text_len", "ts_nsec")]
        self._len_at, self._text_len_at, self._ts_at = (info.need("OFFSET", member) for member in members)
        self._caller_at = info.offset(f"{name}.caller_id")

    def lines(self, damage: _Damage) -> Iterator[bytes]:
        """The log's lines, oldest first."""
        at, wrapped = self._first, self._end >= self._first
        try:
            while at != self._end:
                # Each step advances, and wraps once: no endless loop.
                if at + self._header > self._size or (wrapped and at > self._end):
                    raise KernelError(f"its records run past its end, from index {at} on")
                base = self._buffer + at
                length = self._memory.u16(base + self._len_at & _WORD)
                if length == 0 and not wrapped:
                    at, wrapped = 0, True
                    continue
                text_length = self._memory.u16(base + self._text_len_at & _WORD)
                if length < self._header + text_length or at + length > self._size:
                    raise KernelError(f"the length {length} of the record at index {at} is implausible")
                yield from self._record(base, text_length)
                at += length
        except (KernelError, ReadError) as error:
            damage.note(error)

    def _record(self, base: int, text_length: int) -> Iterator[bytes]:
        caller = None if self._caller_at is None else self._memory.u32(base + self._caller_at & _WORD)
        text = self._memory.read(base + self._header & _WORD, text_length)
        yield from _format(self._memory.u64(base + self._ts_at & _WORD), caller, text)


def _characters(memory: VirtualMemory, info: VmcoreInfo, since_clear: bool, damage: _Damage) -> Iterator[bytes]:
    """Yield the log before v3.5: a ring with the last of ``log_end`` characters."""
    buffer, size = flat_buffer(memory, info)
    if not 0 < size <= _MAX_LOG or size & (size - 1):
        raise KernelError("the size of the kernel's log is implausible", found=size)
    # An unsigned long before v2.6.25.
    long_end = (0, 0, 0) < info.version < (2, 6, 25)
    end = (memory.u64 if long_end else memory.u32)(info.need("SYMBOL", "log_end"))
    left = min(end, size)
    cleared = info.symbol("logged_chars") if since_clear else None
    if cleared is not None:
        left = min(left, memory.u32(cleared))
    rest = b""
    while left:
        at = end - left & size - 1
        step = min(left, size - at, _CHUNK)
        left -= step
        try:
            *lines, rest = (rest + memory.read(buffer + at & _WORD, step)).split(b"\n")
        except (KernelError, ReadError) as error:
            damage.note(error)
            continue
        for line in lines:
            yield _escape(line) + b"\n"
        if len(rest) > _CHUNK:
            yield _escape(rest)
            rest = b""
    if rest:
        yield _escape(rest)
