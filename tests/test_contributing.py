"""The examples in CONTRIBUTING.md load as plugins, and work in their room."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
from array import array
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.kdump_system import put
from tests.build.kernel import FakeKernel
from tests.build.memory_file import MemoryFile, bits, read
from tests.dumps import ROOT, dump
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.importance import Importance, importance
from vmsieve.filters.importance import _finder as finder
from vmsieve.filters.linux.arch import Arch
from vmsieve.filters.rules import Rule, RuleOff, struct_page_rules
from vmsieve.formats.codecs import Codec
from vmsieve.formats.compiler import Loop, bind
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.inputs import InputFormat, open_source
from vmsieve.formats.outputs import OutputFormat
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.process.options import parse
from vmsieve.pipeline.process.progress import Silent
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, OK, WARN, Case, Check
from vmsieve.pipeline.services.system import System

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "formats/inputs/example.py": ("FORMAT", InputFormat),
    "formats/outputs/example.py": ("FORMAT", OutputFormat),
    "formats/codecs/example.py": ("CODEC", Codec),
    "filters/linux/arch/example.py": ("ARCH", Arch),
    "filters/rules/example.py": ("RULE", Rule),
    "filters/importance/example.py": ("CLASS", Importance),
    "formats/loops/example.py": ("sum_words", Loop),
    "pipeline/cli/commands/example.py": ("COMMAND", Command),
    "pipeline/services/doctor/checks/example.py": ("CHECK", Check),
}


def blocks() -> dict[str, str]:
    """The examples by the name of the file they stand for."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def plugin(file: str, folder: Path) -> Any:
    """The constant that the example for ``file`` ends in, loaded as the file it would be."""
    constant, kind = KINDS[file]
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(blocks()[file], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("example_" + file.replace("/", "_")[:-3], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, constant)
    assert isinstance(made, kind)
    return made


PAGES = ["CONTRIBUTING.md", "README.md", "perf/README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_paths_in_a_page_exist(page: str) -> None:
    """From the project's root, or relative to the page; ``<name>`` stands for a file to be added."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|pipeline|filters|formats|tests|perf|docs|\.ci)/[\w./<>*-]*)`", text)
    folders = {one: re.sub(r"/[^/]*[<*].*", "", one) for one in named}
    assert not [one for one, path in folders.items() if not (ROOT / path).exists()]


def test_every_kind_has_an_example() -> None:
    assert set(blocks()) == set(KINDS)


def test_the_rule_that_drops_a_page_is_printed(scratch: Path) -> None:
    """The snippet of "Finding why a page was dropped", on a page that the demo's kernel has in its page cache."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    snippet = re.search(r"^```python\n(from .*?rule_that_drops.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert snippet is not None
    code = snippet[1].replace('"vmcore"', repr(str(dump("demo.elf", scratch)))).replace("0x1234", "0x1000")
    with redirect_stdout(io.StringIO()) as output:
        exec(code, {})
    title, _, fields = output.getvalue().partition(" {")
    assert title == "Non-private cache pages"
    assert {*ast.literal_eval("{" + fields)} == {"flags", "mapping", "kind", "private", "references"}


def test_the_input_reads_memory(tmp_path: Path) -> None:
    form = plugin("formats/inputs/example.py", tmp_path)
    data = b"EXAMPLE\0" + bytes(range(256)) * 48
    assert form.probe(data)
    assert not form.probe(data[1:])
    source = form.open(MemoryFile(data))
    assert [(r.start, r.end) for r in source.ranges()] == [(0, 3 * 4096)]
    assert bits(source.memory_bits(0, 8, 4096)[1]) == {0, 1, 2}
    assert read(source, 4097, 3) == b"\x01\x02\x03"
    with pytest.raises(ReadError):
        read(source, 3 * 4096 - 1, 2)


def test_the_output_is_marked_when_it_is_torn(tmp_path: Path) -> None:
    form = plugin("formats/outputs/example.py", tmp_path)
    file = bytearray(8 + 4 * 4096)
    held: list[tuple[int, bytes, bytes]] = []

    class Place:
        def put(self, offset: int, data: bytes) -> None:
            file[offset : offset + len(data)] = data

        def hold(self, offset: int, torn: bytes, whole: bytes) -> None:
            held.append((offset, torn, whole))

        def settle(self, offset: int, data: bytes) -> None:
            self.put(offset, data)

    for complete in (False, True):
        writer = form.writer(SimpleNamespace(page_size=4096), Place())
        writer.begin()
        pages = SimpleNamespace(pfns=[1, 3], sizes=[4096, 4096], data=memoryview(b"\x01" * 4096 + b"\x03" * 4096))
        writer.pages(pages)
        writer.end(complete=complete)
        _, torn, whole = held.pop()
        assert file == (whole if complete else torn) + b"\0" * 4096 + b"\1" * 4096 + b"\0" * 4096 + b"\3" * 4096
        assert form.torn_mark(bytes(file)) == (0, torn)


@pytest.mark.parametrize("page", [bytes(64), b"\xfe" * 64, bytes(63) + b"\1"])
def test_the_codec_packs_and_unpacks(page: bytes, tmp_path: Path) -> None:
    codec = plugin("formats/codecs/example.py", tmp_path)
    compress, decompress = (bind(Loop(f), "python") for f in (codec.compress, codec.decompress))
    source, packed, back = array("B", page), array("B", bytes(64)), array("B", bytes(64))
    size = compress(0, source.buffer_info()[0], 64, packed.buffer_info()[0], 63)
    if len(set(page)) > 1:
        assert size == 0
        return
    assert decompress(0, packed.buffer_info()[0], size, back.buffer_info()[0], 64) == 64
    assert back.tobytes() == page


def test_the_architecture_translates(tmp_path: Path) -> None:
    arch = plugin("filters/linux/arch/example.py", tmp_path)
    kernel = FakeKernel()
    translator = arch.open(None, kernel.info())
    assert translator.translate(0x8000000000001234)[0] == 0x1234
    with pytest.raises(KernelError):
        translator.translate(0x1234)


def test_the_rule_matches_its_pages(tmp_path: Path) -> None:
    assert f"{len(struct_page_rules())} of 8 bits are taken" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rule = plugin("filters/rules/example.py", tmp_path)
    with pytest.raises(RuleOff, match="PG_example"):
        rule.prepare(SimpleNamespace(flag=lambda _: 0))
    own = array("Q", rule.prepare(SimpleNamespace(flag={"PG_example": 1 << 62}.get)))
    matches = bind(Loop(rule.matches), "python")
    assert [matches(own.buffer_info()[0], 0, flags, 0, 0, 0, 0, 0) for flags in (1 << 62, 3 << 60)] == [1, 0]


def test_the_class_of_importance_finds_its_pages(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the demo: the page that the kernel's names are in."""
    example = plugin("filters/importance/example.py", tmp_path)
    monkeypatch.setattr(finder, "importance", lambda: [*importance(), example])
    source = open_source(str(dump("demo.elf", scratch)))
    found = {name: bits(pages(0)) for name, _, pages in finder.find_importance(gather_knowledge(source))}
    assert any(b"6.12.95-vmsieve-demo" in read(source, pfn * 4096, 4096) for pfn in found["example"])
    source.close()
    assert 1 <= len(found["example"]) <= 2


def test_the_loop_sums_on_every_backend(tmp_path: Path) -> None:
    loop = plugin("formats/loops/example.py", tmp_path)
    words = array("Q", [1, 1 << 63, 5])
    backends = ["python", "jit"] if importlib.util.find_spec("numba") else ["python"]
    for backend in backends:
        assert bind(loop, backend)(words.buffer_info()[0], 3, 4) == 4 + (1 << 63) + 5


def test_the_command_runs(tmp_path: Path, scratch: Path) -> None:
    command = plugin("pipeline/cli/commands/example.py", tmp_path)
    with redirect_stdout(io.StringIO()) as output:
        values = parse(command.options, ["--hex", str(dump("demo.elf", scratch))])
        assert values is not None
        status = command.run(Arguments(**values))
    assert (status, output.getvalue()) == (0, f"{0x6FDA000:#x}\n")


def test_the_check_reports(tmp_path: Path) -> None:
    check = plugin("pipeline/services/doctor/checks/example.py", tmp_path)
    case = Case(System(str(tmp_path)), None, Silent(), quick=True)
    assert check.run(case).state == CANT_TELL
    for text, state in (("1\n", OK), ("0\n", WARN)):
        put(tmp_path, "/proc/sys/kernel/dmesg_restrict", text)
        assert check.run(case).state == state
