"""Which kernel is believed: that of the file's VMCOREINFO, or one that a search of memory finds.

A note is not believed where page tables are not where it says, or the kernel that they lead to is another one. Memory
is searched then as if there were none. It is searched for a second kernel where there is no note, where one was
selected, where the log is a crash kernel's, or where much of memory is not the kernel's. Else a search would take
longer than the dump, and finds nothing that the kernel itself has not reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.filters.linux.evidence import contradiction, foreign_memory, is_crash_kernel, log_text
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.notes import build_note, without_vmcoreinfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

    LearnOne = Callable[[bytes | None], Knowledge]

__all__ = ["choose", "hold_against_memory"]

_WORD = (1 << 64) - 1
#: Keys that a note lacks which was cut off.
_MANY = 3


def choose(source: Source, learn_one: LearnOne) -> Knowledge:
    """What is known of the kernel that is meant; the source has its VMCOREINFO then.

    ``learn_one``: what is known by a text.

    Raises:
        UsageError: A kernel was selected, and there is one only.
    """
    told = source.vmcoreinfo
    whole = VmcoreInfo.parse(told or b"").looks_valid()
    own = learn_one(told) if whole else None
    doubt, fatal = _doubt(own) if own is not None else (None, False)
    found = [own] if own is not None and doubt is None else []
    if found and source.selected is None and _oddity(source, found[0]) is None:
        return found[0]
    others = _searched(source, found, learn_one)
    if own is not None and doubt is not None:
        # Damage that the search finds again is not the note's fault.
        others = [one for one in others if one.memmap is not None and _text(one) != _text(own)]
    found += others
    if not found:
        nothing = own if own is not None else learn_one(told)
        if fatal:
            _distrust(nothing, f"{doubt}, and memory holds no other VMCOREINFO that is right")
        return nothing
    chosen = _one_of(source, found)
    if chosen is not own:
        text = _text(chosen)
        source.notes = without_vmcoreinfo(source.notes, source.byte_order)
        source.notes += build_note(b"VMCOREINFO", 0, text, source.byte_order)
        source.vmcoreinfo = text
        chosen.notes.insert(0, _where_from(told, doubt))
    return chosen


def hold_against_memory(kernel: Knowledge) -> Knowledge:
    """Believe nothing of a kernel whose VMCOREINFO, which a user gave, is of another one than that in memory."""
    doubt, fatal = _doubt(kernel)
    if fatal:
        _distrust(kernel, f"VMCOREINFO is wrong: {doubt}")
    return kernel


def _text(kernel: Knowledge) -> bytes:
    return kernel.info.text if kernel.info is not None else b""


def _where_from(told: bytes | None, doubt: str | None) -> str:
    if doubt is not None:
        return f"the file's VMCOREINFO is wrong: {doubt}; the one that a search of memory found is used"
    if told and not VmcoreInfo.parse(told).looks_valid():
        return "VMCOREINFO is garbled; one was found by a search of memory"
    return "VMCOREINFO was found by a search of memory"


def _doubt(own: Knowledge) -> tuple[str | None, bool]:
    """Why VMCOREINFO can't be right, if so; and whether that is sure enough to keep every page for."""
    if own.memory is None or own.info is None:
        return own.problem, False
    other = own.identity.other
    if other is not None:
        return f"it is of Linux {own.info.told('OSRELEASE')}, the kernel in memory is {other}", True
    reason = contradiction(own.memory, own.info, own.identity.utsname, log_text(own.memory, own.info))
    if reason is not None:
        return reason, True
    damaged = sorted(key for key in own.info.unusable if key.startswith("SYMBOL("))
    if damaged:
        return f"{damaged[0]} is no address", False
    if len(own.info.origins) >= _MANY:
        return f"it lacks {len(own.info.origins)} keys", False
    base, used = own.info.text_number("NUMBER(phys_base)"), own.memory.translator.phys_base
    if base is not None and used is not None and (base - used) & _WORD:
        return f"NUMBER(phys_base) is {base:#x}, the kernel is at {used:#x}", False
    return (own.problem, False) if own.memmap is None else (None, False)


def _searched(source: Source, known: list[Knowledge], learn_one: LearnOne) -> list[Knowledge]:
    """The kernels that a search of memory finds beside those that are known."""
    from vmsieve.filters.linux.arch import find
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.rivals import each_kernel, place_of

    try:
        arch = find(source.machine)
    except VmsieveError:
        return []
    places = {place_of(one.memory, one.info) for one in known if one.memory is not None and one.info is not None}
    texts = each_kernel(PhysicalMemory(source), arch, {place for place in places if place is not None})
    return [learn_one(text) for text in texts]


def _oddity(source: Source, kernel: Knowledge) -> str | None:
    """Why there may be another kernel."""
    if kernel.memory is None or kernel.info is None or kernel.memmap is None:
        return None
    log = log_text(kernel.memory, kernel.info)
    if is_crash_kernel(log):
        return "by its log, the kernel is a crash kernel"
    foreign = foreign_memory(source, kernel.memmap, kernel.page_size, log)
    if foreign is None:
        return None
    size, start = foreign
    return f"{size} bytes of memory, from {start:#x} on, are not this kernel's"


def _one_of(source: Source, found: list[Knowledge]) -> Knowledge:
    """The kernel that is meant, and what is said of the others."""
    found = sorted(found, key=_importance)
    chosen = found[0] if source.selected == "kdump" else found[-1]
    if len(found) == 1:
        return _alone(source, chosen)
    chosen.uncut = True
    if source.selected is not None:
        chosen.notes.append(f"of {len(found)} kernels in memory, {_title(chosen)} was selected")
        return chosen
    from vmsieve.filters.linux.rivals import without

    others = [one for one in found if one is not chosen]
    chosen.doubtful = True
    chosen.notes.append(
        f"memory holds {len(found)} kernels: {', '.join(map(_title, (chosen, *others)))}; what the others may own is "
        "kept (--select prod: filter by the one that crashed; kdump: by its crash kernel; all: not at all)"
    )
    for other in others:
        if chosen.memmap is not None and other.memmap is not None:
            chosen.memmap = without(chosen.memmap, other.memmap)
        else:
            _distrust(chosen, f"nothing tells what {_title(other)} owns")
    return chosen


def _alone(source: Source, kernel: Knowledge) -> Knowledge:
    """The only kernel that is found."""
    oddity = _oddity(source, kernel)
    if source.selected is not None and oddity is None:
        raise UsageError("the dump holds one system: there is nothing to select", file=source.file.name)
    kernel.uncut |= oddity is not None
    if source.selected == "prod":
        _distrust(kernel, f"the kernel that crashed is not found in memory: {oddity}")
    elif oddity is not None and source.selected is None:
        kernel.doubtful = True
        kernel.notes.append(
            f"{oddity}: the dump may be of a machine whose crash kernel ran; what is not its own is kept "
            "(--select kdump: it is that crash kernel; all: leave out nothing)"
        )
    return kernel


def _importance(kernel: Knowledge) -> tuple[bool, int]:
    """A crash kernel has less memory than the one that crashed."""
    if kernel.memory is None or kernel.info is None or kernel.memmap is None:
        return False, 0
    log = log_text(kernel.memory, kernel.info)
    return not is_crash_kernel(log), sum(run.count for run in kernel.memmap.runs())


def _title(kernel: Knowledge) -> str:
    size = sum(run.count for run in kernel.memmap.runs()) * kernel.page_size >> 20 if kernel.memmap is not None else 0
    return f"Linux {kernel.identity.utsname[2]} of {size} MiB"


def _distrust(kernel: Knowledge, reason: str) -> None:
    kernel.memmap, kernel.problem = None, reason
