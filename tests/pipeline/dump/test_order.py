"""The order of importance on a real kernel: the same pages, and a dump that is cut anywhere is still of use."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.memory_file import bits
from tests.formats.output_kit import Kdump
from tests.pipeline.cli_kit import shell, vmsieve
from tests.pipeline.kit import contents, make, readable
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.importance import _finder as finder
from vmsieve.filters.importance import _kernel as kernel_view
from vmsieve.filters.importance import importance
from vmsieve.filters.linux.btf import Btf
from vmsieve.formats import outputs
from vmsieve.formats.bitmap import BLOCK, Bitmap
from vmsieve.formats.errors import KernelError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.pipeline.dump import apart
from vmsieve.pipeline.dump.forecast import forecast, foretell_time
from vmsieve.pipeline.dump.make import dump
from vmsieve.pipeline.dump.order import make_passes
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.process.progress import Silent
from vmsieve.pipeline.process.signals import Interrupted

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def whole(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo in the order of importance."""
    out = tmp_path_factory.mktemp("order") / "whole"
    report = make(demo, out, order="importance")
    assert report.exit_status() == 0
    assert report.json()["order"] == "importance"
    return out


@pytest.fixture(scope="module")
def plain(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo in address order."""
    out = tmp_path_factory.mktemp("order") / "plain"
    make(demo, out, order="address")
    return out


@pytest.fixture(scope="module")
def log(demo: Path) -> bytes:
    run = vmsieve("dmesg", demo)
    assert run.status == 0
    return run.out.encode()


def cut(path: Path, out: Path, size: int) -> Path:
    out.write_bytes(path.read_bytes()[:size])
    return out


def test_the_order_changes_no_page(whole: Path, plain: Path) -> None:
    assert contents(whole) == contents(plain)
    one, two = (Kdump(path.read_bytes()) for path in (whole, plain))
    assert [one.bits(0), one.bits(1)] == [two.bits(0), two.bits(1)]
    # The note on the order is the only difference in size.
    assert 0 <= whole.stat().st_size - plain.stat().st_size <= 4096


@pytest.mark.parametrize("threads", [1, 2])
def test_a_size_limit_cuts_the_least_important(
    demo: Path, whole: Path, log: bytes, tmp_path: Path, threads: int
) -> None:
    """Of a fifth of the dump, the log, the page tables and all tasks are whole; the report says so."""
    limit = whole.stat().st_size // 5
    report = make(demo, tmp_path / "out", size_limit=limit, threads=threads)
    assert report.exit_status() == 4
    classes = {one["name"]: one for one in report.json()["classes"]}
    for name in ("tables", "log", "variables", "registers", "per_cpu", "tasks"):
        assert classes[name]["written"] == classes[name]["pages"] > 0
    assert classes["rest"]["written"] == 0
    assert any("whole: the kernel's page tables, the kernel's log" in note for note in report.notes)
    assert vmsieve("dmesg", tmp_path / "out").out.encode() == log
    source = open_source(str(tmp_path / "out"))
    assert source.written == sum(one["written"] for one in classes.values())
    source.close()


def test_the_note_lists_the_classes(whole: Path, plain: Path) -> None:
    """As docs/formats.md describes it: name, type, and a line for each class in the order of writing."""

    def notes(path: Path) -> dict[tuple[bytes, int], bytes]:
        file, found = Kdump(path.read_bytes()), {}
        at, end = file.sub[7], sum(file.sub[7:9])
        while at < end:
            name, size, kind = struct.unpack_from("<III", file.data, at)
            text = at + 12 + -(-name // 4) * 4
            found[file.data[at + 12 : at + 11 + name], kind] = file.data[text : text + size]
            at = text + -(-size // 4) * 4
        return found

    lines = [line.split(" ", 2) for line in notes(whole)[b"VMSIEVE", 1].decode().splitlines()]
    titles = {one.name: one.title for one in importance()} | {"rest": "all other pages"}
    assert all(titles[name] == title for name, _, title in lines)
    assert [name for name, _, _ in lines] == [name for name in titles if name in {line[0] for line in lines}]
    assert sum(int(pages) for _, pages, _ in lines) == len(Kdump(whole.read_bytes()).bits(1))
    assert (b"VMSIEVE", 1) not in notes(plain)


def test_descriptors_of_missing_pages_are_zeros(demo: Path, whole: Path, tmp_path: Path) -> None:
    """In the descriptors' table, in address order; both bitmaps are those of the whole dump."""
    out = tmp_path / "out"
    make(demo, out, size_limit=whole.stat().st_size // 3)
    torn, entire = Kdump(out.read_bytes()), Kdump(whole.read_bytes())
    assert [torn.bits(0), torn.bits(1)] == [entire.bits(0), entire.bits(1)]
    table = [torn.data[torn.descriptors + 24 * i :][:24] for i in range(len(torn.bits(1)))]
    source = open_source(str(out))
    assert source.written is not None
    assert table.count(bytes(24)) == len(table) - source.written > 0
    source.close()


def test_each_class_is_synced(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a page of the next class is written: at each sync, the file has the log or more."""
    out, written = tmp_path / "out", []
    fsync = os.fsync

    def count(fd: int) -> None:
        fsync(fd)
        if os.path.samestat(os.fstat(fd), out.stat()):
            source = open_source(str(out))
            written.append(source.written)
            source.close()

    monkeypatch.setattr(os, "fsync", count)
    monkeypatch.setattr(outputs, "_SYNC_PERIOD", 0)
    report = make(demo, out, order="importance")
    pages = [one["pages"] for one in report.json()["classes"]]
    assert written[: len(pages) - 1] == list(accumulate(pages))[:-1]


def test_what_will_fit_is_said_beforehand(demo: Path, whole: Path, tmp_path: Path) -> None:
    run = vmsieve("dump", "-d", 31, "--size-limit", whole.stat().st_size // 3, demo, tmp_path / "out")
    assert run.status == 4
    assert run.err.index("there is room for about") < run.err.index("the dump ends early")


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_file_cut_at_any_tenth_has_the_whole_log(
    whole: Path, plain: Path, log: bytes, tmp_path: Path, tenth: int
) -> None:
    torn = cut(whole, tmp_path / "torn", whole.stat().st_size * tenth // 10)
    run = vmsieve("dmesg", torn)
    assert run.out.encode() == log
    info = json.loads(vmsieve("info", "--json", torn).out)
    assert info["incomplete"]
    whole_classes = [one["name"] for one in info["contents"] if one["written"] == one["pages"]]
    assert whole_classes[:2] == ["tables", "log"]
    assert "rest" not in whole_classes
    again = vmsieve("info", torn)
    assert again.status == 4
    text = again.out
    assert "the kernel's log" in text
    assert "crash --zero_excluded" in text


def test_a_dump_that_lost_its_last_bytes_is_torn(whole: Path, plain: Path, tmp_path: Path) -> None:
    """Whatever page lies at the end of the file."""
    for path in (whole, plain):
        torn = open_source(str(cut(path, tmp_path / "torn", path.stat().st_size - 50)))
        assert torn.incomplete
        assert any("cut off" in remark for remark in torn.remarks)
        torn.close()
        same = open_source(str(path))
        assert not same.incomplete
        same.close()


def test_a_torn_dump_filtered_again_is_tidy(whole: Path, tmp_path: Path) -> None:
    """It is marked incomplete, has the pages that the torn one has, and no others."""
    torn = cut(whole, tmp_path / "torn", whole.stat().st_size * 2 // 5)
    report = make(torn, tmp_path / "tidy")
    assert report.exit_status() == 4
    assert readable(tmp_path / "tidy") == readable(torn)


def test_a_tidy_copy_says_what_it_has(demo: Path, whole: Path, tmp_path: Path) -> None:
    """A copy of a dump that ended early tells the same as the dump; `verify` does too."""
    torn, tidy = tmp_path / "torn", tmp_path / "tidy"
    make(demo, torn, size_limit=whole.stat().st_size * 2 // 3)
    make(torn, tidy)
    one, two = (json.loads(vmsieve("info", "--json", path).out)["contents"] for path in (torn, tidy))
    assert one == two != []
    assert json.loads(vmsieve("verify", "--json", demo, torn).out)["contents"] == one
    text = vmsieve("verify", demo, torn)
    assert text.status == 4
    assert [f"  {line['title']} " in text.out for line in one] == [True] * len(one)


def test_a_file_cut_afterwards_claims_no_class_that_it_lacks(whole: Path, tmp_path: Path) -> None:
    """Zero pages, which share a block at the beginning, count for no class; a copy claims none."""
    torn = cut(whole, tmp_path / "torn", whole.stat().st_size // 2)
    data = Kdump(whole.read_bytes())
    table = [struct.unpack_from("<qI", data.data, data.descriptors + 24 * i) for i in range(len(data.bits(1)))]
    zero = min(offset for offset, _ in table)
    there = sum(offset != zero and offset + size <= torn.stat().st_size for offset, size in table)
    assert sum(one["written"] for one in json.loads(vmsieve("info", "--json", torn).out)["contents"]) == there
    make(torn, tmp_path / "tidy")
    assert json.loads(vmsieve("info", "--json", tmp_path / "tidy").out)["contents"] == []


@pytest.mark.parametrize("frame", [None, "zstd", "lz4", "gzip"])
@pytest.mark.parametrize("through", ["file", "standard input"])
def test_half_a_stream_in_a_file(frame: str | None, through: str, demo: Path, log: bytes, tmp_path: Path) -> None:
    """Also in a compressed frame: a tidy dump with the log and the same pages."""
    stream, half, out = tmp_path / "stream", tmp_path / "half", tmp_path / "out"
    make(demo, stream, flattened=True, frame=frame)
    cut(stream, half, stream.stat().st_size // 2)
    if through == "file":
        status = vmsieve("dump", half, out).status
    else:
        with half.open("rb") as file:
            status = vmsieve("dump", "-", out, stdin=file).status
    assert status == 4
    assert vmsieve("dmesg", out).out.encode() == log
    assert readable(out) == readable(half)
    assert "the kernel's page tables" in vmsieve("info", out).out


def test_half_a_stream_is_a_dump(demo: Path, whole: Path, log: bytes, tmp_path: Path) -> None:
    """A pipe gets the most valuable pages first, so the receiver of a part has the log."""
    out = tmp_path / "out"
    text = f"{{V}} dump -q -d 31 {{demo}} - | head -c {whole.stat().st_size // 4} | {{V}} dump -q - {{out}}"
    statuses, _, _ = shell(text, demo=demo, out=out)
    assert statuses[2] == 4
    assert vmsieve("dmesg", out).out.encode() == log
    assert "the kernel's page tables" in vmsieve("info", out).out


def test_a_split_dump_has_an_order_in_each_file(demo: Path, plain: Path, tmp_path: Path) -> None:
    parts = tuple(str(tmp_path / name) for name in "ab")
    make(demo, tmp_path / "out", split=parts, order="importance")
    run = vmsieve("makedumpfile", "--reassemble", *parts, tmp_path / "joined")
    assert run.status == 0
    assert contents(tmp_path / "joined") == contents(plain)


def test_the_order_by_default(demo: Path, tmp_path: Path) -> None:
    """Of importance where the dump may be cut; by address elsewhere, and where a limit counts holes."""
    elf, asked, limited = {"format": "elf"}, {"order": "importance"}, {"size_limit": 1 << 30}
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "address"), (limited, "importance"), ({"flattened": True}, "importance"),
        ({"flattened": True, "order": "address"}, "address"), (elf, "address"), ({**elf, **asked}, "importance"),
        ({**elf, **limited}, "address"), ({**elf, **asked, **limited}, "address"),
        ({**elf, **limited, "flattened": True}, "importance"), ({**elf, **asked, "frame": "gzip"}, "address"),
    ]  # fmt: skip
    for number, (more, expected) in enumerate(cases):
        assert make(demo, tmp_path / str(number), **more).json()["order"] == expected


def test_a_nearly_full_disk_sets_the_order(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(_: int) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 1000, 10, 10, 10, 10, 10, 0, 255))

    monkeypatch.setattr(os, "fstatvfs", nearly_full)
    for form in ("kdump", "elf"):
        assert make(demo, tmp_path / form, format=form).json()["order"] == "importance"


def test_the_order_changes_no_page_of_an_elf_core(demo: Path, plain: Path, tmp_path: Path) -> None:
    """In a file, and in a flattened stream; a plain pipe is in address order, so that it needs no way back."""
    cores = {name: tmp_path / name for name in ("file", "stream", "pipe", "address")}
    make(demo, cores["file"], format="elf", order="importance")
    make(demo, cores["address"], format="elf", order="address")
    make(demo, cores["stream"], format="elf", flattened=True)
    statuses, out, _ = shell("{V} dump -q -E -d 31 --order importance {demo} - | cat", demo=demo)
    assert statuses == [0, 0]
    cores["pipe"].write_bytes(out)
    assert cores["pipe"].read_bytes() == cores["address"].read_bytes()
    first = contents(cores["address"])
    assert contents(cores["file"]) == contents(cores["stream"]) == first


def test_an_elf_core_that_ends_early_has_the_log(
    demo: Path, log: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked incomplete, and the report says what it has."""
    checkpoint, passes = ElfWriter.checkpoint, 0

    def stopped(writer: ElfWriter) -> None:
        nonlocal passes
        checkpoint(writer)
        passes += 1
        if passes == 4:
            raise Interrupted("stopped by a test")

    monkeypatch.setattr(ElfWriter, "checkpoint", stopped)
    report = make(demo, tmp_path / "out", format="elf", order="importance")
    assert report.exit_status() == 4
    classes = report.json()["classes"]
    assert [one["name"] for one in classes if one["written"] == one["pages"]] == [one["name"] for one in classes[:4]]
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    source.close()
    assert vmsieve("dmesg", tmp_path / "out").out.encode() == log


def damaged(*_: object, **__: object) -> Any:
    raise KernelError("damaged by a test")


def looping(_: object, head: int, most: int, following: int = 0) -> Iterator[int]:
    assert following == 0
    return iter([head] * min(most, 5000))


@pytest.mark.parametrize("what", ["symbols", "types", "lists", "tables", "struct pages", "all"])
def test_damage_costs_the_order_and_no_page(
    what: str, demo: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what in ("symbols", "all"):
        monkeypatch.setattr(kernel_view.Kernel, "_find_symbols", lambda *_: {})
    if what in ("types", "all"):
        monkeypatch.setattr(Btf, "load", damaged)
    if what in ("lists", "all"):
        monkeypatch.setattr(kernel_view.Kernel, "each", looping)
    if what in ("tables", "all"):
        monkeypatch.setattr("vmsieve.filters.linux.tables.PageTables.table_pages", damaged)
    if what in ("struct pages", "all"):
        monkeypatch.setattr(finder, "Marks", damaged)
    report = make(demo, tmp_path / "out", order="importance")
    assert report.exit_status() == 0
    assert contents(tmp_path / "out") == contents(plain)


def test_an_error_in_the_search_is_a_remark(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "Kernel", lambda *_: dict[str, int]()["missing"])
    report = make(demo, tmp_path / "out", order="importance")
    assert report.exit_status() == 0
    assert report.json()["order"] == "address"
    assert any("in address order: KeyError" in note for note in report.notes)


def test_the_search_in_a_process_of_its_own_finds_the_same(demo: Path, whole: Path, tmp_path: Path) -> None:
    report = make(demo, tmp_path / "out", order="importance", apart=True)
    assert report.json()["order"] == "importance"
    assert (tmp_path / "out").read_bytes() == whole.read_bytes()


def crash(*_: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(*_: object) -> Any:
    time.sleep(60)


@pytest.mark.parametrize(
    ("fault", "remark"), [(crash, "without a result"), (hang, "takes too long"), (damaged, "damaged by a test")]
)
def test_a_search_that_crashes_or_hangs_costs_the_order(
    fault: Any, remark: str, demo: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder, "importance", fault)
    monkeypatch.setattr(apart.passes_apart, "__defaults__", (0.5,))
    report = make(demo, tmp_path / "out", order="importance", apart=True)
    assert report.exit_status() == 0
    assert report.json()["order"] == "address"
    assert any(remark in note for note in report.notes)
    assert contents(tmp_path / "out") == contents(plain)


def test_every_class_finds_memory_of_the_demo(demo: Path) -> None:
    """All but modules, unwind tables and what only other kernels have; the order of the classes is their files'."""
    source = open_source(str(demo))
    found = {name: bits(pages(0)) for name, _, pages in finder.find_importance(gather_knowledge(source))}
    source.close()
    assert list(found) == [one.name for one in importance()]
    empty = {name for name, pfns in found.items() if not pfns}
    assert empty <= {"modules", "orc", "called_orc", "unnamed", "unnamed_boot", "vmalloc"}
    assert not found["boot"] & found["text"]


@pytest.mark.parametrize("every", [1, 7, 600])
def test_struct_pages_far_from_kept_pages_are_not_needed(every: int, demo: Path) -> None:
    """The classes of kept pages are those found with all struct pages, however few pages are kept."""
    source = open_source(str(demo))
    knowledge = gather_knowledge(source)
    kept = scan(source, knowledge, 31, Silent(), 0).kept
    few = bitmap(set(sorted(bits(kept[0]))[::every]))
    expected = {name: bits(pages(0)) for name, _, pages in finder.find_importance(knowledge)}
    found = {name: bits(pages(0)) for name, _, pages in finder.find_importance(knowledge, few)}
    source.close()
    chosen = bits(few[0])
    assert {name: pfns & chosen for name, pfns in found.items()} == {n: pfns & chosen for n, pfns in expected.items()}
    assert sum(map(len, found.values())) < sum(map(len, expected.values())) or every == 1


@given(st.lists(st.sets(st.integers(0, 2 * BLOCK - 1), max_size=30), max_size=4), st.randoms())
def test_each_kept_page_is_in_one_pass(classes: list[set[int]], dice: random.Random) -> None:
    """In the first class that has it, or in the rest."""
    every = sorted({pfn for one in classes for pfn in one})
    chosen = set(dice.sample(every, len(every) // 2)) | {7, BLOCK}
    kept = bitmap(chosen)
    passes = make_passes(kept, [(str(i), f"class {i}", block_of(one)) for i, one in enumerate(classes)])
    left = set(chosen)
    for one in passes:
        expected = left & classes[int(one.name)] if one.name != "rest" else left
        assert {pfn for number in one.pages.filled() for pfn in at(number, one.pages[number])} == expected
        left -= expected
    assert not left
    assert all(one.total for one in passes)


def bitmap(pfns: set[int]) -> Bitmap:
    made, of = Bitmap(), block_of(pfns)
    for number in range(2):
        made.put(number, bytearray(of(number)))
    return made


def block_of(pfns: set[int]) -> Any:
    def block(number: int) -> bytes:
        out = bytearray(BLOCK // 8)
        for pfn in pfns:
            if pfn // BLOCK == number:
                out[pfn % BLOCK >> 3] |= 1 << (pfn & 7)
        return bytes(out)

    return block


def at(number: int, block: bytes) -> set[int]:
    return {number * BLOCK + bit for bit in bits(block)}


def test_a_forecast_names_what_fits() -> None:
    passes = make_passes(bitmap(set(range(100))), [("log", "the log", block_of(set(range(20))))])
    assert forecast(passes, [20.0, 800.0], 820) is None
    half = "there is room for about 60 % of the pages (whole: the log; in part: all other pages (50 %))"
    assert forecast(passes, [20.0, 800.0], 420) == half
    assert forecast(passes, [20.0, 800.0], 10) == (
        "there is room for about 10 % of the pages (in part: the log (50 %); missing: all other pages)"
    )


def test_a_deadline_is_foretold_by_the_rate_so_far() -> None:
    passes = make_passes(bitmap(set(range(100))), [("log", "the log", block_of(set(range(20))))])
    passes[0].written = 20
    assert foretell_time(passes, 2.0, 8.0) is None
    assert foretell_time(passes, 2.0, 4.0) == (
        "there is time for about 60 % of the pages (whole: the log; in part: all other pages (50 %))"
    )


def test_a_deadline_is_foretold_after_the_first_classes(demo: Path, tmp_path: Path) -> None:
    class Short(Silent):
        """A deadline that is too early, and what is said of it."""

        said: ClassVar[list[str]] = []

        def seconds_left(self) -> float:
            return 1e-6

        def say(self, line: str) -> None:
            self.said.append(line)

    dump(Plan(str(demo), str(tmp_path / "out"), 31, order="importance"), Short())
    assert len(Short.said) == 1
    assert Short.said[0].startswith("there is time for about")
