"""The headers of a kdump-compressed file, checked, whatever their version."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.layouts import kdump
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["KdumpHeader", "read_header"]

#: Most page frames that are believed: half a PiB of 4 KiB pages, 32 MiB of ranks.
_PAGES_LIMIT: Final = 1 << 37
#: Fields of the sub-header in order, and the version that each came with.
_SUB_HEADER_FIELDS: Final = (
    ("phys_base", 1),
    ("dump_level", kdump.SINCE_DUMP_LEVEL),
    ("split", kdump.SINCE_SPLIT),
    ("start_pfn", kdump.SINCE_SPLIT),
    ("end_pfn", kdump.SINCE_SPLIT),
    ("offset_vmcoreinfo", kdump.SINCE_VMCOREINFO),
    ("size_vmcoreinfo", kdump.SINCE_VMCOREINFO),
    ("offset_note", kdump.SINCE_NOTES),
    ("size_note", kdump.SINCE_NOTES),
    ("offset_eraseinfo", kdump.SINCE_ERASEINFO),
    ("size_eraseinfo", kdump.SINCE_ERASEINFO),
    ("start_pfn_64", kdump.SINCE_WIDE_PFNS),
    ("end_pfn_64", kdump.SINCE_WIDE_PFNS),
    ("max_mapnr_64", kdump.SINCE_WIDE_PFNS),
)


@record(frozen=True)
class KdumpHeader:
    """What the main header and the sub-header say, and where everything is.

    Attributes:
        byte_order: ``"little"`` or ``"big"``.
        version: ``header_version``.
        utsname: Six strings.
        crash_time: Seconds since 1970; 0 when the writer did not know.
        status: Bits of :mod:`~vmsieve.formats.layouts.kdump`.
        page_size: Bytes; ``block_size``.
        pages: One above the highest page frame.
        cpus: ``nr_cpus``.
        exists: Where the bitmap of existing memory is in the file.
        stored: Where the bitmap of stored pages is; the same place in old files with a single bitmap.
        descriptors: Where the page descriptors are.
        sub: Fields of the sub-header by name; 0 for those that the file's version does not have.
        wide: The headers are those of a 64-bit machine.
    """

    byte_order: str
    version: int
    utsname: tuple[str, ...]
    crash_time: int
    status: int
    page_size: int
    pages: int
    cpus: int
    exists: int
    stored: int
    descriptors: int
    sub: dict[str, int]
    wide: bool = True

    @property
    def part(self) -> tuple[int, int] | None:
        """Of one file of a split dump: the first page frame that it holds, and one above the last; else None."""
        sub = self.sub
        if not sub["split"]:
            return None
        return sub["start_pfn_64"] or sub["start_pfn"], sub["end_pfn_64"] or sub["end_pfn"]


def read_header(file: ByteFile) -> KdumpHeader:
    """Read and check the headers of ``file``.

    Raises:
        UnsupportedError: It is too large to be true.
        FormatError: The headers can't be right.
    """
    raw = read_exactly(file, 0, kdump.HEADER_SIZE)
    if raw.startswith(kdump.OLD_SIGNATURE):
        raise UnsupportedError("a diskdump file, of the time before kdump", file=file.name)
    byte_order = _byte_order(file, raw)
    order, wide = kdump.ORDERS[byte_order], True
    fields = struct.unpack(order + kdump.HEADER, raw)
    if fields[6] not in kdump.BLOCK_SIZES:
        narrow = struct.unpack_from(order + kdump.HEADER_32, raw)
        if narrow[6] not in kdump.BLOCK_SIZES:
            raise CorruptError("the block size is not one that can be", file=file.name, found=fields[6])
        fields, wide = narrow, False
    _, version, utsname, seconds, _, status, page_size, sub_blocks, bitmap_blocks, max_mapnr, *_, cpus = fields
    sub = _sub_header(file, byte_order, version, page_size, wide=wide)
    pages = sub["max_mapnr_64"] or max_mapnr
    exists, stored, descriptors = _places(file, page_size, sub_blocks, bitmap_blocks, pages)
    return KdumpHeader(
        byte_order, version, _strings(utsname), seconds, status, page_size, pages, cpus, exists, stored, descriptors,
        sub, wide,
    )  # fmt: skip


def _byte_order(file: ByteFile, raw: bytes) -> str:
    """Told by the version, which is a small number."""
    little, big = (int.from_bytes(raw[8:12], order) for order in ("little", "big"))
    version = min(little, big)
    if not 1 <= version < 1 << 16:
        raise CorruptError("the header version is not one that can be", file=file.name, offset=8, found=version)
    return "little" if little == version else "big"


def _strings(utsname: bytes) -> tuple[str, ...]:
    size = kdump.UTSNAME_FIELD
    fields = (utsname[i * size : (i + 1) * size] for i in range(len(kdump.UTSNAME_FIELDS)))
    return tuple(field.split(b"\0")[0].decode("ascii", "backslashreplace") for field in fields)


def _sub_header(file: ByteFile, byte_order: str, version: int, page_size: int, *, wide: bool) -> dict[str, int]:
    layout, size = (
        (kdump.SUB_HEADER, kdump.SUB_HEADER_SIZE) if wide else (kdump.SUB_HEADER_32, kdump.SUB_HEADER_SIZE_32)
    )
    raw = read_exactly(file, page_size, size)
    values: tuple[Any, ...] = struct.unpack(kdump.ORDERS[byte_order] + layout, raw)
    return {name: value if version >= since else 0 for (name, since), value in zip(_SUB_HEADER_FIELDS, values)}


def _places(file: ByteFile, page_size: int, sub_blocks: int, bitmap_blocks: int, pages: int) -> tuple[int, int, int]:
    """Where the two bitmaps and the descriptors are."""
    if sub_blocks < 1 or bitmap_blocks < 1 or pages < 1:
        raise CorruptError("a size in the header is zero or negative", file=file.name)
    if pages > _PAGES_LIMIT:
        raise UnsupportedError("more page frames than can be", file=file.name, expected=_PAGES_LIMIT, found=pages)
    exists = (1 + sub_blocks) * page_size
    descriptors = exists + bitmap_blocks * page_size
    if descriptors > file.size:
        raise TruncatedError(
            "the file ends before the end of its bitmaps", file=file.name, expected=descriptors, found=file.size
        )
    one = -(-pages // 8)
    if bitmap_blocks * page_size < one:
        raise CorruptError(
            "the bitmap is smaller than the page frames need", file=file.name, offset=exists, expected=one,
            found=bitmap_blocks * page_size,
        )  # fmt: skip
    two = 2 * -(-one // page_size) <= bitmap_blocks
    return exists, exists + bitmap_blocks * page_size // 2 if two else exists, descriptors
