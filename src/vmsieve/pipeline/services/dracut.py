"""vmsieve's dracut module, which adds it to the initramfs of kdump."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.services.changes import Change
from vmsieve.pipeline.services.templates import fill

#: dracut installs modules in the order of their names: this one after kdump's (99kdump, 99kdumpbase).
MODULE: Final = "/usr/lib/dracut/modules.d/99vmsieve"
MODULE_SETUP: Final = f"{MODULE}/module-setup.sh"
IMAGE: Final = "/var/lib/vmsieve/kdump-image"  # output of ``vmsieve image`` for the last initramfs


def module_change(program: tuple[str, ...]) -> Change:
    """The change that installs the module; it calls ``program`` to build the image."""
    return Change(MODULE_SETUP, fill("module-setup.sh", program=program, image=(IMAGE,)), 0o755)
