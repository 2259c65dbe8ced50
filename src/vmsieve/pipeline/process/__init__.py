"""The process and its surroundings: exit statuses, signals, standard streams, progress.

Belongs here: what every command needs of its process, whatever it works on.
Does not: anything that knows a dump.
"""
