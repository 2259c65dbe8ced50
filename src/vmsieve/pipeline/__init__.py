"""Order of events: what the command line asks for, carried out with ``filters`` and ``formats``."""
