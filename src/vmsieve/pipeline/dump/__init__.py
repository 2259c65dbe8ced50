"""Makes dumps: scans the struct pages, copies the kept pages, writes the output, and reports.

Belongs here: input, plan, both passes, threads, the output, split dumps.
Does not: examining a dump (``inspect``); deciding what to do after a failure (``capture``).
"""
