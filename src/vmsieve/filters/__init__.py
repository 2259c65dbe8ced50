"""Page classes: knowledge of the kernel in a dump, and the pages that a dump level drops.

Here: facts of Linux (``linux``), page rules (``rules``), the loops that apply them (``loops``), and the scan
(``classify``). Not here: bytes and file formats (:mod:`vmsieve.formats`), and the order of events
(:mod:`vmsieve.pipeline`).
"""
