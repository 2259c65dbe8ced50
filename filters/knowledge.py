"""What can be known of the crashed kernel, as far as it goes.

Nothing here raises for a kernel that can't be understood: each step that fails leaves a sentence, and what depends on it
stays None. Whoever asks keeps every page then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vmsieve.filters.kernel.arch import open_translator
from vmsieve.filters.kernel.identity import identify
from vmsieve.filters.kernel.memmap import open_memmap
from vmsieve.filters.kernel.memory import PhysicalMemory, VirtualMemory
from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import VmsieveError

if TYPE_CHECKING:
    from vmsieve.filters.kernel.identity import Identity
    from vmsieve.filters.kernel.memmap import MemMap
    from vmsieve.formats.inputs import Source

__all__ = ["DEFAULT_PAGE_SIZE", "Knowledge", "learn"]

#: Page size of a machine that does not tell; every architecture that has more than one exports PAGESIZE.
DEFAULT_PAGE_SIZE = 4096


@dataclass
class Knowledge:
    """A kernel, as far as it is known.

    Attributes:
        page_size: Bytes.
        identity: Names and crash time, from whatever source had them.
        info: VMCOREINFO, if there is any.
        memory: Virtual memory, if addresses can be translated.
        memmap: The struct pages, if they can be found.
        problem: Why ``memmap`` is None; None if it is not.
        notes: Sentences on what was found odd on the way.
    """

    page_size: int
    identity: Identity
    info: VmcoreInfo | None = None
    memory: VirtualMemory | None = None
    memmap: MemMap | None = None
    problem: str | None = None
    notes: list[str] = field(default_factory=list)


def learn(source: Source, text: bytes | None = None) -> Knowledge:
    """Find out about the kernel in ``source``; ``text``: VMCOREINFO to use instead of what the dump carries."""
    notes: list[str] = []
    found = text if text is not None else source.vmcoreinfo
    info = VmcoreInfo.parse(found) if found is not None else None
    if info is not None and not info.looks_valid():
        notes.append("VMCOREINFO is garbled: no key in it is known")
        info = None
    page_size = _page_size(source, info, notes)
    knowledge = Knowledge(page_size, identify(source, info, None), info, notes=notes)
    if info is None:
        knowledge.problem = "no VMCOREINFO tells about the kernel"
        return knowledge
    try:
        translator = open_translator(source, info)
        knowledge.memory = VirtualMemory(PhysicalMemory(source), translator)
        knowledge.identity = identify(source, info, knowledge.memory)
        max_pfn = -(-source.end() // page_size)
        knowledge.memmap = open_memmap(knowledge.memory, info, translator, max_pfn)
        notes.extend(knowledge.memmap.notes)
    except VmsieveError as error:
        knowledge.problem = str(error)
    notes.extend(knowledge.identity.notes)
    return knowledge


def _page_size(source: Source, info: VmcoreInfo | None, notes: list[str]) -> int:
    told = info.page_size() if info is not None else None
    if source.page_size is not None:
        if told is not None and told != source.page_size:
            notes.append(f"VMCOREINFO tells of pages of {told} bytes, the file of {source.page_size}: the file is right")
        return source.page_size
    return told if told is not None else DEFAULT_PAGE_SIZE
