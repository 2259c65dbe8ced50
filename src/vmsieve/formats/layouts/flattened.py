"""The flattened stream of makedumpfile -F: a file as pieces, each with its offset in the rebuilt file.

Source: ``makedumpfile.h`` of makedumpfile. A header of 4096 bytes, then a piece header and its bytes over and over,
then the end mark. All numbers are big-endian. A later piece replaces what an earlier one put at the same offset.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

SIGNATURE: Final = b"makedumpfile".ljust(16, b"\0")
TYPE: Final = 1
VERSION: Final = 1
#: The rest of the header is zero.
HEADER: Final = Struct("struct makedumpfile_header", "signature:16s type:q version:q", "big")
HEADER_SIZE: Final = 4096
#: offset: in the rebuilt file; buf_size: bytes that follow.
PIECE: Final = Struct("struct makedumpfile_data_header", "offset:q buf_size:q", "big")
#: offset and buf_size of the piece header that ends the stream.
END: Final = (-1, -1)
