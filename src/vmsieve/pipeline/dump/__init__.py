"""The main job: scan the struct pages, copy the kept pages, write the dump, report.

Belongs here: the plan, both passes, threads, the opened target, and what splits or joins dumps.
Does not: looking at a dump without writing one (``inspect``), or deciding what to do after a failure (``capture``).
"""
