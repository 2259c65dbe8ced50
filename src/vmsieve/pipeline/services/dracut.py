"""vmsieve's dracut module, which puts it into initramfs images that are made for kdump."""

from __future__ import annotations

from typing import Final

from vmsieve.pipeline.services.changes import Change
from vmsieve.pipeline.services.templates import fill

__all__ = ["IMAGE", "MODULE", "MODULE_SETUP", "module_change"]

#: Modules are installed in the order of their names: this one after kdump's own (99kdump, 99kdumpbase).
MODULE: Final = "/usr/lib/dracut/modules.d/99vmsieve"
MODULE_SETUP: Final = f"{MODULE}/module-setup.sh"
#: What ``vmsieve image`` made for the last initramfs.
IMAGE: Final = "/var/lib/vmsieve/kdump-image"


def module_change(program: tuple[str, ...]) -> Change:
    """The module, which runs ``program`` to learn what it has to put in."""
    return Change(MODULE_SETUP, fill("module-setup.sh", program=program, image=(IMAGE,)), 0o755)
