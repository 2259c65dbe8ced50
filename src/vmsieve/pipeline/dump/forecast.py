"""What will fit into an output that may be too small, said before the first page is written."""

from __future__ import annotations

from vmsieve.formats.bitmap import Bitmap
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.order import Pass, contents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Packs some of the pages; returns their number and packed bytes, (0, 0) if none is left.
    Sample = Callable[[], tuple[int, int]]

_SAMPLE = 32  # pages of a pass that are packed


def foretell(passes: Sequence[Pass], room: int, sampler: Callable[[Bitmap], Sample]) -> str | None:
    """Say what will fit into ``room`` bytes, by a sample of each pass; None if everything does."""
    return forecast(passes, [one.total * _packed_size(one.pages, sampler) for one in passes], room)


def foretell_time(passes: Sequence[Pass], seconds: float, left: float) -> str | None:
    """Say what there is time for, by the ``seconds`` that the pages so far took; None if for everything."""
    done = sum(one.written for one in passes)
    line = forecast(passes, [one.total for one in passes], int(done + done * left / max(seconds, 1e-3)))
    return line and line.replace("room", "time", 1)


def _packed_size(pages: Bitmap, sampler: Callable[[Bitmap], Sample]) -> float:
    """Bytes of a packed page, by a sample of ``pages``, which are not none."""
    thin, step, count, packed = Bitmap(), max(1, pages.count() // _SAMPLE), 0, 0
    for number in pages.filled():
        block, sampled = pages[number], bytearray(pages.block // 8)
        sampled[::step] = block[::step]
        thin.put(number, sampled)
    sample = sampler(thin if thin.count() else pages)
    while count < _SAMPLE:
        more, size = sample()
        if not more:
            break
        count, packed = count + more, packed + size
    return packed / max(count, 1)


def forecast(passes: Sequence[Pass], sizes: Sequence[float], room: int) -> str | None:
    """Say what fits into ``room`` bytes; ``sizes``: packed bytes of each pass. None if everything does."""
    copies, left = [], max(float(room), 0)
    for one, size in zip(passes, sizes):
        fits = one.total if size <= left else int(one.total * left / size)
        copies.append(Pass(one.name, one.title, one.pages, fits))
        left = max(left - size, 0)
    total, fit = sum(one.total for one in copies), sum(one.written for one in copies)
    if fit >= total:
        return None
    return f"there is room for about {100 * fit // total} % of the pages ({contents(copies)})"
