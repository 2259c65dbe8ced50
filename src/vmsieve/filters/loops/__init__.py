"""Loops over struct pages and page classes: the compiled part of the classification.

Here: what runs once per page frame; :mod:`~vmsieve.filters.loops.classify` calls the page rules. Not here: the rules
(:mod:`vmsieve.filters.rules`), what fills the parameters and calls the loops (:mod:`vmsieve.filters.classify`), and
loops over bytes (:mod:`vmsieve.formats.loops`).
"""
