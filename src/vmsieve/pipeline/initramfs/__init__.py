"""``vmsieve image``: the file tree of vmsieve and Python for a crash kernel's initramfs.

Here: finding the files that a capture needs, laying them out, and testing the result. Not here: what runs in the image
(``pipeline.capture``, ``pipeline.makedumpfile``) and the services that install it (``pipeline.services``).

The target interpreter runs the commands on a small dump and reports what it loaded (:mod:`.inside`). Modules that only
unusual paths import come from the import statements of the modules found (:mod:`.closure`). The finished image is
tested as a root directory (:mod:`.trial`).
"""
