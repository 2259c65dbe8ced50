"""The process and its surroundings: options, exit statuses, signals, standard streams, progress, written files.

Belongs here: what any command needs from its process: options, streams, signals, files that it writes.
Does not: anything about dumps.
"""
