"""Commands that look at a dump: page classes, verification, zones, maps, skeletons, benchmarks.

Belongs here: work that reads a dump and answers a question.
Does not: making a filtered dump (``dump``).
"""
