"""Headers of kdump-compressed files of any version: read and checked."""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.layouts import kdump
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields

#: Most page frames: half a PiB of 4 KiB pages, 32 MiB of ranks.
_PAGES_LIMIT: Final = 1 << 37


@record(frozen=True)
class KdumpHeader:
    """Values of the main header and the sub-header, and file offsets."""

    byte_order: str  # ``"little"`` or ``"big"``
    version: int  # ``header_version``
    utsname: tuple[str, ...]  # six strings
    crash_time: int  # seconds since 1970; 0: unknown
    status: int  # bits of :mod:`~vmsieve.formats.layouts.kdump`
    page_size: int  # bytes; ``block_size``
    pages: int  # one above the highest page frame
    cpus: int  # ``nr_cpus``
    exists: int  # offset of the bitmap of existing memory
    stored: int  # offset of the bitmap of stored pages; the same in old files, which have a single bitmap
    descriptors: int  # offset of the page descriptors
    sub: Fields  # the sub-header; fields that the file's version lacks are 0
    wide: bool = True  # the headers have the layout of a 64-bit machine

    @property
    def part(self) -> tuple[int, int] | None:
        """The page frames ``first, end`` of one file of a split dump, or None."""
        sub = self.sub
        return (sub.start_pfn_64 or sub.start_pfn, sub.end_pfn_64 or sub.end_pfn) if sub.split else None


def read_header(file: ByteFile) -> KdumpHeader:
    """Read and check the headers of ``file``; raises FormatError if they are invalid or unsupported."""
    raw = read_exactly(file, 0, kdump.HEADER.size)
    if raw.startswith(kdump.OLD_SIGNATURE):
        raise UnsupportedError("a diskdump file, the predecessor of kdump files", file=file.name)
    order = _byte_order(file, raw)
    header, wide = kdump.HEADER.unpack(raw, order=order), True
    if header.block_size not in kdump.BLOCK_SIZES:
        narrow = kdump.HEADER_32.unpack(raw, order=order)
        if narrow.block_size not in kdump.BLOCK_SIZES:
            raise CorruptError("the block size is invalid", file=file.name, found=header.block_size)
        header, wide = narrow, False
    sub = _sub_header(file, order, header.header_version, header.block_size, wide=wide)
    pages = sub.max_mapnr_64 or header.max_mapnr
    exists, stored, descriptors = _offsets(file, header, pages)
    return KdumpHeader(
        order, header.header_version, _strings(header.utsname), header.tv_sec, header.status, header.block_size, pages,
        header.nr_cpus, exists, stored, descriptors, sub, wide,
    )  # fmt: skip


def _byte_order(file: ByteFile, raw: bytes) -> str:
    """The order in which the version is a small number."""
    at = kdump.HEADER.offset("header_version")
    little, big = (int.from_bytes(raw[at : at + 4], order) for order in ("little", "big"))
    version = min(little, big)
    if not 1 <= version < 1 << 16:
        raise CorruptError("the header version is invalid", file=file.name, offset=at, found=version)
    return "little" if little == version else "big"


def _strings(utsname: bytes) -> tuple[str, ...]:
    size = kdump.UTSNAME_FIELD
    fields = (utsname[i * size : (i + 1) * size] for i in range(len(kdump.UTSNAME_FIELDS)))
    return tuple(field.split(b"\0")[0].decode("ascii", "backslashreplace") for field in fields)


def _sub_header(file: ByteFile, order: str, version: int, block_size: int, *, wide: bool) -> Fields:
    layout = kdump.SUB_HEADER if wide else kdump.SUB_HEADER_32
    sub = layout.unpack(read_exactly(file, block_size, layout.size), order=order)
    for since, names in kdump.SINCE.items():
        if version < since:
            vars(sub).update(dict.fromkeys(names, 0))
    return sub


def _offsets(file: ByteFile, header: Fields, pages: int) -> tuple[int, int, int]:
    """File offsets of the two bitmaps and of the page descriptors."""
    if header.sub_hdr_size < 1 or header.bitmap_blocks < 1 or pages < 1:
        raise CorruptError("a size in the header is zero or negative", file=file.name)
    if pages > _PAGES_LIMIT:
        raise UnsupportedError("too many page frames", file=file.name, expected=_PAGES_LIMIT, found=pages)
    block_size, bitmaps = header.block_size, header.bitmap_blocks * header.block_size
    exists = (1 + header.sub_hdr_size) * block_size
    descriptors = exists + bitmaps
    if descriptors > file.size:
        raise TruncatedError("the file ends within its bitmaps", file=file.name, expected=descriptors, found=file.size)
    one = -(-pages // 8)
    if bitmaps < one:
        raise CorruptError(
            "the bitmap is too small for the page frames", file=file.name, offset=exists, expected=one, found=bitmaps
        )
    two = 2 * -(-one // block_size) <= header.bitmap_blocks
    return exists, exists + bitmaps // 2 if two else exists, descriptors
