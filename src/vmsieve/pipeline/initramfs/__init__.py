"""``vmsieve image``: the files that a capture needs, and no others, for a crash kernel's initramfs.

What they are is found by running, not by guessing: the interpreter that the image is made for runs the commands on a
small dump and tells what it loaded (:mod:`~vmsieve.pipeline.initramfs.inside`). Modules that an unusual course of events
would import come from the import statements of what was found (:mod:`~vmsieve.pipeline.initramfs.closure`). Before an image
is handed over, the commands run in it, as if there was nothing else (:mod:`~vmsieve.pipeline.initramfs.trial`).
"""
