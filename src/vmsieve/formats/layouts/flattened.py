"""The flattened stream of makedumpfile -F: a file as pieces that each say where they belong.

Source: ``makedumpfile.h`` of makedumpfile (``struct makedumpfile_header``, ``struct makedumpfile_data_header``). A
header of 4096 bytes, then a piece header and its bytes over and over, then the end mark. All numbers are big-endian.
A later piece replaces what an earlier one put in the same place.
"""

from __future__ import annotations

from typing import Final

SIGNATURE: Final = b"makedumpfile".ljust(16, b"\0")
TYPE: Final = 1
VERSION: Final = 1
#: signature, type, version; the rest of the header is zero.
HEADER: Final = ">16sqq"
HEADER_SIZE: Final = 4096
#: offset in the rebuilt file, bytes that follow.
PIECE: Final = ">qq"
PIECE_SIZE: Final = 16
#: offset and size of the piece that ends the stream.
END: Final = (-1, -1)
