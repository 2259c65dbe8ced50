"""One Zstandard frame, held against its checksum, wherever its bytes come from. RFC 8878."""

from __future__ import annotations

from typing import Callable, Final

__all__ = ["single_right"]

#: Bytes handed over at a time: the package bounds no output, and four bytes can be 128 KiB of content.
_PIECE: Final = 512
#: Memory that unpacking may take: what zstd -22 asks for.
_WINDOW: Final = 128 << 20
_MAGIC_SIZE: Final = 4
#: Of the byte behind the magic number: a checksum follows the content.
_CHECKSUM: Final = 4


def single_right(read: Callable[[int], bytes]) -> tuple[bool | None, int]:
    """Unpack a frame and forget it.

    Args:
        read: Gives the next bytes, at most as many as it is asked for, and none at the end.

    Returns:
        Whether it is right; None if it is whole, but carries no checksum, or if there is no package to unpack it. And
        how many of the bytes read last do not belong to it.
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
