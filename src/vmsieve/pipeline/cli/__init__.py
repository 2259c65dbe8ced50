"""The command line of ``vmsieve``: start-up, options, one file a command.

Belongs here: parsing arguments, printing results, turning errors into one line and an exit status.
Does not: the work itself, which the other rooms do and which a library user calls.
"""
