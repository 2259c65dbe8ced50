"""kdump of SUSE: ``/etc/sysconfig/kdump``.

dracut builds its initramfs, in which ``kdump-save`` runs ``makedumpfile``, flattened and through a FIFO, for the log
and for memory, or the command in ``KDUMP_TRANSFER`` instead of its own procedure (openSUSE kdump 34da4b8,
dracut/kdump-save).
"""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final
from vmsieve.pipeline.services.changes import Change, Draft
from vmsieve.pipeline.services.collector import Collector
from vmsieve.pipeline.services.dracut import MODULE, module_change
from vmsieve.pipeline.services.flavours import Flavour, InstallRequest, Parts, Target
from vmsieve.pipeline.services.settings import assignments, value_of
from vmsieve.pipeline.services.templates import fill

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

_CONFIG: Final = "/etc/sysconfig/kdump"
_TRANSFER: Final = "vmsieve-kdump-transfer"
_WRAPPER: Final = f"{MODULE}/makedumpfile"
#: Paths in the initramfs.
_PROGRAM: Final = "/usr/bin/vmsieve-makedumpfile"
_OTHER: Final = "/usr/lib/vmsieve/makedumpfile"
_FORMATS: Final = {"ELF": "-E", "compressed": "-c", "lzo": "-l", "snappy": "-p", "zstd": "-z"}


def _collector(system: System, text: str) -> Collector:
    transfer = value_of(text, "KDUMP_TRANSFER")
    if transfer:
        words = tuple(transfer.split())
        return Collector(words, words[0] == _TRANSFER, False, f"KDUMP_TRANSFER in {_CONFIG}")
    level = value_of(text, "KDUMP_DUMPLEVEL") or "31"
    form = _FORMATS.get(value_of(text, "KDUMP_DUMPFORMAT") or "compressed", "-z")
    words = ("makedumpfile", "-F", form, "-d", level, *value_of(text, "MAKEDUMPFILE_OPTIONS").split())
    ours = system.exists(_WRAPPER)
    return Collector(words, ours, True, f"KDUMP_DUMPLEVEL and KDUMP_DUMPFORMAT in {_CONFIG}")


def _target(_: System, text: str) -> Target:
    where = value_of(text, "KDUMP_SAVEDIR") or "/var/crash"
    kind, separator, path = where.partition("://")
    if not separator or kind.lower() == "file":
        return Target("folder", path or where, f"KDUMP_SAVEDIR in {_CONFIG}")
    # Strip user and password.
    return Target("remote", f"{kind}://{path.rpartition('@')[2]}", f"KDUMP_SAVEDIR in {_CONFIG}")


def _parts(system: System, release: str) -> Parts:
    del release
    return Parts(system.first("/var/lib/kdump/kernel"), system.first("/var/lib/kdump/initrd"), in_initramfs=True)


def _changes(original: Callable[[str], bytes | None], request: InstallRequest) -> list[Change]:
    draft = Draft(_CONFIG, original(_CONFIG))
    settings = assignments(draft.text)
    if request.options is not None:
        raise UsageError("--options can't be set here", hint=f"set KDUMP_DUMPLEVEL and KDUMP_DUMPFORMAT in {_CONFIG}")
    if not request.capture:
        wrapper = fill("makedumpfile.sh", program=(_PROGRAM,), fallback=(_OTHER,))
        return [module_change(request.program), Change(_WRAPPER, wrapper, 0o755)]
    where = value_of(draft.text, "KDUMP_SAVEDIR")
    kind, separator, rest = where.partition("://")
    if separator and (kind.lower() in ("ftp", "sftp", "scp") or ":" in rest.partition("@")[0] * ("@" in rest)):
        hint = "it saves to folders, NFS, CIFS, and with a key to SSH"
        raise UsageError(f"--capture can't save to {kind}://", hint=hint)
    draft.set([one for one in settings if one.key == "KDUMP_TRANSFER"], f'KDUMP_TRANSFER="{_TRANSFER}"')
    script = Change(f"{MODULE}/{_TRANSFER}", fill("kdump-transfer.sh"), 0o755)
    return [module_change(request.program), script, draft.change()]


FLAVOUR: Final = Flavour(
    "suse", 30, "kdump (SUSE)",
    ("/usr/lib/kdump/kdump-read-config.sh", "/usr/sbin/kdumptool", "/usr/bin/kdumptool"), _CONFIG,
    ("suse", "opensuse"), "zypper install kdump",
    "pbl --del-option crashkernel && pbl --add-option crashkernel={size} && pbl --config",
    "systemctl restart kdump", "mkdumprd -f", (), _collector, _target, _parts, _changes, captures=True,
)  # fmt: skip
