"""kdump-utils of Fedora, RHEL and CentOS Stream (formerly part of kexec-tools): ``/etc/kdump.conf``.

dracut builds its initramfs, in which ``kdump.sh`` runs the command of ``core_collector``. If its name contains
``makedumpfile``, it gets makedumpfile's options: ``-F`` for ssh and devices, ``--num-threads`` with several CPUs
(kdump-utils 63f248c, dracut/99kdumpbase/kdump.sh).
"""

from __future__ import annotations

import os

from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final
from vmsieve.pipeline.services.changes import Change, Draft
from vmsieve.pipeline.services.collector import OURS, Collector, require_accepted
from vmsieve.pipeline.services.dracut import module_change
from vmsieve.pipeline.services.flavours import Flavour, InstallRequest, Parts, Target
from vmsieve.pipeline.services.settings import Setting, directives, last, value_of

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_CONFIG: Final = "/etc/kdump.conf"
_SYSCONFIG: Final = "/etc/sysconfig/kdump"
_DEFAULT: Final = f"makedumpfile {'-c' if os.uname().machine == 's390x' else '-l'} --message-level 7 -d 31"
_FILE_SYSTEMS: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "minix", "virtiofs")
_NAMED: Final = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


def _collector(text: str) -> Collector:
    settings = directives(text)
    found = last(settings, "core_collector")
    words = tuple(((found.value if found else "") or _DEFAULT).split())
    ours = words[0].rpartition("/")[2] == OURS
    streams = last(settings, "ssh", "raw") is not None
    # The service removes a configured -F, and adds it where it is needed.
    words = (words[0], *(word for word in words[1:] if word != "-F"), *(("-F",) if streams else ()))
    return Collector(words, ours, streams, f"core_collector in {_CONFIG}" if found else "the service's default")


def _target(system: System, text: str) -> Target:
    settings = directives(text)
    path = (last(settings, "path") or Setting("path", "", "")).value or "/var/crash"
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
    return Parts(system.first(*kernels), system.first(*images), in_initramfs=True)


def _changes(original: Callable[[str], bytes | None], request: InstallRequest) -> list[Change]:
    draft = Draft(_CONFIG, original(_CONFIG))
    settings = directives(draft.text)
    collector = _collector(draft.text)
    options = request.options
    if options is None:
        # Options of another collector are meaningless to vmsieve.
        words = collector.options if collector.is_makedumpfile else tuple(_DEFAULT.split()[1:])
        options = " ".join(word for word in words if word != "-F")
    require_accepted(tuple(options.split()), streams=False)
    draft.set([one for one in settings if one.key == "core_collector"], f"core_collector {OURS} {options}")
    return [module_change(request.program), draft.change()]


FLAVOUR: Final = Flavour(
    "kdump-utils", 20, "kdump-utils (Fedora, RHEL)", ("/usr/bin/kdumpctl", "/usr/sbin/kdumpctl"), _CONFIG,
    # kdump-utils was part of kexec-tools before Fedora 41 and RHEL 10.
    ("fedora", "rhel", "centos"), "dnf install kdump-utils || dnf install kexec-tools",
    "grubby --update-kernel=ALL --args=crashkernel={size}",
    "systemctl restart kdump", "kdumpctl rebuild", (), lambda _, text: _collector(text), _target, _parts, _changes,
)  # fmt: skip
