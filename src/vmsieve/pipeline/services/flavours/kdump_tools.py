"""kdump-tools of Debian and Ubuntu: ``/etc/default/kdump-tools``.

The crash kernel mounts the root file system and runs ``makedumpfile`` from ``PATH``, which ``kdump-config`` sets before
it sources its settings (kdump-tools 1.8.1, kdump-config). So a setting prepends a directory whose ``makedumpfile`` is
vmsieve's, without effect on the rest of the system. With ``--capture``, a script in the initramfs saves the dump
earlier, and kdump-tools runs only if that fails.
"""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final
from vmsieve.pipeline.services.changes import Change, Draft
from vmsieve.pipeline.services.collector import Collector, require_accepted
from vmsieve.pipeline.services.flavours import Flavour, InstallRequest, Parts, Target
from vmsieve.pipeline.services.settings import assignments, value_of
from vmsieve.pipeline.services.templates import fill

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_CONFIG: Final = "/etc/default/kdump-tools"
_FOLDER: Final = "/usr/local/lib/vmsieve/kdump-tools"
#: Without $PATH, because systemd reads the same file and expands no variables.
_PATH: Final = f"{_FOLDER}:/usr/sbin:/usr/bin:/sbin:/bin"
_SCRIPT: Final = "/etc/initramfs-tools/scripts/local-bottom/vmsieve"
_OPTIONS: Final = "-F -c -d 31"
_RESERVE: Final = (
    "sed -i 's/crashkernel=[^\" ]*/crashkernel={size}/' /etc/default/grub.d/kdump-tools.cfg && update-grub"
)
_REMOTE: Final = ("FTP", "SSH", "NFS")  # settings of a target on another machine


def _collector(text: str) -> Collector:
    options = value_of(text, "MAKEDUMP_ARGS")
    words = (options or _OPTIONS).split()
    if not words or not words[0].startswith("-F"):
        words.append("-F")
    ours = value_of(text, "PATH").split(":")[0] == _FOLDER
    origin = f"MAKEDUMP_ARGS in {_CONFIG}" if options else "the service's default"
    return Collector(("makedumpfile", *words), ours, True, origin)


def _target(_: System, text: str) -> Target:
    for key in _REMOTE:
        if value := value_of(text, key):
            return Target("remote", value, f"{key} in {_CONFIG}")
    return Target("folder", value_of(text, "KDUMP_COREDIR") or "/var/crash", f"KDUMP_COREDIR in {_CONFIG}")


def _parts(system: System, release: str) -> Parts:
    text = system.text(_CONFIG) or ""
    kernel = value_of(text, "KDUMP_KERNEL") or f"/boot/vmlinuz-{release}"
    initramfs = value_of(text, "KDUMP_INITRD") or f"/var/lib/kdump/initrd.img-{release}"
    return Parts(system.first(kernel), system.first(initramfs), in_initramfs=False)


def _changes(original: Callable[[str], bytes | None], request: InstallRequest) -> list[Change]:
    draft = Draft(_CONFIG, original(_CONFIG))
    settings = assignments(draft.text)
    if request.options is not None:
        draft.set([one for one in settings if one.key == "MAKEDUMP_ARGS"], f'MAKEDUMP_ARGS="{request.options}"')
    require_accepted(_collector(draft.text).options, streams=True)
    draft.set([one for one in settings if one.key == "PATH"], f"PATH={_PATH}")
    wrapper = fill("makedumpfile.sh", program=(*request.program, "makedumpfile"), fallback=("/usr/bin/makedumpfile",))
    changes = [Change(f"{_FOLDER}/makedumpfile", wrapper, 0o755), draft.change()]
    if request.capture:
        for key in _REMOTE:
            if value_of(draft.text, key):
                what = f"--capture can't save where {key} in {_CONFIG} says"
                raise UsageError(what, hint="it saves to KDUMP_COREDIR")
        # Saves a dump in the initramfs, before the root file system is booted.
        changes.append(Change(_SCRIPT, fill("initramfs-capture.sh", program=request.program), 0o755))
    return changes


FLAVOUR: Final = Flavour(
    "kdump-tools", 10, "kdump-tools (Debian, Ubuntu)", ("/usr/sbin/kdump-config",), _CONFIG,
    ("debian", "ubuntu"), "apt install kdump-tools", _RESERVE,
    "kdump-config reload", '/etc/kernel/postinst.d/kdump-tools "$(uname -r)"', (_CONFIG, _FOLDER),
    lambda _, text: _collector(text), _target, _parts, _changes, captures=True,
)  # fmt: skip
