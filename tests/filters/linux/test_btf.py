"""BTF: made by hand in either byte order, real kernels' compared with VMCOREINFO, and damaged."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.types import TypeTable
from tests.dumps import dump
from tests.outcome import result_or_error
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.btf import HEADER_SIZE, Btf, find_btf, magic
from vmsieve.filters.linux.kallsyms import open_kallsyms
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Callable

NAMES = ("page", "zone", "counter_t", "flags", "wide", "forward", "absent")
each_order = pytest.mark.parametrize("order", ["little", "big"])
AT = 0x1000


def table(order: str = "little", filler: int = 600) -> TypeTable:
    """Structures with unnamed members among many other types."""
    made = TypeTable("<" if order == "little" else ">")
    word = made.integer("long unsigned int", 8)
    for i in range(filler):
        made.pointer(word)
        made.structure(f"filler_{i}", 8, [(f"m{i}", word, 0)])
        made.add("", 13, 0, 2, bytes(16))
    counter = made.structure("", 4, [("counter", made.integer("int", 4), 0)])
    made.alias("counter_t", counter)
    inner = made.structure("", 16, [("lru", word, 0), ("private", word, 8)])
    both = made.structure("", 16, [("", inner, 0), ("compound_head", word, 0)], union=True)
    made.add("forward", 7, 0)
    made.structure("page", 64, [("flags", word, 0), ("", both, 8), ("_mapcount", counter, 48)])
    made.structure("zone", 2048, [("free_area", made.array(word, 11), 1024)])
    made.enumeration("flags", {"PG_lru": 5, "PG_hwpoison": 20, "none": -1})
    made.enumeration("wide", {"large": 1 << 40, "small": 3}, wide=True)
    return made


def read_of(data: bytes) -> object:
    def read(at: int, size: int) -> bytes:
        if not AT <= at <= at + size <= AT + len(data):
            raise ReadError("no such memory", offset=at)
        return data[at - AT : at - AT + size]

    return read


def opened(data: bytes, order: str) -> Btf:
    found = Btf(read_of(data), order, AT, len(data))  # type: ignore[arg-type]
    found.load(NAMES)
    return found


@each_order
@pytest.mark.parametrize("filler", [0, 84, 85, 86, 6000])
def test_structures_and_enumerations(order: str, filler: int) -> None:
    """Members of unnamed members, arrays, enumerators of 32 and 64 bits are found wherever the types lie."""
    found = opened(table(order, filler).section(), order)
    assert (found.size("page"), found.size("zone"), found.size("counter_t"), found.size("absent")) == (
        64,
        2048,
        4,
        None,
    )
    members = ("flags", "lru", "private", "compound_head", "_mapcount", "absent")
    assert [found.offset("page", name) for name in members] == [0, 8, 16, 8, 48, None]
    assert found.offset("counter_t", "counter") == 0
    assert (found.length("zone", "free_area"), found.length("page", "flags")) == (11, None)
    assert found.enumerators("flags") == {"PG_lru": 5, "PG_hwpoison": 20, "none": -1}
    assert found.enumerators("wide") == {"large": 1 << 40, "small": 3}
    assert found.enumerators("page") == found.enumerators("absent") == {}
    assert found.size("forward") is None
    assert found.knows("flags")
    assert not found.knows("absent")


@each_order
def test_the_beginning_of_a_section(order: str) -> None:
    """:func:`magic` matches the start of a section, for the search."""
    assert table(order).section().startswith(magic(order))


@each_order
def test_found_among_others(order: str) -> None:
    """A search skips invalid, truncated and oversized sections, and those of modules."""
    good = table(order)
    good.enumeration("pageflags", {"PG_lru": 5})
    module = TypeTable("<" if order == "little" else ">")
    module.structure("inode", 8, [("i", module.integer("int", 4), 0)])
    head = struct.Struct(("<" if order == "little" else ">") + "HBBIIIII")
    huge = head.pack(0xEB9F, 1, 0, HEADER_SIZE, 0, 60 << 20, 60 << 20, 3 << 20)
    started = bytearray(good.section())
    started[-len(good.strings)] = ord("x")
    pieces = [huge, huge, bytes(started), module.section(), table(order).section(), good.section(), b"\xff" * 40]
    places = [AT]
    for piece in pieces:
        places.append(places[-1] + -(-len(piece) // 8) * 8)
    read = read_of(b"".join(piece + bytes(-len(piece) % 8) for piece in pieces))
    found = find_btf(read, order, places, (*NAMES, "pageflags"), "page")  # type: ignore[arg-type]
    assert found is not None
    assert (found.address, found.enumerators("pageflags"), found.size("zone")) == (places[5], {"PG_lru": 5}, 2048)
    assert find_btf(read, order, places[:5], (*NAMES, "pageflags"), "page") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("at", range(0, HEADER_SIZE, 4))
def test_implausible_headers(at: int) -> None:
    """Wrong magic or impossible sizes are a typed error at once."""
    data = bytearray(table(filler=0).section())
    data[at : at + 4] = b"\xff" * 4
    with pytest.raises(VmsieveError):
        opened(bytes(data), "little")


def test_a_type_of_no_known_kind() -> None:
    made = table()
    made.add("new", 25, 0)
    with pytest.raises(KernelError, match="is damaged"):
        opened(made.section(), "little")


def _cycle(made: TypeTable, length: int) -> None:
    """``zone``: unnamed structures and unions, each nested in the previous one."""
    first = made.count + 1
    for i in range(length):
        made.structure("", 8, [("", first + (i + 1) % length, 8)], union=i % 2 > 0)
    made.structure("zone", 8, [("", first, 0), ("b", 1, 8)])


def _wide(made: TypeTable) -> None:
    """``zone``: structures that each have many members of the next one."""
    made.structure("", 8, [(f"m{i}", 1, 0) for i in range(60)])
    for _ in range(3):
        made.structure("", 8, [("", made.count, 0)] * 60)
    made.structure("zone", 8, [("", made.count, 0)])


def _deep(made: TypeTable) -> None:
    """``zone``: nesting deeper than the stack."""
    made.structure("", 8, [("a", 1, 0)])
    for _ in range(2000):
        made.structure("", 8, [("", made.count, 0)])
    made.structure("zone", 8, [("", made.count, 0)])


def _named(made: TypeTable) -> None:
    """``zone``: an unnamed member whose type is a cycle of typedefs and qualifiers."""
    made.alias("", made.count + 2)
    made.add("", 10, made.count)
    made.structure("zone", 8, [("", made.count, 0)])


def _long(made: TypeTable) -> None:
    """``zone``: twenty thousand members."""
    made.structure("zone", 8, [("m", 1, 0)] * 20000)


BOMBS = [
    lambda made: _cycle(made, 1),
    lambda made: _cycle(made, 2),
    lambda made: _cycle(made, 40),
    _wide,
    _deep,
    _named,
]


@pytest.mark.parametrize("add", [*BOMBS, _long])
def test_recursive_types(add: Callable[[TypeTable], None]) -> None:
    """Recursive structures, exponentially many members and deep nesting give an error after a bounded number of reads.

    Each further query gives the same error; a partial walk answers nothing.
    """
    made = TypeTable()
    made.structure("page", 8, [("a", made.integer("int", 4), 0)])
    add(made)
    section, reads = made.section(), 0
    plain = read_of(section)

    def counted(at: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return plain(at, size)  # type: ignore[operator, no-any-return]

    found = Btf(counted, "little", AT, len(section))
    found.load(NAMES)
    for _ in range(50):
        with pytest.raises(KernelError):
            found.offset("zone", "b")
    assert reads < 200_000


def test_more_types_of_a_name_than_there_are() -> None:
    """The list of types that share a name is bounded."""
    made = TypeTable()
    for _ in range(3000):
        made.structure("zone", 8, [("a", 1, 0)])
    found = opened(made.section(), "little")
    assert found.size("zone") == 8
    assert sum(1 for _ in found._structures("zone")) < 100


def test_more_enumerators_than_there_are() -> None:
    """An enumeration of 20,000 values is an error; it is not walked for each query."""
    made = TypeTable()
    made.enumeration("flags", {"a": 1, **{f"m{i}": i for i in range(3)}})
    made.add("wide", 6, 4, 20000, struct.pack("<2I", made.name("a"), 1) * 20000)
    found = opened(made.section(), "little")
    assert found.enumerators("flags")["a"] == 1
    with pytest.raises(KernelError, match="more members"):
        found.enumerators("wide")


def test_a_name_for_itself() -> None:
    """A cycle of types is an error."""
    made = TypeTable()
    made.structure("page", 8, [("a", 1, 0)])
    made.alias("counter_t", made.count + 1)
    found = opened(made.section(), "little")
    with pytest.raises(KernelError, match="refers to nothing"):
        found.size("counter_t")


@pytest.mark.parametrize("name", ["demo.elf", "x86_64-6.1-kdump.elf", "x86_64-7.2-live.elf", "s390x-6.1.s390"])
def test_real_kernels_types_agree_with_vmcoreinfo(name: str, scratch: Path) -> None:
    """Sizes, offsets and page flags in VMCOREINFO equal BTF's."""
    source = open_source(str(dump(name, scratch)))
    knowledge = gather_knowledge(source)
    assert knowledge.memory is not None
    assert knowledge.info is not None
    symbols = open_kallsyms(knowledge.memory.read, source.byte_order, knowledge.info)
    place = symbols.addresses(("__start_BTF", "__stop_BTF"))
    if not place:
        pytest.skip("the kernel has no BTF")
    found = Btf(knowledge.memory.read, source.byte_order, place["__start_BTF"])
    structures = ("page", "zone", "mem_section", "uts_namespace", "list_head", "printk_info", "atomic_long_t")
    found.load((*structures, "pageflags"))
    seen = 0
    for key in knowledge.info.keys:
        kind, _, rest = key.partition("(")
        structure, _, member = rest.rstrip(")").partition(".")
        if kind in ("SIZE", "OFFSET") and structure in structures:
            told = found.offset(structure, member) if member else found.size(structure)
            assert told == knowledge.info.lookup(kind, rest.rstrip(")")), key
            seen += 1
        elif kind == "NUMBER" and structure in found.enumerators("pageflags"):
            assert found.enumerators("pageflags")[structure] == knowledge.info.number(structure), key
            seen += 1
    assert seen > 20
    source.close()


@pytest.mark.fuzz
@each_order
@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 1 << 32))
def test_damage_at_random(order: str, seed: int) -> None:
    """Random damage gives answers or a typed error."""
    dice = random.Random(seed)
    data = bytearray(table(order, 40).section())
    for _ in range(dice.randrange(1, 6)):
        at = dice.choice([dice.randrange(HEADER_SIZE), dice.randrange(len(data)), len(data) - dice.randrange(1, 900)])
        word = dice.choice([0, 1, 0xFFFFFFFF, 0x84000003, 0x1300FFFF, dice.getrandbits(32)])
        data[at : at + 4] = struct.pack(("<" if order == "little" else ">") + "I", word)
    section = bytes(data[: len(data) if seed % 3 else dice.randrange(len(data) + 1)])

    def sizes_and_offsets() -> list[int | None]:
        found = opened(section, order)
        assert all(isinstance(found.enumerators(name), dict) for name in NAMES)
        members = [(name, member) for name in NAMES for member in ("flags", "lru", "free_area")]
        return [*map(found.size, NAMES), *(ask(*one) for one in members for ask in (found.offset, found.length))]

    numbers = result_or_error(sizes_and_offsets)
    assert isinstance(numbers, VmsieveError) or all(number is None or number >= 0 for number in numbers)
