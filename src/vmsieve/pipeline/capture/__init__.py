"""``vmsieve capture``: a dump in the crash kernel, whatever happens.

The first process does next to nothing: it forks one child for each step of a ladder (:mod:`.ladder`), watches it
(:mod:`.child`), and keeps the record (:mod:`.status`). A child may crash, hang or be killed for lack of memory; the
next step assumes less. What steps do is in :mod:`.work` and :mod:`.plain`, which are loaded in children only.

Both processes are in memory at the same time, so what the first one loads counts twice: modules that it uses import
neither ``typing`` nor ``signal`` nor ``argparse``, each of which brings half a megabyte or more along.
"""
