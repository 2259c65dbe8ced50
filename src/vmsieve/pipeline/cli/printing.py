"""Output of commands: remarks on standard error, JSON on standard output."""

from __future__ import annotations

import sys

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable
from vmsieve.formats.text import as_utf8, shown
from vmsieve.pipeline.process.streams import print_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.formats.source import Source
    from vmsieve.pipeline.cli.commands import Arguments
    from vmsieve.pipeline.process.saving import SideFile


def json_text(value: dict[str, Any]) -> str:
    """``value`` as JSON: ASCII only, without lone surrogates, which strict readers reject."""
    import json

    return json.dumps(_valid(value), indent=1)


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, dict):
        return {_valid(key): _valid(one) for key, one in value.items()}
    return [_valid(one) for one in value] if isinstance(value, (list, tuple)) else value


def print_json(value: dict[str, Any]) -> None:
    """Print ``value`` as JSON."""
    print(json_text(value), flush=True)  # noqa: T201


class Report:
    """Where a command's report goes: printed, as JSON on standard output, or printed and as JSON in a file."""

    def __init__(self, arguments: Arguments, inputs: Iterable[str | None] = ()) -> None:
        """``inputs``: the files that are read. Raises OutputError if the file can't be written."""
        self._path: str | None = arguments.json
        self.printed = self._path != "-"  # as text
        if self._path is None or not self.printed:
            return
        from vmsieve.formats.inputs import input_paths
        from vmsieve.pipeline.process.saving import check_saved

        self._inputs = [path for one in inputs if one is not None for path in input_paths(one)]
        self._force = arguments.force
        check_saved(self._path, self._inputs, force=self._force, what="report")

    def show(self, facts: dict[str, Any], print_text: Callable[[], object]) -> None:
        """Print the report, by ``print_text`` or as JSON, and save it."""
        if not self.printed:
            print_json(facts)
            return
        print_text()
        if self._path is not None:
            from vmsieve.pipeline.process.saving import saved

            with saved(self._path, self._inputs, force=self._force, what="report") as out:
                out.write(f"{json_text(facts)}\n".encode())


class JsonFile:
    """The report of a command whose output is a dump: written to a file, or to a standard stream.

    If it can't be written, the dump is still made.
    """

    def __init__(self, path: str | None, reads: Iterable[str], output: str, *, force: bool) -> None:
        """``path``: None for no report; ``-``: standard output, or standard error if ``output`` is standard output."""
        self._file: SideFile | None = None
        self._to_stderr = output == "-"
        if path is None:
            return
        from vmsieve.pipeline.process.saving import SideFile, is_stdout

        self._to_stderr = is_stdout(output)
        if path != "-":
            # Checked before the work, so that a problem is known early.
            self._file = SideFile(path, reads, [output], force=force)
            if self._file.problem:
                print_remarks([f"there will be no report: {self._file.problem}"])

    def write(self, facts: dict[str, Any]) -> None:
        text = json_text(facts) + "\n"
        if self._file is None:
            (sys.stderr if self._to_stderr else sys.stdout).write(text)
        elif not self._file.problem:
            self._file.write(text.encode())
            if self._file.problem:
                print_remarks([f"there is no report: {self._file.problem}"])


def print_remarks(lines: Iterable[str]) -> None:
    """Print each different line once, on standard error."""
    for line in dict.fromkeys(lines):
        print(f"vmsieve: {shown(line)}", file=sys.stderr)  # noqa: T201


def contents(source: Source) -> list[dict[str, Any]]:
    """Return what a torn dump still has, by classes of importance; empty for a whole dump."""
    if not source.incomplete:
        return []
    from vmsieve.formats.order_note import shares

    found = shares(source)
    return [{"name": one.name, "title": one.title, "pages": one.total, "written": one.written} for one in found]


def print_contents(classes: list[dict[str, Any]]) -> None:
    """Print what :func:`contents` returned."""
    width = max((len(one["title"]) for one in classes), default=0)
    if classes:
        print_line("In the dump:")
    for one in classes:
        share = 100 * one["written"] // one["pages"]
        print_line(f"  {one['title']:<{width}}  {share:>3} % of {one['pages']:,} pages")
