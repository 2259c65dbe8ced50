"""The command line of ``vmsieve``: start-up, options, one file a command.

Belongs here: parsing arguments, printing results, turning an error into one line and an exit status.
Does not: the work itself. The rooms below do it, and library users call them.
"""
