"""Page classes: what is known of the kernel in a dump, and which pages a dump level drops by it.

Here: facts of Linux (``linux``), page rules (``rules``), the loops that apply them (``loops``), and the scan
(``classify``). Not here: bytes and file formats (:mod:`vmsieve.formats`), and the order of events
(:mod:`vmsieve.pipeline`).
"""
