"""The main job: a dump in, a small dump out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmsieve.filters.knowledge import Knowledge, learn_from
from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.contexts import ExitStack
from vmsieve.formats.errors import OutputError, UsageError, WeakerError
from vmsieve.formats.notes import build_note
from vmsieve.formats.outputs import Description, output_format
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.copy import Copied, copy_pages
from vmsieve.pipeline.pool import usable_cores
from vmsieve.pipeline.report import Report
from vmsieve.pipeline.scan import Scan, scan
from vmsieve.pipeline.signals import Interrupted
from vmsieve.pipeline.target import Target

if TYPE_CHECKING:
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import OutputFormat, Writer
    from vmsieve.pipeline.plan import Plan
    from vmsieve.pipeline.progress import Progress
    from vmsieve.pipeline.split import SplitTarget

__all__ = ["dump"]

_DEFAULT_CODEC = "zstd"
#: Within a compressed frame: packed pages don't pack again.
_DEFAULT_FRAMED = "none"


def dump(plan: Plan, progress: Progress, vmcoreinfo: bytes | None = None, vmlinux: bytes | None = None) -> Report:
    """Make the dump that ``plan`` asks for.

    ``vmcoreinfo``: text to use instead of the dump's; ``vmlinux``: text made of a vmlinux file, for what that lacks.

    Raises:
        VmsieveError: Nothing usable was written. What is left at the output, if anything, is marked incomplete.
    """
    report = Report(plan.input, plan.output)
    form = output_format(plan.format)
    default = _DEFAULT_FRAMED if plan.frame else _DEFAULT_CODEC
    codec = find_codec((plan.codec or default) if form.packed else "none")
    level = codec.default_level if plan.codec_level is None else plan.codec_level
    if not codec.levels[0] <= level <= codec.levels[1]:
        raise UsageError(f"codec {codec.name} has levels {codec.levels[0]} to {codec.levels[1]}", found=str(level))
    with ExitStack() as stack:
        with report.stage("open"):
            source = open_system(plan.input, plan.select)
            stack.callback(source.close)
            if not plan.mapped:
                from vmsieve.pipeline.watch import Through

                source = Through(source)  # which maps nothing
            knowledge = learn_from(plan.facts, source, vmcoreinfo, vmlinux=vmlinux)
        report.notes += source.oddities + knowledge.notes
        report.details += _details(source, knowledge, codec, level)
        report.page_size = knowledge.page_size
        report.release, report.crash_time = knowledge.identity.utsname[2], knowledge.identity.crash_time
        report.level = plan.level | source.dump_level
        target = _target(plan, form)
        stack.push(target.__exit__)
        with report.stage("classify"):
            scanned = scan(source, knowledge, plan.level, progress, form.bridge)
        report.scanned(scanned)
        if plan.insist and scanned.weaker:
            raise WeakerError(f"less would be left out than level {plan.level} asks for", hint=report.notes[-1])
        if not form.tells_absent and scanned.kept.count() < scanned.exists.count():
            report.notes.append(f"an {form.title} has no word for pages that were left out: they are zeros in it")
        report.incomplete = source.incomplete
        description = _describe(source, knowledge, scanned, report.level, codec if form.packed else None, vmcoreinfo)
        writer = target.writer(form, description)
        _write(plan, report, source, scanned, codec, level, writer, target, progress, form)
    return report


def _target(plan: Plan, form: OutputFormat) -> Target | SplitTarget:
    if not plan.split:
        return Target(plan, form)
    from vmsieve.pipeline.split import SplitTarget

    return SplitTarget(plan, form)


def _write(
    plan: Plan, report: Report, source: Source, scanned: Scan, codec: Codec, level: int, writer: Writer,
    target: Target | SplitTarget, progress: Progress, form: OutputFormat,
) -> None:  # fmt: skip
    """Write the dump; whatever stops that, what is there is brought to an end that says so."""
    copied = Copied()
    try:
        with report.stage("copy"):
            progress.step("Copying pages", scanned.kept.count(), report.page_size)
            writer.begin()
            copy_pages(
                source, scanned, report.page_size, codec, level, writer, progress, report.notes,
                drop_zero=bool(report.level & 1) or not form.packed,
                threads=plan.threads or usable_cores(), copied=copied, cuts=target.cuts,
            )  # fmt: skip
    except (OutputError, Interrupted) as stop:
        report.incomplete, report.stopped = True, stop
        report.full = isinstance(stop, OutputError) and stop.full
        report.notes.append(f"the dump ends early: {stop}")
        if not copied.pages:
            raise
    finally:
        progress.close()
        report.copied(copied)
    with report.stage("finish"):
        try:
            report.incomplete |= bool(copied.unreadable)
            try:
                writer.end(complete=not report.incomplete)
                target.place.finish()
            finally:
                target.finish()
        except OutputError as error:
            # What is there stays marked as torn: the mark is only taken away by a write that succeeds.
            report.incomplete, report.stopped = True, report.stopped or error
            report.full |= error.full
            report.notes.append(f"the dump could not be finished: {error}")
    report.bytes_out = target.size()
    if report.stopped is not None and not report.bytes_out:
        # Pages were copied, and what gathers them (a frame, a pipe) got rid of none.
        raise report.stopped


def _details(source: Source, knowledge: Knowledge, codec: Codec, level: int) -> list[str]:
    """What was found and is used."""
    lines = [f"the input is a dump in the format {source.format}"]
    if knowledge.memory is not None:
        lines += [f"addresses: {line}" for line in knowledge.memory.translator.describe()]
    if knowledge.memmap is not None:
        lines.append(f"memory model: {knowledge.memmap.model}, {knowledge.memmap.struct_page_size} bytes a struct page")
    if knowledge.info is not None:
        lines.append(f"VMCOREINFO keys used: {', '.join(sorted(knowledge.info.used))}")
    state = codec.open_compressor(level, knowledge.page_size)
    lines.append(f"pages are packed with {codec.name} level {level}, from {state.provider}")
    state.close()
    return lines


def _describe(
    source: Source, knowledge: Knowledge, scanned: Scan, level: int, codec: Codec | None, given: bytes | None
) -> Description:
    identity = knowledge.identity
    notes, found = source.notes, source.vmcoreinfo
    if given is not None:
        # Whoever reads the dump later needs it as much.
        notes, found = build_note(b"VMCOREINFO", 0, given, source.byte_order) + notes, given
    at = notes.find(found) if found else -1
    return Description(
        machine=source.machine or identity.utsname[4] or os.uname().machine,
        byte_order=source.byte_order,
        page_size=knowledge.page_size,
        max_pfn=scanned.max_pfn,
        exists=scanned.exists,
        kept=scanned.kept,
        notes=notes,
        vmcoreinfo=(at, len(found)) if found and at >= 0 else None,
        utsname=identity.utsname,
        crash_time=identity.crash_time or 0,
        phys_base=knowledge.phys_base,
        dump_level=level,
        cpus=len(source.cpus),
        codec=codec,
        virtual=source.virtual,
        read=lambda address, size: _read(source, address, size),
    )


def _read(source: Source, address: int, size: int) -> bytes | None:
    # A format of s390x alone asks.
    from vmsieve.formats.os_info import read_bytes

    return read_bytes(source, address, size)
