"""``vmsieve doctor``: checks that a crash now would leave a dump, without changing the system.

Here: the checks, one file each (checks/), and their summary. Not here: their output (``pipeline.cli``).
"""
