"""The whole job: opens a dump, scans it, copies the kept pages, and reports."""

from __future__ import annotations

from vmsieve.filters.gather import gather_knowledge_from
from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.errors import OutputError, ReadError, WeakerError
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import find_note, with_text, without_note
from vmsieve.formats.outputs import Description, output_format
from vmsieve.formats.slim.contexts import ExitStack
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.source import read_bytes
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.dump.account import survey
from vmsieve.pipeline.dump.copy import CopyJob, copy_pages
from vmsieve.pipeline.dump.order import contents, make_passes, release_memory
from vmsieve.pipeline.dump.output import DumpOutput
from vmsieve.pipeline.dump.plan import checked_level
from vmsieve.pipeline.dump.pool import usable_cores
from vmsieve.pipeline.dump.report import Report
from vmsieve.pipeline.dump.scan import needed_bits, scan
from vmsieve.pipeline.process.signals import Interrupted

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import OutputFormat
    from vmsieve.pipeline.dump.order import Pass
    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.dump.scan import Scan
    from vmsieve.pipeline.dump.split import SplitOutput
    from vmsieve.pipeline.process.progress import Progress

_DEFAULT_CODEC = "zstd"
#: In a compressed frame: packed pages can't be compressed again.
_DEFAULT_FRAMED = "none"


def dump(plan: Plan, progress: Progress, vmcoreinfo: bytes | None = None, vmlinux: bytes | None = None) -> Report:
    """Make the dump that ``plan`` describes.

    ``vmcoreinfo``: text to use instead of the input's; ``vmlinux``: text made from a vmlinux file, for missing keys.
    After VmsieveError, nothing usable was written: anything left at the output is marked incomplete.
    """
    report = Report(plan.input, plan.output)
    form = output_format(plan.format)
    codec, level = _codec(plan, form)
    with ExitStack() as stack:
        with report.stage("open"):
            source = open_system(plan.input, plan.select)
            stack.callback(source.close)
            source = source if plan.mapped else _unmapped(source)
            knowledge = gather_knowledge_from(plan.basis, source, vmcoreinfo, vmlinux=vmlinux)
        report.notes += source.remarks + knowledge.notes
        report.page_size = knowledge.page_size
        report.release, report.crash_time = knowledge.identity.utsname[2], knowledge.identity.crash_time
        report.level = plan.level | source.dump_level
        target = _target(plan, form)
        stack.push(target.__exit__)
        with report.stage("classify"):
            threads = plan.threads or usable_cores()
            scanned = scan(source, knowledge, plan.level, progress, form.bridge, whole=plan.whole, threads=threads)
            report.survey = survey(source, knowledge.page_size, whole=plan.whole)
        report.add_scan(scanned)
        report.details += _details(source, knowledge, codec, level)  # the keys that rules use are known by now
        report.left_out += source.passed_over
        if plan.insist and scanned.weaker:
            raise WeakerError(f"less would be left out than level {plan.level} asks for", hint=report.notes[-1])
        if not form.marks_absent and scanned.kept.count() < scanned.exists.count():
            report.notes.append(f"an {form.title} can't mark pages as left out: they are zeros in it")
        report.incomplete = source.incomplete
        passes = report.passes = _passes(plan, form, target, knowledge, scanned, report, progress)
        packs = codec if form.packed else None
        description = _describe(source, knowledge, scanned, report, packs, vmcoreinfo, passes=passes)
        job = CopyJob(
            source, scanned, report.page_size, target.writer(form, description), progress, report.notes, codec, level,
            drop_zero=bool(report.level & 1) or not form.packed or source.sparse,
            threads=threads, cuts=target.cuts, passes=passes,
            room=target.space() if plan.size_limit is None else plan.size_limit,
        )  # fmt: skip
        _write(job, plan, report, target)
    return report


def _unmapped(source: Source) -> Source:
    from vmsieve.pipeline.dump.watch import Through

    return Through(source)  # a Source maps nothing by default


def _codec(plan: Plan, form: OutputFormat) -> tuple[Codec, int]:
    """The codec and level that ``plan`` asks for."""
    codec = find_codec((plan.codec or (_DEFAULT_FRAMED if plan.frame else _DEFAULT_CODEC)) if form.packed else "none")
    return codec, checked_level("codec", codec, plan.codec_level)


def _target(plan: Plan, form: OutputFormat) -> DumpOutput | SplitOutput:
    if not plan.split:
        return DumpOutput(plan, form)
    from vmsieve.pipeline.dump.split import SplitOutput

    return SplitOutput(plan, form)


def _may_be_cut(plan: Plan, target: DumpOutput | SplitOutput, size: int) -> bool:
    """True if the output has a limit, is a stream, or may have no space for ``size`` bytes of pages."""
    if plan.size_limit is not None or target.flattened:
        return True
    space = target.space()
    return space is not None and space < size


def _passes(
    plan: Plan, form: OutputFormat, target: DumpOutput | SplitOutput, knowledge: Knowledge, scanned: Scan,
    report: Report, progress: Progress,
) -> list[Pass]:  # fmt: skip
    """The kept pages in the order of importance; none for address order, which some outputs need."""
    cut = plan.order is None and _may_be_cut(plan, target, scanned.kept.count() * knowledge.page_size)
    if not (form.passes and target.any_order) or (plan.order != "importance" and not cut):
        return []
    from vmsieve.filters.importance._finder import find_importance

    progress.step("Ordering pages", sum(1 for _ in scanned.kept.filled()), BLOCK * knowledge.page_size)

    def search() -> list[Pass]:
        classes = find_importance(knowledge, scanned.kept)
        needed = needed_bits(knowledge, scanned, report.level)
        return make_passes(scanned.kept, classes, needed, progress.advance) if classes else []

    try:
        if plan.apart:
            from vmsieve.pipeline.dump.apart import passes_apart

            return passes_apart(search)
        passes = search()
    except Exception as error:  # a crashed kernel's memory holds anything, and the order is not worth the dump
        report.notes.append(f"the pages are in address order: {type(error).__name__}: {error}")
        return []
    release_memory()
    return passes


def _write(job: CopyJob, plan: Plan, report: Report, target: DumpOutput | SplitOutput) -> None:
    """Write the dump. If it is interrupted or runs out of space, it is finalised and marked incomplete."""
    writer, copied = job.writer, job.copied
    try:
        with report.stage("copy"):
            job.progress.step("Copying pages", job.scan.kept.count(), report.page_size)
            writer.begin()
            copy_pages(job)
    except (OutputError, Interrupted) as stop:
        report.incomplete, report.stopped = True, stop
        report.full = isinstance(stop, OutputError) and stop.full
        report.notes.append(f"the dump ends early: {stop}")
        if report.passes:
            report.notes.append(contents(report.passes))
        if not copied.pages or _removes(plan, target, stop):
            raise
    finally:
        job.progress.close()
        report.add_copied(copied)
    with report.stage("finish"):
        try:
            report.notes += job.source.note_shrinking()
            report.incomplete |= job.source.incomplete or bool(copied.unreadable)
            try:
                writer.end(complete=not report.incomplete)
                target.place.finish()
            finally:
                target.finish()
        except OutputError as error:
            if _removes(plan, target, error):
                raise
            # The output still has its torn mark, which only a successful write replaces.
            report.incomplete, report.stopped = True, report.stopped or error
            report.full |= error.full
            report.notes.append(f"the dump could not be finished: {error}")
    report.check_account()
    report.bytes_out = target.size()
    if report.stopped is not None and not report.bytes_out:
        # Pages were copied, but all are still buffered in the frame or pipe.
        raise report.stopped


def _removes(plan: Plan, target: DumpOutput | SplitOutput, stop: OutputError | Interrupted) -> bool:
    """True if the partial output is to be removed: it is full, and ``plan`` does not salvage."""
    return not plan.salvage and target.removable and isinstance(stop, OutputError) and stop.full


def _details(source: Source, knowledge: Knowledge, codec: Codec, level: int) -> list[str]:
    """Describe what was found, for ``-v``."""
    lines = [f"the input is a dump in the format {source.format}"]
    if knowledge.memory is not None:
        lines += [f"addresses: {line}" for line in knowledge.memory.translator.notes]
    if knowledge.memmap is not None:
        lines.append(f"memory model: {knowledge.memmap.model}, {knowledge.memmap.struct_page_size} bytes a struct page")
    if knowledge.info is not None:
        lines.append(f"VMCOREINFO keys used: {', '.join(sorted(knowledge.info.used))}")
    state = codec.open_compressor(level, knowledge.page_size)
    lines.append(f"pages are packed with {codec.name} level {level}, from {state.provider}")
    state.close()
    return lines


def _describe(
    source: Source, knowledge: Knowledge, scanned: Scan, report: Report, codec: Codec | None, given: bytes | None, *,
    passes: list[Pass],
) -> Description:  # fmt: skip
    identity, order = knowledge.identity, source.byte_order
    # A VMCOREINFO text that was given goes into the dump, whose readers need it too.
    found = source.vmcoreinfo if given is None else given
    notes = source.notes
    # The note of a torn dump says which pages are missing from a copy of it, too.
    if not source.incomplete or source.cut or source.described != scanned.kept.count():
        notes = without_note(notes, order, elf.NOTE_ORDER)
    notes = with_text(notes, order, elf.NOTE_VMCOREINFO, found or b"")
    if passes and find_note(notes, order, elf.NOTE_ORDER) is None:
        from vmsieve.formats.order_note import order_note

        notes += order_note(((one.name, one.total, one.title) for one in passes), order)
    return Description(
        machine=source.machine or identity.utsname[4],
        machine_number=source.machine_number,
        byte_order=order,
        page_size=knowledge.page_size,
        max_pfn=scanned.max_pfn,
        exists=scanned.exists,
        kept=scanned.kept,
        notes=notes,
        vmcoreinfo=find_note(notes, order, elf.NOTE_VMCOREINFO),
        eraseinfo=find_note(notes, order, elf.NOTE_ERASEINFO),
        utsname=identity.utsname,
        crash_time=identity.crash_time or 0,
        phys_base=knowledge.phys_base,
        dump_level=report.level,
        cpus=len(source.cpus),
        codec=codec,
        virtual=source.virtual,
        read=lambda address, size: read_bytes(source, address, size),
        large_notes=source.large_notes,
        read_note=lambda offset, out: _read_note(source, report, offset, out),
        share_zeros=source.sparse,
        passes=bool(passes),
    )


def _read_note(source: Source, report: Report, offset: int, out: memoryview) -> None:
    """Read a piece of a large note; a piece that can't be read is zeros, and makes the dump incomplete."""
    try:
        if source.file.read_into(offset, out) == len(out):
            return
        reason = "the file has become shorter"
    except ReadError as error:
        reason = error.message
    report.incomplete = True
    report.notes.append(f"{len(out)} bytes of notes at {offset:#x} of the input are zeros: {reason}")
