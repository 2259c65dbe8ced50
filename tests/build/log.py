"""Kernel logs in their three layouts, put into a made-up kernel as kernel/printk/ writes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.build.kernel import FakeKernel
    from tests.build.s390x import FakeS390

    Kernel = FakeKernel | FakeS390


@dataclass(frozen=True)
class Record:
    """One record of a log."""

    text: bytes
    ts_nsec: int = 1_234_567_890
    caller: int = 1
    state: int = 2


def add_ring(
    kernel: Kernel,
    records: Sequence[Record],
    *,
    count_bits: int = 4,
    text_bits: int = 9,
    first_id: int | None = None,
    first_lpos: int = 0,
    cleared: int | None = None,
) -> dict[str, int]:
    """Give ``kernel`` a log of v5.10 and later, as kernel/printk/printk_ringbuffer.c writes it.

    Returns:
        Virtual addresses of ``prb``, ``descs``, ``infos`` and ``text``.
    """
    count, ring, order = 1 << count_bits, 1 << text_bits, kernel.order
    mask = (1 << 62) - 1
    descs, infos, text = bytearray(count * 24), bytearray(count * 88), bytearray(ring)
    start = -count & mask if first_id is None else first_id
    lpos, blocks = first_lpos & (1 << 64) - 1, {}
    for i, record in enumerate(records):
        place = (start + i) % count
        begin = lpos
        if record.text:
            size = -(-(8 + len(record.text)) // 8) * 8
            lpos = begin + size
            at = begin % ring
            if begin // ring != lpos // ring:
                lpos, at = lpos // ring * ring + size, 0
            lpos &= (1 << 64) - 1
            text[at : at + 8 + len(record.text)] = struct.pack(order + "Q", start + i & mask) + record.text
            blocks[i] = begin, lpos
        block = blocks.get(i, (3, 3))
        struct.pack_into(order + "3Q", descs, place * 24, record.state << 62 | start + i & mask, *block)
        struct.pack_into(order + "QQHHI", infos, place * 88, i, record.ts_nsec, len(record.text), 0, record.caller)
    head = start + len(records) - 1 & mask
    if not records:
        start -= 1
    where = {name: kernel.direct + kernel.pages(bytes(data)) for name, data in
             (("descs", descs), ("infos", infos), ("text", text))}  # fmt: skip
    oldest = max(0, len(records) - count)
    body = struct.pack(order + "I4xQQQQQ", count_bits, where["descs"], where["infos"], head, start + oldest & mask, 0)
    body += struct.pack(order + "I4xQQQQ", text_bits, where["text"], lpos, 0, 0)
    where["prb"] = kernel.static("printk_rb_static", body)
    kernel.static("prb", struct.pack(order + "Q", where["prb"]))
    kernel.keys.update(_RING_KEYS)
    if cleared is not None:
        kernel.static("clear_seq", struct.pack(order + "I4xQQ", 1, 0, cleared))
        kernel.keys.update({"SIZE(latched_seq)": "24", "OFFSET(latched_seq.val)": "8"})
    return where


_RING_KEYS = {
    "SIZE(printk_ringbuffer)": "88", "OFFSET(printk_ringbuffer.desc_ring)": "0",
    "OFFSET(printk_ringbuffer.text_data_ring)": "48", "OFFSET(printk_ringbuffer.fail)": "80",
    "SIZE(prb_desc_ring)": "48", "OFFSET(prb_desc_ring.count_bits)": "0", "OFFSET(prb_desc_ring.descs)": "8",
    "OFFSET(prb_desc_ring.infos)": "16", "OFFSET(prb_desc_ring.head_id)": "24", "OFFSET(prb_desc_ring.tail_id)": "32",
    "SIZE(prb_desc)": "24", "OFFSET(prb_desc.state_var)": "0", "OFFSET(prb_desc.text_blk_lpos)": "8",
    "SIZE(prb_data_blk_lpos)": "16", "OFFSET(prb_data_blk_lpos.begin)": "0", "OFFSET(prb_data_blk_lpos.next)": "8",
    "SIZE(printk_info)": "88", "OFFSET(printk_info.seq)": "0", "OFFSET(printk_info.ts_nsec)": "8",
    "OFFSET(printk_info.text_len)": "16", "OFFSET(printk_info.caller_id)": "20",
    "SIZE(prb_data_ring)": "32", "OFFSET(prb_data_ring.size_bits)": "0", "OFFSET(prb_data_ring.data)": "8",
    "OFFSET(prb_data_ring.head_lpos)": "16", "OFFSET(prb_data_ring.tail_lpos)": "24",
    "SIZE(atomic_long_t)": "8", "OFFSET(atomic_long_t.counter)": "0",
}  # fmt: skip


def add_records(
    kernel: Kernel, records: Iterable[Record], *, size: int = 1024, name: str = "printk_log", caller: bool = False
) -> int:
    """Give ``kernel`` a log of v3.5 to v5.9, as log_store() of kernel/printk/printk.c writes it.

    Returns:
        Virtual address of the buffer.
    """
    header, order = 24 if caller else 16, kernel.order
    buffer = bytearray(size)
    live: list[tuple[int, int]] = []
    at = 0
    for record in records:
        length = -(-(header + len(record.text)) // 8) * 8
        # Space for a header is always left for the marker that wraps to the start.
        if at + length + header > size:
            buffer[at : at + header] = bytes(header)
            at = 0
        live = [piece for piece in live if sum(piece) <= at or piece[0] >= at + length + header]
        struct.pack_into(order + "QHHHBB", buffer, at, record.ts_nsec, length, len(record.text), 0, 0, 0)
        if caller:
            struct.pack_into(order + "I4x", buffer, at + 16, record.caller)
        buffer[at + header : at + length] = record.text.ljust(length - header, b"\0")
        live.append((at, length))
        at += length
    where = kernel.direct + kernel.pages(bytes(buffer))
    kernel.static("log_buf", struct.pack(order + "Q", where))
    kernel.static("log_buf_len", struct.pack(order + "I", size))
    kernel.static("log_first_idx", struct.pack(order + "I", live[0][0] if live else 0))
    kernel.static("log_next_idx", struct.pack(order + "I", at))
    kernel.keys.update({f"SIZE({name})": str(header), f"OFFSET({name}.ts_nsec)": "0", f"OFFSET({name}.len)": "8",
                        f"OFFSET({name}.text_len)": "10"})  # fmt: skip
    if caller:
        kernel.keys[f"OFFSET({name}.caller_id)"] = "16"
    return where


def add_characters(kernel: Kernel, text: bytes, *, size: int = 256, cleared: int = 0) -> int:
    """Give ``kernel`` a log from before v3.5; return the buffer's virtual address."""
    buffer, order = bytearray(size), kernel.order
    for i, char in enumerate(text):
        buffer[i % size] = char
    where = kernel.direct + kernel.pages(bytes(buffer))
    kernel.static("log_buf", struct.pack(order + "Q", where))
    kernel.static("log_buf_len", struct.pack(order + "I", size))
    kernel.static("log_end", struct.pack(order + "I", len(text)))
    kernel.static("logged_chars", struct.pack(order + "I", len(text) - cleared))
    return where


def log(kernel: Kernel, **options: bool) -> bytes:
    """The log as vmsieve reads it."""
    return b"".join(kernel_log(kernel.memory(), kernel.info(), **options))


def damaged(kernel: Kernel) -> tuple[bytes, str]:
    """Return the readable lines of a damaged log, and the error."""
    shown: list[bytes] = []
    try:
        for line in kernel_log(kernel.memory(), kernel.info()):
            shown.append(line)  # noqa: PERF402 - what came before the error counts
    except KernelError as error:
        return b"".join(shown), str(error)
    raise AssertionError("the damage was not noticed")


def some(count: int) -> list[Record]:
    """Make records that contain their number."""
    return [Record(b"message %d" % i, i * 1_000_000_000 + i * 1000, i) for i in range(count)]


def lines(count: int, first: int = 0, caller: bool = True) -> bytes:
    """Return the lines of the records ``first .. count`` of :func:`some`."""
    who = "[{:>8}] " if caller else ""
    return "".join(f"[{i:5}.{i:06}] {who.format(f'T{i}')}message {i}\n" for i in range(first, count)).encode()
