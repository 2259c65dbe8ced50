"""Classification of struct pages in the other byte order, compared with this machine's own.

    python -m perf.foreign [VMCORE]

The struct pages of a real dump are classified as they are, and with the bytes of each field swapped, as a machine of
the other byte order would have written them. Both are in memory, in pieces of the size that a scan uses; only the CPU
seconds of the compiled call count. The classes must be the same.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from array import array
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from perf import options, records
from perf.measure import interleave, table
from perf.startup import unpack_demo
from vmsieve.filters.classify import Classifier
from vmsieve.filters.doubts import Doubts
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.memmap import MemMap
from vmsieve.filters.loops.classify import classify_pages
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_PIECE: Final = 1 << 20
#: 32-bit fields of a struct page, by their offsets: _mapcount or page_type, and _refcount.
_HALVES: Final = (48, 52)
_SIZE: Final = 64
#: Keys of fields of one byte.
_BYTES: Final = ("OFFSET(page.compound_dtor)", "OFFSET(page.compound_order)", "OFFSET(folio._folio_order)")
_OTHER: Final = {"little": "big", "big": "little"}


def struct_pages(knowledge: Knowledge) -> tuple[bytes, VmcoreInfo]:
    """Return all struct pages, joined, and VMCOREINFO."""
    memory, memmap, info = knowledge.memory, knowledge.memmap, knowledge.info
    if memory is None or memmap is None or info is None or memmap.struct_page_size != _SIZE:
        raise SystemExit(
            f"struct pages of {_SIZE} bytes are needed: {knowledge.problem or 'these are of another size'}"
        )
    if any(info.peek(key) for key in _BYTES):
        raise SystemExit("a kernel since v6.6 is needed: older struct pages have single bytes among the words")
    parts = [
        memory.read(run.vaddr + at, min(_PIECE, run.count * _SIZE - at))
        for run in memmap.runs()
        for at in range(0, run.count * _SIZE, _PIECE)
    ]
    return b"".join(parts), info


def turned(pages: bytes) -> bytearray:
    """Swap the bytes of each field of ``pages``."""
    words, halves = array("Q", pages), array("I", pages)
    words.byteswap()
    halves.byteswap()
    out = bytearray(words.tobytes())
    fields = halves.tobytes()
    for at in _HALVES:
        for byte in range(at, at + 4):
            out[byte::_SIZE] = fields[byte::_SIZE]
    return out


def classes(pages: bytearray, info: VmcoreInfo, order: str, passes: int) -> tuple[float, bytes]:
    """Classify ``pages`` ``passes`` times; return the CPU seconds and the classes."""
    memory: Any = SimpleNamespace(physical=SimpleNamespace(byte_order=order, source=SimpleNamespace(page_size=4096)))
    out = bytearray(len(pages) // _SIZE)
    start, to, step = address_of(pages), address_of(out), _PIECE // _SIZE
    seconds = 0.0
    for _ in range(passes):
        classifier = Classifier(memory, MemMap("flatmem", _SIZE), info, 31, doubts=Doubts(verify=True))
        parameters = classifier.parameters.address
        began = time.process_time()
        for first in range(0, len(out), step):
            count = min(step, len(out) - first)
            classify_pages(parameters, start + first * _SIZE, first, count, 0, to + first)
        seconds += time.process_time() - began
    return seconds, bytes(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if the classes differ."""
    parser = options.parser("foreign", __doc__, 9, "--json")
    parser.add_argument(
        "input",
        type=Path,
        metavar="VMCORE",
        nargs="?",
        help="a dump of a machine with this byte order (default: the demo)",
    )
    parser.add_argument("--passes", type=int, default=40, help="over all struct pages in a round (default: 40)")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory() as folder:
        source = open_source(str(arguments.input or unpack_demo(Path(folder))))
        pages, info = struct_pages(gather_knowledge(source))
    orders = {source.byte_order: bytearray(pages), _OTHER[source.byte_order]: turned(pages)}
    cases = {order: partial(classes, data, info, order, arguments.passes) for order, data in orders.items()}
    found = interleave(cases, arguments.rounds)
    source.close()
    seconds = {order: statistics.median(run[0] for run in runs) for order, runs in found.items()}
    own, other = seconds.values()
    same = len({run[1] for runs in found.values() for run in runs}) == 1
    count = len(pages) // _SIZE * arguments.passes
    rows = [{"order": order, "mpages_s": round(count / second / 1e6, 1)} for order, second in seconds.items()]
    print(table([["byte order", "million pages a second"], *([row["order"], row["mpages_s"]] for row in rows)]))
    print(
        f"the other order takes {other / own:.3f} of the time; the classes are {'the same' if same else 'NOT THE SAME'}"
    )
    result = {"kind": "foreign", **records.machine({}), "rounds": arguments.rounds, "cache": {"state": "in memory"}}
    result |= {"ratio": round(other / own, 3), "same": same, "rows": rows}
    print(f"written: {records.save('foreign', result, arguments.json)}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
