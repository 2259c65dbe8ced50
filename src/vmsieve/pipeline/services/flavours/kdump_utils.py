"""kdump-utils of Fedora, RHEL and CentOS Stream (formerly part of kexec-tools): ``/etc/kdump.conf``.

dracut builds its initramfs, in which ``kdump.sh`` runs the command of ``core_collector``. If its name contains
``makedumpfile``, it gets makedumpfile's options: ``-F`` for ssh and devices, ``--num-threads`` with several CPUs
(kdump-utils 63f248c, dracut/99kdumpbase/kdump.sh).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.services.changes import Change, Draft
from vmsieve.pipeline.services.collector import OURS, Collector, refusal
from vmsieve.pipeline.services.dracut import module_change
from vmsieve.pipeline.services.flavours import Flavour, InstallRequest, Parts, Target
from vmsieve.pipeline.services.settings import Setting, directives, last, value_of

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_CONFIG: Final = "/etc/kdump.conf"
_SYSCONFIG: Final = "/etc/sysconfig/kdump"
_DEFAULT: Final = "makedumpfile -l --message-level 7 -d 31"
_DEFAULT_S390X: Final = "makedumpfile -c --message-level 7 -d 31"
_DEFAULT_PATH: Final = "/var/crash"
_FILE_SYSTEMS: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "minix", "virtiofs")
_NAMED: Final = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


def _default() -> str:
    return _DEFAULT_S390X if os.uname().machine == "s390x" else _DEFAULT


def _collector(_: System, text: str) -> Collector:
    return _set_in(text)


def _set_in(text: str) -> Collector:
    settings = directives(text)
    found = last(settings, "core_collector")
    words = tuple(((found.value if found else "") or _default()).split())
    ours = words[0].rpartition("/")[2] == OURS
    streams = last(settings, "ssh", "raw") is not None
    # The service removes a configured -F, and adds it where it is needed.
    words = (words[0], *(word for word in words[1:] if word != "-F"), *(("-F",) if streams else ()))
    return Collector(words, ours, streams, f"core_collector in {_CONFIG}" if found else "the service's default")


def _target(system: System, text: str) -> Target:
    settings = directives(text)
    path = (last(settings, "path") or Setting("path", _DEFAULT_PATH, "")).value or _DEFAULT_PATH
    target = last(settings, "ssh", "nfs", "raw", *_FILE_SYSTEMS)
    if target is None:
        return Target("folder", path, f"path in {_CONFIG}")
    value = target.value or ""
    if target.key in ("ssh", "nfs"):
        return Target("remote", value, f"{target.key} in {_CONFIG}")
    if target.key == "raw":
        return Target("device", value, f"raw in {_CONFIG}")
    mounted = _mount_point(system, value)
    where = f"{mounted.rstrip('/')}/{path.lstrip('/')}" if mounted is not None else value
    return Target("folder" if mounted is not None else "mount", where, f"{target.key} in {_CONFIG}")


def _mount_point(system: System, device: str) -> str | None:
    """Mount point of the file system on ``device``, or None."""
    kind, _, name = device.partition("=")
    if kind in _NAMED and name:
        device = f"/dev/disk/{_NAMED[kind]}/{name.strip(chr(34))}"
    real = system.resolve(device) if device.startswith("/") else device
    for line in (system.text("/proc/mounts") or "").splitlines():
        source, _, rest = line.partition(" ")
        if source and (system.resolve(source) if source.startswith("/") else source) == real:
            # Blanks are octal escapes: fs/proc_namespace.c, mangle().
            return rest.partition(" ")[0].replace("\\040", " ")
    return None


def _parts(system: System, release: str) -> Parts:
    release = value_of(system.text(_SYSCONFIG) or "", "KDUMP_KERNELVER") or release
    kernels = (f"/boot/vmlinuz-{release}", f"/usr/lib/modules/{release}/vmlinuz", f"/boot/Image-{release}")
    images = (f"/boot/initramfs-{release}kdump.img", f"/var/lib/kdump/initramfs-{release}kdump.img")
    return Parts(_first(system, kernels), _first(system, images), in_initramfs=True)


def _first(system: System, paths: tuple[str, ...]) -> str | None:
    return next((path for path in paths if system.exists(path)), None)


def _changes(original: Callable[[str], bytes | None], request: InstallRequest) -> list[Change]:
    draft = Draft(_CONFIG, original(_CONFIG))
    settings = directives(draft.text)
    collector = _set_in(draft.text)
    options = request.options
    if options is None:
        # Options of another collector are meaningless to vmsieve.
        words = collector.options if collector.is_makedumpfile else tuple(_default().split()[1:])
        options = " ".join(word for word in words if word != "-F")
    why = refusal(tuple(options.split()), streams=False)
    if why:
        raise UsageError(f"vmsieve does not take the options {options!r}: {why}", hint="--options gives others")
    draft.set([one for one in settings if one.key == "core_collector"], f"core_collector {OURS} {options}")
    return [module_change(request.program), draft.change()]


FLAVOUR: Final = Flavour(
    "kdump-utils", 20, "kdump-utils (Fedora, RHEL)", ("/usr/bin/kdumpctl", "/usr/sbin/kdumpctl"), _CONFIG,
    "systemctl restart kdump", "kdumpctl rebuild", (), _collector, _target, _parts, _changes,
)  # fmt: skip
