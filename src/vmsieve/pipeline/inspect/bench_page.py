"""Measurements of :mod:`vmsieve.pipeline.inspect.bench` as one HTML file: bars, and what is recommended."""

from __future__ import annotations

import html
from itertools import groupby

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.formats.text import shown
from vmsieve.pipeline.inspect.pages import fill, web_file
from vmsieve.pipeline.process.saving import saved

if TYPE_CHECKING:
    from collections.abc import Iterable

_AIMS: Final = {
    "balanced": "done first if the output takes {output} MB/s",
    "fastest": "the most pages per second",
    "smallest": "the smallest dump",
}


def write_page(
    path: str, source: str, release: str, facts: dict[str, Any], inputs: Iterable[str], *, force: bool
) -> None:
    """Write the page to ``path``.

    ``facts``: as JSON has them; the files in ``inputs`` are never overwritten, other files only with ``force``.
    """
    with saved(path, inputs, force=force, what="page") as out:
        out.write(bench_page(source, release, facts).encode())


def bench_page(source: str, release: str, facts: dict[str, Any]) -> str:
    """Return the page for a dump named ``source`` of kernel ``release``, which needs no other file and no network."""
    name = html.escape(shown(source))
    kernel = f"Linux {html.escape(shown(release))}, " if release else ""
    sampled = facts["read"]["bytes"] / 1e6
    notes = "".join(f"<li>{html.escape(shown(note))}</li>" for note in facts["notes"])
    return fill(
        "bench.html",
        title=name,
        facts=f"{name} - {kernel}measured on {sampled:,.0f} MB of the pages that level {facts['level']} keeps",
        base=web_file("base.css"),
        style=web_file("bench.css"),
        aims="\n".join(_aim(aim, facts) for aim in _AIMS if aim in facts["recommended"]),
        output=f"at {_output(facts)} MB/s",
        rows="\n".join(_bodies(facts)),
        steps="\n".join(_steps(facts)),
        notes=f'<section aria-label="Remarks"><ul>{notes}</ul></section>' if notes else "",
    )


def _output(facts: dict[str, Any]) -> str:
    return f"{facts['output_bytes_per_second'] / 1e6:,.0f}"


def _aim(aim: str, facts: dict[str, Any]) -> str:
    one = facts["recommended"][aim]
    why = _AIMS[aim].format(output=_output(facts))
    return (
        f'<div class="aim {aim}"><h2>{aim.capitalize()}</h2>'
        f"<code>--codec {html.escape(one['codec'])} --threads {one['threads']}</code>"
        f"<p>{_speed(one)}, {100 * one['ratio']:.1f} % of the size; {why}</p></div>"
    )


def _speed(packing: dict[str, Any]) -> str:
    return f"{packing['bytes_per_second'] / 1e6:,.0f} MB/s"


def _seconds(packing: dict[str, Any], output: float) -> float:
    """Seconds per GB of pages: packing and writing overlap, so the slower one counts."""
    return float(1e9 * max(1 / max(packing["bytes_per_second"], 1), packing["ratio"] / output))


def _bodies(facts: dict[str, Any]) -> list[str]:
    """A table body for each codec, a row for each level and number of threads."""
    output, packings = facts["output_bytes_per_second"], facts["packings"]
    done = [one for one in packings if one["bytes"]]
    most = (
        max((one["bytes_per_second"] for one in done), default=1),
        max((one["ratio"] for one in done), default=1) or 1,
        max((_seconds(one, output) for one in done), default=1),
    )
    found = []
    for _, group in groupby(packings, key=lambda one: one["codec"].partition(":")[0]):
        found += ["<tbody>", *(_row(one, facts["recommended"], most, output) for one in group), "</tbody>"]
    return found


def _row(one: dict[str, Any], recommended: dict[str, Any], most: tuple[float, float, float], output: float) -> str:
    codec = html.escape(one["codec"])
    head = f'<th scope="row">{codec}'
    if not one["bytes"]:
        return f'<tr>{head}</th><td data-name="threads">{one["threads"]}</td><td colspan="5">nothing to pack</td></tr>'
    aims = [aim for aim in _AIMS if recommended.get(aim) == one]
    head += "".join(f'<mark class="{aim}">{aim}</mark>' for aim in aims) + "</th>"
    seconds = _seconds(one, output)
    bars = (
        ("speed", one["bytes_per_second"] / most[0], _speed(one)),
        ("size", one["ratio"] / most[1], f"{100 * one['ratio']:.1f} %"),
        ("time", seconds / most[2], f"{seconds:.1f} s/GB"),
    )
    cells = "".join(
        f'<td class="bar" data-name="{name}"><span style="--part:{100 * part:.1f}%">{text}</span></td>'
        for name, part, text in bars
    )
    cpu = one["cpu_seconds"] / one["bytes"] * 1e9
    return (
        f'<tr{" class=best" if "balanced" in aims else ""}>{head}<td data-name="threads">{one["threads"]}</td>{cells}'
        f'<td data-name="CPU">{cpu:.2f} s/GB</td><td data-name="by">{html.escape(shown(one["provider"]))}</td></tr>'
    )


def _steps(facts: dict[str, Any]) -> list[str]:
    classify, read, zeros = facts["classify"], facts["read"], facts["zero_check"]
    pages = f"{facts['pages']:,} page frames"
    return [
        f"<li>Classify: {pages} at {classify['pages_per_second'] / 1e6:.1f} million/s; {facts['kept']:,} are kept</li>",
        f"<li>Read: {read['bytes_per_second'] / 1e9:.2f} GB/s (from memory, where the input is cached)</li>",
        f"<li>Look for zero pages: {zeros['bytes_per_second'] / 1e9:.1f} GB/s</li>",
    ]
