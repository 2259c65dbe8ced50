"""The steps of a capture, from what was asked to what always works, and which one follows on which failure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Ladder", "Step"]

#: Packs without any library: always there, and a reader of every kdump file knows it.
_CAREFUL_CODEC = "zlib@built-in"


class Step:
    """One way to make the dump.

    Attributes:
        name: For the record.
        basis: What knowledge of the kernel starts from: see :func:`vmsieve.filters.gather.gather_knowledge_from`.
        careful: One thread, no mapped input, the codec that needs no library.
        insist: Give up, before the first byte, if less would be left out than was asked for.
        level: Dump level; None: the one asked for.
        plain: Copy the input's bytes; nothing else counts then.
        instead: There is no room for it beside what an earlier step left, which goes when all is ready.
    """

    def __init__(
        self, name: str, basis: str, *, careful: bool = False, insist: bool = True, level: int | None = None,
        plain: bool = False, instead: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.basis, self.careful, self.insist = name, basis, careful, insist
        self.level, self.plain, self.instead = level, plain, instead

    def codec(self, asked: str) -> str:
        """The codec to use where ``asked`` was asked for."""
        return _CAREFUL_CODEC if self.careful and asked.partition(":")[0] != "none" else asked


class Ladder:
    """Chooses steps by what became of those before."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._careful = False
        self._weaker = False
        self._next = "as asked"

    def first(self) -> Step:
        """What was asked for."""
        return self._step("as asked")

    def after(self, step: Step, outcome: dict[str, Any]) -> Step | None:
        """The step to try after ``step`` failed with ``outcome``; None: there is none left."""
        weaker = outcome["end"] == "weaker"
        self._weaker |= weaker
        order = ["as asked", "with less", "facts from memory", "facts from symbols", "what is known", "unfiltered"]
        order.append("plain copy")
        rest = order[order.index(step.name) + 1 :]
        if weaker and "with less" in rest:
            # Nothing broke: the same facts say the same once more.
            rest.remove("with less")
        elif not weaker:
            self._careful = True
        if not self._weaker and "what is known" in rest:
            # No step lacked facts, so that asking for less of them changes nothing.
            rest.remove("what is known")
        if outcome["end"] == "late":
            rest = [name for name in rest if name in ("unfiltered", "plain copy")]
        return self._step(rest[0]) if rest else None

    def smaller(self, step: Step) -> Step:
        """As much left out as can be by what ``step`` knew, because there was no room for its dump."""
        return Step("smaller", step.basis, careful=step.careful, level=31, instead=True)

    def as_before(self, step: Step) -> Step:
        """The part of a dump that went to make room for ``step``, which failed: as much of it as there is room for."""
        return Step("as before", step.basis, careful=step.careful)

    def _step(self, name: str) -> Step:
        careful = self._careful
        return {
            "as asked": Step(name, "note"),
            "with less": Step(name, "note", careful=True),
            "facts from memory": Step(name, "memory", careful=careful),
            "facts from symbols": Step(name, "symbols", careful=careful),
            "what is known": Step(name, "note", careful=careful, insist=False),
            "unfiltered": Step(name, "headers", careful=True, insist=False, level=self._level & 1),
            "plain copy": Step(name, "headers", careful=True, plain=True),
        }[name]
