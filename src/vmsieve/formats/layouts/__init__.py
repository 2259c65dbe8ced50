"""On-disk structures and constants: each file names the header that defines them.

Readers and writers both use them. The crash kernel loads this room: it imports :mod:`struct` and nothing else.
"""

from __future__ import annotations

import struct

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

#: Prefix of a :mod:`struct` format by the name of its byte order.
ORDERS: Final = {"little": "<", "big": ">"}


class Fields:
    """The values of a structure's fields, as attributes."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...


class Struct:
    """A structure without implicit padding; ``name`` is its source's.

    ``fields`` are ``name:code`` or ``name:code@offset`` each, ascending, where code is one of :mod:`struct`; without a
    name a field is padding. ``order`` is empty if files come in both byte orders: methods need it then.
    """

    def __init__(self, name: str, fields: str, order: str = "") -> None:
        self.name, self._order = name, order
        self._codes: dict[str, tuple[int, str]] = {}
        codes, self.size = "", 0
        for field in fields.split():
            label, _, rest = field.partition(":")
            code, _, offset = rest.partition("@")
            if offset:
                codes += f"{int(offset, 0) - self.size}x"
                self.size = int(offset, 0)
            if label:
                self._codes[label] = self.size, code
            codes += code
            self.size += struct.calcsize("<" + code)
        self._formats = {each: struct.Struct(prefix + codes) for each, prefix in ORDERS.items()}

    def format(self, order: str = "") -> struct.Struct:
        """Compiled format, for loops in which attributes would cost too much time."""
        return self._formats[order or self._order]

    def offset(self, field: str) -> int:
        """Byte offset of ``field``."""
        return self._codes[field][0]

    def unpack(self, data: Buffer, at: int = 0, order: str = "") -> Fields:
        """Unpack the structure at byte ``at`` of ``data``."""
        fields = Fields()
        fields.__dict__ = dict(zip(self._codes, self.format(order).unpack_from(data, at)))
        return fields

    def array(self, data: Buffer, at: int, count: int, order: str = "") -> Iterator[Fields]:
        """Unpack ``count`` structures, one behind the other from byte ``at`` on."""
        return (self.unpack(data, at + i * self.size, order) for i in range(count))

    def pack(self, order: str = "", **values: object) -> bytes:
        """Pack ``values`` by field; a field without a value is zero."""
        assert values.keys() <= self._codes.keys(), f"{self.name} lacks {values.keys() - self._codes.keys()}"
        zeros = ((name, b"" if code.endswith("s") else 0) for name, (_, code) in self._codes.items())
        return self.format(order).pack(*(values.get(name, zero) for name, zero in zeros))

    def pack_field(self, field: str, value: object, order: str = "") -> bytes:
        """Pack ``field`` alone."""
        return struct.pack(ORDERS[order or self._order] + self._codes[field][1], value)
