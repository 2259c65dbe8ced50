"""The distributions' kdump services: reading their configuration, and installing vmsieve in them.

Here: one file per service (flavours/), changes that can be undone (install, journal), checks (doctor/). Not here: the
command line (``pipeline.cli``) and the image that a service puts into its initramfs (``pipeline.initramfs``).
"""
