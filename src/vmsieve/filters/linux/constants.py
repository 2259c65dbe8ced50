"""Known constants of struct page, to detect damaged numbers in VMCOREINFO.

Fields and flags of struct page moved a few times in fifteen years, several of them each time. So a number that does not
match the others is damaged, or the kernel is newer than this table: then the resolver is asked, and numbers that it
confirms are used. For a known kernel it is not asked.

Fields: ``include/linux/mm_types.h``; elsewhere before 4da1984edbbe ("mm: combine LRU and main union in struct page",
v4.18). Flags: ``enum pageflags`` of ``include/linux/page-flags.h``, of 64-bit kernels with an MMU.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Possible values of each key in some kernels; empty if they do not export it.
_Row = dict[str, tuple[int, ...]]

_FLAGS: Final = ("lru", "slab", "swapcache", "private", "head", "swapbacked", "hwpoison", "hugetlb")
_RESERVED: Final = "NUMBER(PG_reserved)"


def _flags(*bits: int | tuple[int, ...] | None) -> _Row:
    row: _Row = {}
    for name, bit in zip(_FLAGS, bits):
        values = () if bit is None else bit if isinstance(bit, tuple) else (bit,)
        key = "NUMBER(PG_head_mask)" if name == "head" else f"NUMBER(PG_{name})"
        row[key] = tuple(1 << value for value in values) if name == "head" else values
    # No kernel exports PG_reserved; in each it precedes PG_private.
    row[_RESERVED] = (row["NUMBER(PG_private)"][0] - 1,)
    return row


def _fields(lru: int, mapping: int, private: int, kind: int) -> _Row:
    """Offsets of fields; the two counters are adjacent, and the first word of ``lru`` marks a tail."""
    offsets = {"flags": 0, "lru": lru, "compound_head": lru, "compound_info": lru, "mapping": mapping}
    offsets |= {"private": private, "_mapcount": kind, "_refcount": kind + 4, "_count": kind + 4}
    return {f"OFFSET(page.{name})": (offset,) for name, offset in offsets.items()}


def _first_tail(owner: str, dtor: int, order: int) -> _Row:
    """Offsets of destructor and order in the first tail of a compound page."""
    return {f"OFFSET({owner}_dtor)": (dtor,), f"OFFSET({owner}_order)": (order,)}


def _types(**types: int) -> _Row:
    """Page types as 32-bit words, negative in the kernel; see :mod:`vmsieve.filters.linux.derived_keys`."""
    names = ("buddy", "offline", "hugetlb", "slab", "unaccepted")
    return {
        f"NUMBER(PAGE_{name.upper()}_MAPCOUNT_VALUE)": (types[name] - (1 << 32),) if name in types else ()
        for name in names
    }


_WORD: Final = 0xFFFFFFFF
#: Index of the flags in _KNOWN: groups of keys that change together, with the values of kernels, oldest first.
_OF_FLAGS: Final = 2
_KNOWN: Final[tuple[tuple[_Row, ...], ...]] = (
    # 64 bytes or, without memory control groups, 56. If the flags have no room for the last processor (many nodes,
    # KASAN's tags, sections), it follows the rest, aligned to 16 (include/linux/page-flags-layout.h).
    ({"SIZE(page)": (56, 64, 80)},),
    (_fields(32, 8, 48, 24), _fields(8, 24, 40, 48)),
    (
        # PG_hwpoison has two values: PG_uncached (x86), or since v6.14 PG_dropbehind, may precede it.
        _flags(5, 7, 16, 11, 14, 19, (22, 23), None),
        # 1d798ca3f164 ("mm: make compound_head() robust", v4.4): without PG_tail.
        _flags(5, 7, 15, 11, 14, 18, (21, 22), None),
        # 62906027091f ("mm: add PageWaiters indicating tasks are waiting for a page bit", v4.10), and 6326fec1122c
        # ("mm: Use owner_priv bit for PageSwapCache, valid when PageSwapBacked", v4.10).
        _flags(5, 8, 9, 12, 15, 18, (21, 22), None),
        # 1899ad18c607 ("mm: workingset: tell cache transitions from workingset thrashing", v4.20).
        _flags(4, 9, 10, 13, 16, 19, (22, 23), None),
        # c704ae979784 ("mm: rearrange page flags", v6.6): PG_writeback and PG_head in the lowest byte.
        _flags(5, 11, 12, 15, 6, 19, (22, 23), 8),
        # 46df8e73a4a3 ("mm: free up PG_slab", v6.10).
        _flags(5, None, 11, 14, 6, 18, (21, 22), None),
        # 09022bc19681 ("mm: remove PG_error") and "x86: remove PG_uncached", v6.12.
        _flags(5, None, 10, 14, 6, 17, (20, 21), None),
    ),
    (
        _types(buddy=_WORD ^ 0x7F),
        _types(buddy=_WORD ^ 0x80, offline=_WORD ^ 0x100, hugetlb=_WORD ^ 0x800, slab=_WORD ^ 0x1000),
        # 4ffca5a96678 ("mm: support only one page_type per page") came with v6.12; the bits moved in v6.11.
        _types(buddy=_WORD ^ 1 << 30, offline=_WORD ^ 1 << 29, hugetlb=_WORD ^ 1 << 26, slab=_WORD ^ 1 << 25),
        _types(buddy=0xF0 << 24, offline=0xF1 << 24, hugetlb=0xF4 << 24, slab=0xF5 << 24, unaccepted=0xF7 << 24),
    ),
    # Bytes side by side since v4.16, half words in v4.4, words between; members of struct folio in v6.3 to v6.5.
    (_first_tail("page.compound", 16, 17), *(_first_tail("page.compound", 40, order) for order in (41, 42, 44))),
    (_first_tail("folio._folio", 80, 81), _first_tail("folio._folio", 72, 73)),
    # enum compound_dtor_id (include/linux/mm.h), v4.4 to v6.5.
    ({"NUMBER(HUGETLB_PAGE_DTOR)": (2,)},),
)  # fmt: skip


def check_constants(info: VmcoreInfo) -> list[str]:
    """Correct or reject keys of struct page in ``info`` that can't be right; returns remarks on rejected ones."""
    notes: list[str] = []
    for rows in _KNOWN:
        numbers = {key: info.peek_number(key) for key in rows[0] if info.peek(key) is not None}
        if not _is_known(numbers, rows):
            notes += _correct(info, numbers, rows)
    return notes


def bit_of_reserved(info: VmcoreInfo) -> int | None:
    """The bit of PG_reserved, from the other flags in VMCOREINFO, else from the kernel's types."""
    rows = _KNOWN[_OF_FLAGS]
    numbers = {key: info.peek_number(key) for key in rows[0] if info.peek(key) is not None}
    bits = {row[_RESERVED] for row in rows if not _differing(numbers, row)} if numbers else set()
    if len(bits) == 1:
        return bits.pop()[0]
    return info.number("PG_reserved")


def _is_known(numbers: dict[str, int | None], rows: tuple[_Row, ...]) -> bool:
    return any(not _differing(numbers, row) for row in rows)


def _differing(numbers: dict[str, int | None], row: _Row) -> list[str]:
    """The keys whose numbers are not those of ``row``."""
    return [key for key, number in numbers.items() if number not in row[key]]


def _correct(info: VmcoreInfo, numbers: dict[str, int | None], rows: tuple[_Row, ...]) -> list[str]:
    """Compare ``numbers``, which match no known kernel, with the rest of the dump; correct or reject keys."""
    others = {key: info.second_opinion(key) for key in numbers}
    if all(others[key] == number for key, number in numbers.items()):
        return []
    corrected = {key: number if others[key] is None else others[key] for key, number in numbers.items()}
    if _is_known(corrected, rows):
        for key, number in numbers.items():
            if corrected[key] != number:
                info.correct(key)
        return []
    # If all but one match a known kernel, that one is wrong.
    differing = [_differing(numbers, row) for row in rows]
    wrong = list(dict.fromkeys(keys[0] for keys in differing if len(keys) == 1))
    wrong = wrong or [key for key, number in numbers.items() if others[key] != number]
    for key in wrong:
        info.reject(key)
    return [
        f"{', '.join(wrong)}: ignored, because no known kernel has such numbers, and nothing in the dump confirms them"
    ]
