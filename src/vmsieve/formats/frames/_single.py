"""Check of one Zstandard frame against its checksum, wherever its bytes come from. RFC 8878."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Callable, Final

#: Bytes unpacked at a time: the package does not bound its output, and four bytes can be 128 KiB of content.
_PIECE: Final = 512
#: Memory that unpacking may take: the window of zstd -22.
_WINDOW: Final = 128 << 20
_MAGIC_SIZE: Final = 4
#: Flag in the byte behind the magic number: a checksum follows the content.
_CHECKSUM: Final = 4


def check_frame(read: Callable[[int], bytes]) -> tuple[bool | None, int]:
    """Unpack a frame and discard the content; ``read`` returns up to so many next bytes.

    Returns True if the frame is right; None if it is whole but has no checksum, or if no package unpacks it. And the
    number of bytes read beyond it.
    """
    try:
        import zstandard
    except ImportError:
        return None, 0
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    head = b""
    try:
        while not unpacker.eof:
            data = read(_PIECE)
            if not data:
                return False, 0
            head = head or data
            unpacker.decompress(data)
    except zstandard.ZstdError:
        return False, 0
    return True if head[_MAGIC_SIZE] & _CHECKSUM else None, len(unpacker.unused_data)
