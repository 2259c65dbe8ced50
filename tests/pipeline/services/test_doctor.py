"""``vmsieve doctor`` on made-up systems: each single fault is found, with a remedy."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.kdump_system import CONFIGS, MIB, PARTS, RELEASE, config, make, put
from tests.dumps import dump
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

FLAVOURS = tuple(CONFIGS)
SIZES = (8, 32)


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def system(flavour: str, tmp_path: Path) -> Path:
    return make(tmp_path, flavour, sizes=SIZES)


@pytest.fixture
def fedora(tmp_path: Path) -> Path:
    return make(tmp_path, "kdump-utils", sizes=SIZES)


def examined(capsys: pytest.CaptureFixture[str], root: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the findings by name."""
    capsys.readouterr()
    status = main(["doctor", "--json", "--root", str(root), *more])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    told = json.loads(said.out)
    assert told["status"] == status
    return status, {one["name"]: one for one in told["checks"]}


def test_all_is_well(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A system that is not running is checked as far as its files allow, for each service."""
    status, found = examined(capsys, system)
    states = {name: one["state"] for name, one in found.items()}
    assert {name for name, state in states.items() if state == "ok"} >= {
        "service", "reservation", "loaded", "image", "room"
    }  # fmt: skip
    assert states["intact"] == "can't tell"
    assert status == 3


def test_for_people(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each check, and another for the remedy."""
    put(system, "/sys/kernel/kexec_crash_loaded", "0\n")
    assert main(["doctor", "--root", str(system)]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("fail        crash kernel loaded: no crash kernel is loaded.")
    assert lines[at + 1].strip().startswith("Next: ")
    assert lines[at + 2].strip() in ("systemctl restart kdump", "kdump-config reload")
    assert lines[-1].startswith("A crash now would leave no dump (failed: crash kernel loaded; doubtful: collector; ")


def test_an_empty_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty system: no service, and no traceback."""
    status, found = examined(capsys, tmp_path)
    assert status == 1
    assert found["service"]["state"] == "fail"
    assert {one["state"] for name, one in found.items() if name != "service"} == {"can't tell"}


@pytest.mark.parametrize(
    ("name", "content", "state", "word"),
    [
        ("kexec_crash_size", "0", "fail", "crashkernel=256M"),
        ("kexec_crash_size", f"{128 * MIB}", "warn", "crashkernel=192M"),
        ("kexec_crash_size", f"{64 * MIB}", "fail", "crashkernel=192M"),
        ("kexec_crash_size", "-1", "can't tell", "CONFIG_KEXEC"),
        ("kexec_crash_loaded", "0", "fail", "messages"),
        ("kexec_crash_loaded", "yes", "can't tell", "CONFIG_KEXEC"),
    ],
)
def test_the_reservation_by_sysfs(
    name: str, content: str, state: str, word: str, system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing or too small reservation (8 MiB of kernel, 32 of initramfs); no crash kernel loaded."""
    put(system, f"/sys/kernel/{name}", content)
    status, found = examined(capsys, system)
    one = found[{"kexec_crash_size": "reservation", "kexec_crash_loaded": "loaded"}[name]]
    assert one["state"] == state
    assert word in one["next"]
    assert status == (1 if state == "fail" else 3)


@pytest.mark.parametrize(
    ("text", "state", "word"),
    [
        ("ro crashkernel=128M crashkernel=64M,cma quiet", "ok", "and 64 MiB of CMA"),
        ("crashkernel=1G,cma crashkernel=8M,cma", "warn", "and 8 MiB of CMA"),
        ("crashkernel=128M@64M,cma nocrashkernel=1G,cma crashkernel=1Q,cma", "warn", "128 MiB are reserved; "),
        ("crashkernel=999999999999G,cma", "warn", "128 MiB are reserved; "),
    ],
)
def test_memory_of_cma(text: str, state: str, word: str, fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The crash kernel also has it, for what is not loaded before the crash."""
    put(fedora, "/sys/kernel/kexec_crash_size", f"{128 * MIB}")
    put(fedora, "/proc/cmdline", f"{text}\n")
    _, found = examined(capsys, fedora)
    assert found["reservation"]["state"] == state
    assert word in found["reservation"]["what"]


def test_cma_does_not_hold_what_is_loaded(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(fedora, "/sys/kernel/kexec_crash_size", f"{32 * MIB}")
    put(fedora, "/proc/cmdline", "crashkernel=32M crashkernel=1G,cma\n")
    assert examined(capsys, fedora)[1]["reservation"]["state"] == "fail"


def test_commands_to_paste(flavour: str, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are shell commands without anything else."""
    for name, content in (("kexec_crash_size", "0"), ("kexec_crash_loaded", "0")):
        put(system, f"/sys/kernel/{name}", content)
    _, found = examined(capsys, system)
    commands = {name: one["command"] for name, one in found.items() if one["command"]}
    assert set(commands) >= {"reservation", "loaded", "collector"}
    assert "crashkernel=256M" in commands["reservation"]
    for name, command in commands.items():
        assert subprocess.run(["sh", "-nc", command], check=False).returncode == 0, command
        assert found[name]["next"].endswith(f": {command}")
    if flavour == "kdump-tools":
        file = put(system, "/grub.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="$X crashkernel=512M-:192M quiet"\n')
        edit = commands["reservation"].partition(" && ")[0].replace("/etc/default/grub.d/kdump-tools.cfg", str(file))
        subprocess.run(["sh", "-c", edit], check=True)
        assert file.read_text() == 'GRUB_CMDLINE_LINUX_DEFAULT="$X crashkernel=256M quiet"\n'


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("ID=debian\n", "apt install kdump-tools"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "apt install kdump-tools"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "dnf install kdump-utils || dnf install kexec-tools"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install kdump"),
        ("ID=arch\n", None),
    ],
)
def test_the_package_of_the_service(
    text: str, command: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "/etc/os-release", text)
    assert examined(capsys, tmp_path)[1]["service"]["command"] == command


@pytest.mark.parametrize("below", ["", "lvm"])
@pytest.mark.parametrize("keys", [None, "0", "1"])
def test_an_encrypted_target(below: str, keys: str | None, fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The crash kernel has no key, unless the kernel passes it on."""
    put(fedora, "/proc/mounts", "/dev/sda1 / xfs rw 0 0\n/dev/mapper/var /var xfs rw 0 0\n/dev/sdb /v xfs rw 0 0\n")
    put(fedora, "/dev/dm-0", "")
    put(fedora, "/dev/mapper/.keep", "")
    os.symlink("../dm-0", fedora / "dev/mapper/var")
    layer = "dm-1" if below else "dm-0"
    if below:
        put(fedora, "/sys/class/block/dm-0/dm/uuid", "LVM-abc\n")
        put(fedora, "/sys/class/block/dm-0/slaves/dm-1/.keep", "")
    put(fedora, f"/sys/class/block/{layer}/dm/uuid", "CRYPT-LUKS2-abc-luks-abc\n")
    put(fedora, f"/sys/class/block/{layer}/dm/name", "luks-abc\n")
    if keys is not None:
        put(fedora, "/sys/kernel/config/crash_dm_crypt_keys/count", f"{keys}\n")
    one = examined(capsys, fedora)[1]["encryption"]
    assert one["state"] == ("ok" if keys == "1" else "warn")
    assert "/dev/mapper/var is encrypted (luks-abc)" in one["what"]


@pytest.mark.parametrize(
    ("mounts", "state"),
    [
        ("/dev/sda1 / xfs rw 0 0\n", "ok"),
        ("/dev/sda1 / xfs rw 0 0\nhost:/export /var/crash nfs rw 0 0\n", "can't tell"),
        ("", "can't tell"),
    ],
)
def test_a_target_that_is_not_encrypted(
    mounts: str, state: str, fedora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(fedora, "/proc/mounts", mounts)
    assert examined(capsys, fedora)[1]["encryption"]["state"] == state


def test_block_devices_in_a_circle(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(fedora, "/proc/mounts", "/dev/sda / xfs rw 0 0\n")
    put(fedora, "/sys/class/block/sda/slaves/sda", "")
    assert examined(capsys, fedora)[1]["encryption"]["state"] == "ok"


def test_fadump(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A firmware-assisted dump needs no crash kernel, and has its own reservation."""
    put(fedora, "/sys/kernel/kexec_crash_loaded", "0")
    put(fedora, "/sys/kernel/kexec_crash_size", "0")
    put(fedora, "/sys/kernel/fadump/registered", "1")
    put(fedora, "/sys/kernel/fadump/mem_reserved", f"{512 * MIB}")
    _, found = examined(capsys, fedora)
    assert (found["loaded"]["state"], found["reservation"]["state"]) == ("ok", "ok")


def test_no_initramfs(flavour: str, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (system / PARTS[flavour][1].lstrip("/")).unlink()
    status, found = examined(capsys, system)
    assert (status, found["image"]["state"], found["reservation"]["state"]) == (1, "fail", "can't tell")
    assert RELEASE in found["image"]["what"]


def test_an_old_initramfs(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Older than the settings that are copied into it."""
    later = (fedora / PARTS["kdump-utils"][1].lstrip("/")).stat().st_mtime + 10
    os.utime(config(fedora, "kdump-utils"), (later, later))
    _, found = examined(capsys, fedora)
    assert (found["image"]["state"], found["image"]["command"]) == ("warn", "kdumpctl rebuild")


def test_the_crash_kernel_is_another_one(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The release in kdump-utils' configuration counts, not the running kernel."""
    put(fedora, "/etc/sysconfig/kdump", 'KDUMP_KERNELVER="5.14.0-1.el9"\n')
    _, found = examined(capsys, fedora)
    assert found["image"]["state"] == "fail"
    for path in PARTS["kdump-utils"]:
        there = fedora / path.lstrip("/")
        there.rename(there.with_name(there.name.replace(RELEASE, "5.14.0-1.el9")))
    _, found = examined(capsys, fedora)
    assert found["image"]["state"] != "fail"


def test_an_initramfs_for_another_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SUSE has one image, whose name has the kernel's release."""
    put(make(tmp_path, "suse"), "/var/lib/kdump/kernel-version", "5.14.21\n")
    _, found = examined(capsys, tmp_path)
    assert found["image"]["state"] == "warn"
    assert "5.14.21" in found["image"]["what"]


def test_more_memory_than_room(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By /proc/meminfo, which gives an upper bound only."""
    put(system, "/proc/meminfo", f"MemTotal: {10**14} kB\nMemFree: 1 kB\n")
    status, found = examined(capsys, system, "--quick")
    assert (status, found["room"]["state"]) == (3, "warn")
    assert "at most" in found["room"]["what"]
    assert "TiB" in found["room"]["what"]


def test_size_estimate_by_meminfo(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1000 kB without the free, cached and anonymous ones, plus struct pages."""
    _, found = examined(capsys, fedora)
    assert f"at most {(1000 - 500 - 110 - 200 + 1000 / 64):.1f} KiB" in found["room"]["what"]


def test_the_dump_size_is_estimated_from_memory(
    fedora: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By /proc/kcore, simulated by a dump of a real kernel's memory."""
    put(fedora, "/proc/.keep", "")
    os.symlink("/kcore", fedora / "proc" / "kcore")
    os.link(dump("demo.elf", scratch), fedora / "kcore")
    _, found = examined(capsys, fedora)
    assert found["room"]["state"] == "ok"
    assert "about 5.5 MiB" in found["room"]["what"]


@pytest.mark.parametrize(
    ("line", "state", "word"),
    [
        ("ssh root@elsewhere", "can't tell", "another machine"),
        ("nfs elsewhere:/export", "can't tell", "another machine"),
        ("ext4 UUID=1234", "can't tell", "not mounted"),
        ("ext4 LABEL=crash", "warn", "/mnt/a b/var/crash has"),
        ("raw /dev/sdz9", "fail", "/dev/sdz9 does not exist"),
        ("raw /dev/sdb1", "ok", "/dev/sdb1 has 500.0 KiB"),
        ("path ../../../../..", "warn", "has"),
    ],
)
def test_where_dumps_go(line: str, state: str, word: str, fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of target of kdump.conf; a path does not lead out of the system."""
    put(fedora, "/proc/mounts", "proc /proc proc rw 0 0\n/dev/sda3 /mnt/a\\040b ext4 rw 0 0\n/dev/sdc / xfs rw 0 0\n")
    put(fedora, "/dev/sda3", "")
    put(fedora, "/dev/disk/by-label/.keep", "")
    os.symlink("../../sda3", fedora / "dev/disk/by-label/crash")
    put(fedora, "/sys/class/block/sdb1/size", "1000\n")
    if state == "warn":
        put(fedora, "/proc/meminfo", f"MemTotal: {10**14} kB\n")
    with config(fedora, "kdump-utils").open("a") as file:
        file.write(line + "\n")
    _, found = examined(capsys, fedora)
    assert found["room"]["state"] == state
    assert word in found["room"]["what"]


RESERVED, OSRELEASE = "/sys/kernel/kexec_crash_size", "/proc/sys/kernel/osrelease"
HOSTILE: dict[str, Any] = {
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "one endless line": lambda path: path.write_text("core_collector MAKEDUMP_ARGS=-d" + "9" * 100000),
    "quotes": lambda path: path.write_text('KDUMP_SAVEDIR=\'\nMAKEDUMP_ARGS="$(reboot)"\npath "\nraw\nssh\n'),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["config", "/proc/meminfo", "/proc/mounts", "/proc/kcore", RESERVED, OSRELEASE])
def test_hostile_system_files(
    kind: str, name: str, flavour: str, system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any kind of file in place of a configuration file: an answer, in time, and no traceback."""
    path = config(system, flavour) if name == "config" else system / name.lstrip("/")
    path.unlink(missing_ok=True)
    HOSTILE[kind](path)
    status, found = examined(capsys, system)
    assert status in (1, 3)
    assert len(found) > 5


@pytest.mark.parametrize("flavour", ["kdump-utils", "kdump-tools"], indirect=True)
def test_the_collector(flavour: str, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not vmsieve, then vmsieve, then with an unsupported option."""
    assert examined(capsys, system)[1]["collector"]["state"] == "warn"
    assert main(["install-kdump", "--root", str(system), "--apply"]) == 0
    assert examined(capsys, system)[1]["collector"]["state"] == "ok"
    path = config(system, flavour)
    path.write_text(path.read_text().replace("-d 31", "-d 99") + 'MAKEDUMP_ARGS="-d 99"\n')
    status, found = examined(capsys, system)
    assert (status, found["collector"]["state"]) == (1, "fail")
    assert "0 to 31" in found["collector"]["what"]


def test_vmsieve_in_the_initramfs(fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Configured but not in the image; in the image; in the image again, with an older initramfs."""
    assert main(["install-kdump", "--root", str(fedora), "--apply"]) == 0
    image = fedora / PARTS["kdump-utils"][1].lstrip("/")
    os.utime(image, (1e10, 1e10))
    assert examined(capsys, fedora)[1]["image"]["state"] == "fail"
    manifest = put(fedora, "/var/lib/vmsieve/kdump-image/usr/lib/vmsieve/manifest.json", "{}")
    assert examined(capsys, fedora)[1]["image"]["state"] == "ok"
    os.utime(manifest, (2e10, 2e10))
    assert examined(capsys, fedora)[1]["image"]["state"] == "warn"


def test_no_such_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--root", str(tmp_path / "nothing")]) == 2
    assert "no such directory" in capsys.readouterr().err
