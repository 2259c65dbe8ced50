"""``vmsieve capture``: a dump of the crashed kernel's memory, whatever fails on the way.

Here: the first process, which forks one child for each step of a ladder, watches it and keeps the record; what the
children do; and the target. Not here: how a dump is made (``pipeline.dump``).

The first process (:mod:`.run`, :mod:`.ladder`, :mod:`.child`, :mod:`.record`, :mod:`.target`) stays in memory beside
each child, so its size counts twice: it imports neither ``typing`` nor ``signal`` nor ``argparse``, of which each costs
half a megabyte or more. :mod:`.work`, :mod:`.opening`, :mod:`.log` and :mod:`.plain_copy` are loaded in children only.
"""
