"""Damage to one page of kernel metadata: it must never drop a page of kernel data.

    python -m perf.corruption [--trials N] [--seed N] [DUMP ...]      (default: 1000 trials over tests/zoo)

A trial damages one page that classification reads (VMCOREINFO, page tables, memory sections, nodes, struct pages,
symbols, types), and classifies the dump at level 31. A page that is kept without the damage and dropped with it is a
*violation*, unless its struct page lies on the damaged page. ``--only SEED`` repeats a trial.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.inputs import Source, open_source
from vmsieve.pipeline.dump.scan import Scan, scan
from vmsieve.pipeline.dump.watch import Through, Watched
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.filters.knowledge import Knowledge

__all__ = ["Outcome", "Subject", "main", "unpack"]

_LEVEL = 31
_UNIT = 4096
#: Of ten trials: struct pages, everything else in memory, VMCOREINFO.
_SHARES = ("struct pages",) * 5 + ("others",) * 4 + ("note",)


class _Damaged(Through):
    """A dump with one page, or VMCOREINFO, replaced."""

    def __init__(self, inner: Source, paddr: int = -1, content: bytes = b"", note: bytes | None = None) -> None:
        super().__init__(inner)
        self._paddr, self._content = paddr, content
        if note is not None:
            self.vmcoreinfo = note

    def read_into(self, paddr: int, out: memoryview) -> None:
        """See :class:`Source`."""
        self._inner.read_into(paddr, out)
        low, high = max(paddr, self._paddr), min(paddr + len(out), self._paddr + len(self._content))
        if low < high:
            out[low - paddr : high - paddr] = self._content[low - self._paddr : high - self._paddr]


@dataclass
class Outcome:
    """Outcome of a trial.

    Attributes:
        what: The damage in words.
        kind: The same in short, for the table.
        lost: Page frames dropped although their struct pages were not damaged.
        excused: Page frames dropped whose own struct pages were damaged.
        more: Page frames kept in addition.
        said: True if the exit status would be 3.
        failed: The exception raised; empty if all is well.
        seconds: Duration.
    """

    what: str
    kind: str
    lost: list[int] = field(default_factory=list)
    excused: int = 0
    more: int = 0
    said: bool = False
    failed: str = ""
    seconds: float = 0.0


def _number(scanned: Scan) -> int:
    """Return the bitmap of kept pages as one number."""
    return int.from_bytes(b"".join(scanned.kept), "little")


def _ones(number: int) -> list[int]:
    return [match.start() for match in re.finditer("1", bin(number)[:1:-1])]


def _pages_of(knowledge: Knowledge, page: int) -> dict[int, list[tuple[int, int]]]:
    """Map the address of each page with struct pages to the page frames described: first ones and counts."""
    found: dict[int, list[tuple[int, int]]] = {}
    if knowledge.memory is None or knowledge.memmap is None:
        return found
    size = knowledge.memmap.struct_page_size
    for run in knowledge.memmap.runs():
        at = 0
        while at < run.count * size:
            step = min(page - (run.vaddr + at) % page, run.count * size - at)
            first, last = at // size, (at + step - 1) // size
            try:
                paddr = knowledge.memory.translate(run.vaddr + at)[0] // page * page
                found.setdefault(paddr, []).append((run.first_pfn + first, last - first + 1))
            except VmsieveError:
                pass
            at += step
    return found


class Subject:
    """A dump to damage, one trial after the other.

    Attributes:
        name: The dump's.
        text: VMCOREINFO to use; None: the dump's own.
    """

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        """Classify the whole dump; ``silent``: its kernel has no VMCOREINFO."""
        self.name = path.stem
        self.source = open_source(str(path))
        self.text = b"" if silent else None
        watched = Watched(self.source)
        knowledge = gather_knowledge(watched, self.text)
        whole = scan(watched, knowledge, _LEVEL, Silent())
        self.kept, self.notes, self.weaker = _number(whole), whole.notes + knowledge.notes, whole.weaker
        self.page = knowledge.page_size
        self._described = _pages_of(knowledge, self.page)
        spans = watched.read_spans(self.page)
        read = [pfn * self.page for first, end in spans for pfn in range(first, end)]
        self._places = {
            "struct pages": [paddr for paddr in read if paddr in self._described],
            "others": [paddr for paddr in read if paddr not in self._described],
        }

    def close(self) -> None:
        """Close the dump."""
        self.source.close()

    def counts(self) -> dict[str, int]:
        """Count the pages that a trial may damage."""
        return {name: len(places) for name, places in self._places.items()}

    def _read(self, paddr: int) -> bytes:
        out = bytearray(self.page)
        self.source.read_into(paddr, memoryview(out))
        return bytes(out)

    def trial(self, seed: str) -> Outcome:
        """Damage one page, chosen by ``seed``, and classify."""
        dice = random.Random(seed)
        share = dice.choice(_SHARES)
        if share == "note" and self.source.vmcoreinfo and self.text is None:
            how = dice.choice(sorted(_NOTES))
            note = _NOTES[how](bytearray(self.source.vmcoreinfo), dice)
            outcome = Outcome(f"VMCOREINFO: {how}{_difference(self.source.vmcoreinfo, note)}", f"note, {how}")
            return self._judge(_Damaged(self.source, note=note), outcome, -1)
        places = self._places["struct pages" if share == "note" else share] or self._places["struct pages"]
        share = "struct pages" if places is self._places["struct pages"] else "others"
        paddr, how = dice.choice(places), dice.choice(sorted(_PAGES))
        other = dice.choice(self._places[dice.choice(sorted(name for name, there in self._places.items() if there))])
        content = _PAGES[how](bytearray(self._read(paddr)), self._read(other), dice)
        outcome = Outcome(f"{share} at {paddr:#x}: {how}, other page {other:#x}", f"{share}, {how}")
        return self._judge(_Damaged(self.source, paddr, content), outcome, paddr)

    def _judge(self, damaged: Source, outcome: Outcome, paddr: int) -> Outcome:
        began = time.monotonic()
        try:
            knowledge = gather_knowledge(damaged, self.text)
            found = scan(damaged, knowledge, _LEVEL, Silent())
        except Exception as error:
            outcome.failed = f"{type(error).__name__}: {error}"
            return outcome
        kept = _number(found)
        lost, own = self.kept & ~kept, 0
        for first, count in self._described.get(paddr, ()):
            own |= ((1 << count) - 1) << first
        outcome.lost = _ones(lost & ~own)
        outcome.excused = bin(lost & own).count("1")
        outcome.more = bin(kept & ~self.kept).count("1")
        outcome.said = found.weaker
        outcome.seconds = time.monotonic() - began
        return outcome


def _replaced(page: bytearray, at: int, data: bytes) -> bytes:
    page[at : at + len(data)] = data
    return bytes(page)


def _bit(page: bytearray, dice: random.Random) -> bytes:
    page[dice.randrange(len(page))] ^= 1 << dice.randrange(8)
    return bytes(page)


def _set_bit(page: bytearray, dice: random.Random) -> bytes:
    """Flip a bit in a nonzero word: half of a page of struct pages is never read."""
    words = [at for at in range(0, len(page), 8) if any(page[at : at + 8])] or [0]
    page[dice.choice(words) + dice.randrange(8)] ^= 1 << dice.randrange(8)
    return bytes(page)


def _word_of_other(page: bytearray, other: bytes, dice: random.Random) -> bytes:
    """Copy a word from the same offset of another page, usually the same field of another struct page."""
    at = dice.randrange(0, len(page), 8)
    return _replaced(page, at, other[at : at + 8])


def _part_of_other(page: bytearray, other: bytes, dice: random.Random) -> bytes:
    at, source = dice.randrange(0, len(page), 64), dice.randrange(0, len(page), 64)
    return _replaced(page, at, other[source : source + 64])


_PAGES: dict[str, Callable[[bytearray, bytes, random.Random], bytes]] = {
    "random bytes": lambda page, _, dice: dice.randbytes(len(page)),
    "zeros": lambda page, _, __: bytes(len(page)),
    "ones": lambda page, _, __: b"\xff" * len(page),
    "another page": lambda _, other, __: other,
    "half of another page": lambda page, other, _: bytes(page[: len(page) // 2]) + other[len(page) // 2 :],
    "a random word": lambda page, _, dice: _replaced(page, dice.randrange(0, len(page), 8), dice.randbytes(8)),
    "a word of another page": _word_of_other,
    "64 bytes of another page": _part_of_other,
    "a bit": lambda page, _, dice: _bit(page, dice),
    "a bit of a word": lambda page, _, dice: _set_bit(page, dice),
}


def _digit(text: bytearray, dice: random.Random) -> bytes:
    at = dice.choice([m.start() for m in re.finditer(rb"[0-9a-f](?=[0-9a-f]*\n)", bytes(text))])
    digits = b"0123456789" if text[at : at + 1].isdigit() and dice.random() < 0.7 else b"0123456789abcdef"
    text[at] = dice.choice(digits)
    return bytes(text)


def _value_of_other(text: bytearray, dice: random.Random) -> bytes:
    lines = bytes(text).split(b"\n")
    valued = [i for i, line in enumerate(lines) if b"=" in line]
    one, other = dice.choice(valued), dice.choice(valued)
    lines[one] = lines[one].partition(b"=")[0] + b"=" + lines[other].partition(b"=")[2]
    return b"\n".join(lines)


def _lost_line(text: bytearray, dice: random.Random) -> bytes:
    lines = bytes(text).split(b"\n")
    del lines[dice.randrange(len(lines))]
    return b"\n".join(lines)


_NOTES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "random bytes": lambda text, dice: dice.randbytes(len(text)),
    "zeros": lambda text, _: bytes(len(text)),
    "another digit": _digit,
    "the value of another key": _value_of_other,
    "a line less": _lost_line,
    "a bit": _bit,
}


def _difference(one: bytes, two: bytes) -> str:
    """Format the changed line, if it is only one."""
    before, after = one.split(b"\n"), two.split(b"\n")
    changed = [f" {a!r} -> {b!r}" for a, b in zip(before, after) if a != b]
    return changed[0] if len(changed) == 1 else ""


def unpack(path: Path, scratch: Path) -> Path:
    """Unpack a dump to a plain file, which is faster to read repeatedly."""
    if path.suffix != ".zst":
        return path
    import zstandard

    out = scratch / path.with_suffix(".plain").name
    if not out.exists():
        with path.open("rb") as packed:
            out.write_bytes(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read())
    return out


def _subjects(paths: Sequence[Path], scratch: Path, *, silent: bool) -> Iterator[Subject]:
    for path in paths:
        subject = Subject(unpack(path, scratch), silent=silent)
        if subject.weaker:
            print(f"{subject.name}: skipped: its kernel is not fully understood: {subject.notes}", file=sys.stderr)
        else:
            yield subject
        subject.close()


def _print(kinds: dict[str, Counter[str]]) -> None:
    columns = ("trials", "more kept", "said", "by own word", "violations")
    print(f"{'damage':<42}" + "".join(f"{name:>13}" for name in columns))
    total: Counter[str] = Counter()
    for kind, counts in sorted(kinds.items()):
        total += counts
        print(f"{kind:<42}" + "".join(f"{counts[name]:>13}" for name in columns))
    print(f"{'all':<42}" + "".join(f"{total[name]:>13}" for name in columns))


def main(argv: Sequence[str] | None = None) -> int:
    """Run trials and print a table; return 1 if there was a violation."""
    parser = argparse.ArgumentParser(prog="python -m perf.corruption", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dumps", nargs="*", type=Path, help="dumps (default: all of tests/zoo)")
    parser.add_argument("--trials", type=int, default=1000, help="in all (default: 1000)")
    parser.add_argument("--seed", default="0", help="of the first trial (default: 0)")
    parser.add_argument("--only", help="the seed of a trial, to repeat that one")
    parser.add_argument(
        "--without-vmcoreinfo",
        action="store_true",
        help="use symbols and types only; needs whole dumps: skeletons have neither",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print each trial")
    arguments = parser.parse_args(argv)
    if arguments.without_vmcoreinfo and not arguments.dumps:
        parser.error("--without-vmcoreinfo needs whole dumps: those of tests/zoo have neither symbols nor types")
    paths = arguments.dumps or sorted((Path(__file__).parents[1] / "tests" / "zoo").glob("*.zst"))
    each, more = divmod(arguments.trials, len(paths))
    kinds: dict[str, Counter[str]] = {}
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, subject in enumerate(_subjects(paths, Path(scratch), silent=arguments.without_vmcoreinfo)):
            for i in range(each + (number < more)):
                seed = arguments.only or f"{arguments.seed}/{subject.name}/{i}"
                found = subject.trial(seed)
                counts = kinds.setdefault(found.kind, Counter())
                counts["trials"] += 1
                counts["more kept"] += found.more > 0
                counts["said"] += found.said
                counts["by own word"] += found.excused > 0
                counts["violations"] += bool(found.lost or found.failed)
                bad += bool(found.lost or found.failed)
                if found.lost or found.failed or arguments.verbose:
                    lost = f"{len(found.lost)} lost from {found.lost[0]:#x}" if found.lost else found.failed or "right"
                    print(f"{seed}: {found.what}: {lost}, {found.more} more, {found.seconds:.2f} s", flush=True)
                if arguments.only:
                    break
    if not kinds:
        parser.error("no dump is fully understood undamaged, so no trial is possible")
    _print(kinds)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
