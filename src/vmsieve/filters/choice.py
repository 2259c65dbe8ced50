"""Chooses the kernel to filter by: that of the file's VMCOREINFO, or one that a search of memory finds.

The note is rejected if the page tables are not where it says, or if they lead to another kernel; memory is then
searched as if there were no note. Memory is searched for a second kernel if there is no note, if one was selected, if
the log is a crash kernel's, or if much of memory is not the kernel's. Otherwise it is not: the search would take longer
than the dump and could find only what the kernel itself has reserved.
"""

from __future__ import annotations

from vmsieve.filters.linux.consistency import find_contradiction, foreign_memory, is_crash_kernel, log_text
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note, without_note
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source

_WORD = (1 << 64) - 1
#: A note that lacks so many keys was cut off.
_MANY = 3


class _Candidate:
    """A kernel that may be the one to filter by, and its log, which is read once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        memory, info = knowledge.memory, knowledge.info
        self.text = info.text if info is not None else b""
        self.log = log_text(memory, info) if memory is not None and info is not None else b""

    def doubt(self) -> tuple[str | None, bool]:
        """Return why VMCOREINFO is wrong, or None; and True if that is certain enough to keep every page."""
        known, info, memory = self.knowledge, self.knowledge.info, self.knowledge.memory
        if memory is None or info is None:
            return known.problem, False
        other = known.identity.other
        if other is not None:
            return f"it is of Linux {info.peek('OSRELEASE')}, the kernel in memory is {other}", True
        reason = find_contradiction(memory, info, known.identity.utsname, self.log)
        if reason is not None:
            return reason, True
        damaged = sorted(key for key in info.unusable if key.startswith("SYMBOL("))
        if damaged:
            return f"{damaged[0]} is no address", False
        if len(info.origins) >= _MANY:
            return f"it lacks {len(info.origins)} keys", False
        base, used = info.text_number("NUMBER(phys_base)"), memory.translator.phys_base
        if base is not None and used is not None and (base - used) & _WORD:
            return f"NUMBER(phys_base) is {base:#x}, the kernel is at {used:#x}", False
        return (known.problem, False) if known.memmap is None else (None, False)

    def oddity(self, source: Source) -> str | None:
        """Return why memory may hold another kernel, or None."""
        if self.knowledge.memmap is None:
            return None
        if is_crash_kernel(self.log):
            return "by its log, the kernel is a crash kernel"
        foreign = foreign_memory(source, self.knowledge.memmap, self.knowledge.page_size, self.log)
        if foreign is None:
            return None
        size, start = foreign
        return f"{size} bytes of memory, from {start:#x} on, are not this kernel's"

    @property
    def pages(self) -> int:
        """Page frames that have struct pages."""
        return sum(run.count for run in self.knowledge.memmap.runs()) if self.knowledge.memmap is not None else 0

    @property
    def importance(self) -> tuple[bool, int]:
        """Sort key: a crash kernel has less memory than the kernel that crashed."""
        return self.knowledge.memmap is not None and not is_crash_kernel(self.log), self.pages

    @property
    def title(self) -> str:
        """Release and size, for messages."""
        return f"Linux {self.knowledge.identity.utsname[2]} of {self.pages * self.knowledge.page_size >> 20} MiB"

    def distrust(self, reason: str) -> None:
        """Keep every page, because of ``reason``."""
        self.knowledge.memmap, self.knowledge.problem = None, reason


def choose_kernel(source: Source, gather: Callable[[bytes | None], Knowledge]) -> Knowledge:
    """Return the knowledge of the kernel to filter by; its VMCOREINFO becomes the source's.

    ``gather``: returns the knowledge that follows from a VMCOREINFO text.

    Raises:
        UsageError: A kernel was selected, and the dump holds one.
    """
    text = source.vmcoreinfo
    whole = VmcoreInfo(text or b"").looks_valid()
    own = _Candidate(gather(text)) if whole else None
    doubt, fatal = own.doubt() if own is not None else (None, False)
    found = [own] if own is not None and doubt is None else []
    if found and source.selected is None and found[0].oddity(source) is None:
        return found[0].knowledge
    others = [_Candidate(gather(other)) for other in _search(source, found)]
    if own is not None and doubt is not None:
        # Damage that the search finds again is not the note's fault.
        others = [one for one in others if one.knowledge.memmap is not None and one.text != own.text]
    found += others
    if not found:
        nothing = own if own is not None else _Candidate(gather(text))
        if fatal:
            nothing.distrust(f"{doubt}, and memory holds no other VMCOREINFO that is right")
        return nothing.knowledge
    chosen = _choose(source, found)
    if chosen is not own:
        source.notes = without_note(source.notes, source.byte_order, elf.NOTE_VMCOREINFO)
        source.notes += build_note(b"VMCOREINFO", 0, chosen.text, source.byte_order)
        source.vmcoreinfo = chosen.text
        origin = "VMCOREINFO was found by a search of memory"
        if doubt is not None:
            origin = f"the file's VMCOREINFO is wrong: {doubt}; the one that a search of memory found is used"
        elif text and not whole:
            origin = "VMCOREINFO is garbled; one was found by a search of memory"
        chosen.knowledge.notes.insert(0, origin)
    return chosen.knowledge


def check_against_memory(knowledge: Knowledge) -> Knowledge:
    """Keep every page if VMCOREINFO, which a user gave, is not of the kernel in memory."""
    candidate = _Candidate(knowledge)
    doubt, fatal = candidate.doubt()
    if fatal:
        candidate.distrust(f"VMCOREINFO is wrong: {doubt}")
    return knowledge


def _search(source: Source, known: list[_Candidate]) -> list[bytes]:
    """Search memory for VMCOREINFO of kernels other than ``known``."""
    from vmsieve.filters.linux.arch import find
    from vmsieve.filters.linux.kernel_search import iter_kernels, name_address
    from vmsieve.filters.linux.memory import PhysicalMemory

    try:
        arch = find(source.machine)
    except VmsieveError:
        return []
    kernels = [one.knowledge for one in known]
    places = {name_address(one.memory, one.info) for one in kernels if one.memory is not None and one.info is not None}
    return list(iter_kernels(PhysicalMemory(source), arch, {place for place in places if place is not None}))


def _choose(source: Source, found: list[_Candidate]) -> _Candidate:
    """Choose the kernel that was selected, else the most important one; and note the others."""
    found = sorted(found, key=lambda one: one.importance)
    chosen = found[0] if source.selected == "kdump" else found[-1]
    if len(found) == 1:
        _note_oddity(source, chosen)
        return chosen
    knowledge = chosen.knowledge
    knowledge.end_uncertain = True
    if source.selected is not None:
        knowledge.notes.append(f"of {len(found)} kernels in memory, {chosen.title} was selected")
        return chosen
    from vmsieve.filters.linux.kernel_search import subtract

    others = [one for one in found if one is not chosen]
    knowledge.ambiguous = True
    knowledge.notes.append(
        f"memory holds {len(found)} kernels: {', '.join(one.title for one in (chosen, *others))}; what the others may "
        "own is kept (--select prod: filter by the one that crashed; kdump: by its crash kernel; all: not at all)"
    )
    for other in others:
        if knowledge.memmap is not None and other.knowledge.memmap is not None:
            knowledge.memmap = subtract(knowledge.memmap, other.knowledge.memmap)
        else:
            chosen.distrust(f"it is unknown which memory {other.title} owns")
    return chosen


def _note_oddity(source: Source, only: _Candidate) -> None:
    """Note that memory may hold another kernel, which the search did not find."""
    oddity, knowledge = only.oddity(source), only.knowledge
    if source.selected is not None and oddity is None:
        raise UsageError("the dump holds one system: there is nothing to select", file=source.file.name)
    knowledge.end_uncertain |= oddity is not None
    if source.selected == "prod":
        only.distrust(f"the kernel that crashed is not found in memory: {oddity}")
    elif oddity is not None and source.selected is None:
        knowledge.ambiguous = True
        knowledge.notes.append(
            f"{oddity}: the dump may be of a machine whose crash kernel ran; memory that is not its own is kept "
            "(--select kdump: it is that crash kernel; all: leave out nothing)"
        )
