"""Would a crash now leave a dump? Looked into beforehand, on the system itself, without changing anything."""
