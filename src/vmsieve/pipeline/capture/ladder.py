"""The ladder: the steps of a capture, from the dump as asked to a plain copy, and the order after each failure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAREFUL_CODEC = "zlib@built-in"  # needs no shared library, and every reader of kdump files supports zlib
#: Steps from the most to the least knowledge of the kernel. "with less" repeats the first one carefully:
#: single-threaded, unmapped. The two after it distrust the VMCOREINFO note and search memory instead. "what is known"
#: accepts a dump that leaves out less than asked, "unfiltered" needs only the headers, "plain copy" only readable
#: bytes.
_ORDER = (
    "as asked", "with less", "facts from memory", "facts from symbols", "what is known", "unfiltered", "plain copy",
)  # fmt: skip
#: Name of the class of pages that level 31 leaves out (dump.order.EXTRA, which this process doesn't load).
_EXTRA = "extra"
_DESCRIPTOR = 24  # bytes of a page descriptor, of which a dump has one for each page, written or not


class Step:
    """One way to make the dump."""

    def __init__(
        self, name: str, basis: str, *, careful: bool = False, insist: bool = True, level: int | None = None,
        plain: bool = False, instead: bool = False,
    ) -> None:  # fmt: skip
        self.name = name  # in the record
        self.basis = basis  # of the knowledge of the kernel: see filters.gather.gather_knowledge_from
        self.careful = careful  # one thread, no mapped input, and the codec that needs no library
        self.insist = insist  # fail before the first byte if fewer pages would be left out than asked for
        self.level = level  # None: as asked
        self.plain = plain  # copy the input's bytes; the other attributes are ignored
        self.instead = instead  # replace the kept dump of an earlier step: delete it before the first page is written

    def codec(self, asked: str) -> str:
        """The codec for this step; ``asked``: the requested one."""
        return _CAREFUL_CODEC if self.careful and asked.partition(":")[0] != "none" else asked


def is_worth_replacing(classes: list[dict[str, Any]]) -> bool:
    """False if a torn dump of a lower level, with ``classes``, has all pages of a level 31 dump, and more.

    True too in address order, of which nothing is known.
    """
    return not any(one["name"] == _EXTRA for one in classes) or any(
        one["written"] < one["pages"] for one in classes if one["name"] != _EXTRA
    )


def has_more(classes: list[dict[str, Any]], size: int, pages: int) -> bool:
    """True if a part of a dump with ``pages`` pages has twice the pages of a torn dump of ``size`` bytes.

    Its page descriptors take less of the space. False in address order.
    """
    total = sum(one["pages"] for one in classes)
    return bool(classes) and (total - pages) * _DESCRIPTOR > size - total * _DESCRIPTOR


class Ladder:
    """Chooses the next step by the outcomes of the earlier ones."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._careful = self._weaker = False
        self.first = self._step("as asked")

    def after(self, step: Step, outcome: dict[str, Any]) -> Step | None:
        """The step after ``step`` failed with ``outcome``; None at the end of the ladder."""
        weaker = outcome["end"] == "weaker"
        self._weaker |= weaker
        rest = list(_ORDER[_ORDER.index(step.name) + 1 :])
        if weaker and "with less" in rest:
            # Nothing crashed; the same basis would fall short again.
            rest.remove("with less")
        elif not weaker:
            self._careful = True
        if not self._weaker and "what is known" in rest:
            # Every failure was a crash, not a lack of knowledge: accepting less knowledge would not help.
            rest.remove("what is known")
        if outcome["end"] == "late":
            # Half of the deadline is gone: only steps that need no analysis are left.
            rest = [name for name in rest if name in ("unfiltered", "plain copy")]
        return self._step(rest[0]) if rest else None

    def smaller(self, step: Step) -> Step:
        """Level 31 on the basis of ``step``, whose dump did not fit: see :func:`is_worth_replacing`."""
        return Step("smaller", step.basis, careful=step.careful, level=31, instead=True)

    def as_before(self, step: Step) -> Step:
        """Make the partial dump again that was deleted for ``step``, which failed."""
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
