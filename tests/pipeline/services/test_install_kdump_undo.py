"""``vmsieve install-kdump --undo`` after changes by others or failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.build.kdump_system import TEXTS, config
from tests.pipeline.services.install_kit import MODULE, OURS, install, snapshot
from vmsieve.formats.errors import OutputError
from vmsieve.pipeline.process.signals import Interrupted
from vmsieve.pipeline.services.system import System
from vmsieve.pipeline.services.system_files import put

if TYPE_CHECKING:
    from pathlib import Path


JOURNAL = "var/lib/vmsieve/install-kdump/journal.json"


def test_changes_of_others_stay(fedora: Path) -> None:
    """Later edits elsewhere in the file are kept; only vmsieve's lines are reverted."""
    path = config(fedora, "kdump-utils")
    install(fedora, "--apply")
    path.write_text(path.read_text().replace("/var/crash", "/srv/crash") + "final_action poweroff\n")
    install(fedora, "--apply", "--options", "-z -d 31")
    assert f"{OURS} -z -d 31\n" in path.read_text()
    install(fedora, "--undo")
    assert path.read_text() == TEXTS["kdump-utils"].replace("/var/crash", "/srv/crash") + "final_action poweroff\n"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("etc/kdump.conf", lambda text: text.replace(OURS, OURS + " -z")),
        ("etc/kdump.conf", lambda text: text.replace("# vmsieve install-kdump: end\n", "")),
        ("etc/kdump.conf", lambda text: text * 2),
        (f"{MODULE}/module-setup.sh", lambda text: text + "# mine\n"),
    ],
)
def test_changes_that_can_not_be_undone_stay(
    name: str, change: object, fedora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of vmsieve were changed since: nothing is undone; the error names the file and the original's copy."""
    assert callable(change)
    install(fedora, "--apply")
    (fedora / name).write_text(change((fedora / name).read_text()))
    before = snapshot(fedora)
    install(fedora, "--undo", status=2)
    said = capsys.readouterr().err
    assert f"/{name}: " in said
    assert ("original/etc+kdump.conf" if name.startswith("etc") else "by hand") in said
    assert snapshot(fedora) == before


def test_removed_files_need_no_undo(fedora: Path) -> None:
    """The package was removed with its files, or its settings were replaced: nothing needs undoing in them."""
    install(fedora, "--apply")
    config(fedora, "kdump-utils").write_text("path /new\n")
    (fedora / MODULE / "module-setup.sh").unlink()
    install(fedora, "--undo")
    assert config(fedora, "kdump-utils").read_text() == "path /new\n"
    assert not (fedora / "var/lib/vmsieve").exists()
    assert not (fedora / "usr/lib/dracut").exists()


def fail_after(enough: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail after so many files were written."""
    written: list[str] = []

    def fail(system: System, name: str, *more: Any) -> None:
        if len(written) == enough:
            raise error
        written.append(name)
        put(system, name, *more)

    monkeypatch.setattr("vmsieve.pipeline.services.install.put", fail)


@pytest.mark.parametrize("enough", [0, 1])
def test_interrupted(enough: int, fedora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails after any number of files: the changes can be undone, or applied again."""
    before = snapshot(fedora)
    for then in ("--undo", "--apply"):
        with monkeypatch.context() as patched:
            fail_after(enough, Interrupted("the power failed"), patched)
            install(fedora, "--apply", status=1)
        install(fedora, then)
    install(fedora, "--undo")
    assert snapshot(fedora) == before


@pytest.mark.parametrize("enough", [0, 1])
def test_nowhere_to_write(enough: int, fedora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only or full file system, as /usr may be: changes made until then are reverted at once."""
    before = snapshot(fedora)
    fail_after(enough, OutputError("Read-only file system"), monkeypatch)
    install(fedora, "--apply", status=1)
    assert snapshot(fedora) == before


def test_permissions_and_links_are_kept(fedora: Path) -> None:
    """The settings are a link to a root-only file: link and permissions stay."""
    path = config(fedora, "kdump-utils")
    path.rename(fedora / "etc/real.conf")
    (fedora / "etc/real.conf").chmod(0o640)
    path.symlink_to("/etc/real.conf")
    before = snapshot(fedora)
    install(fedora, "--apply")
    assert path.is_symlink()
    assert (fedora / "etc/real.conf").stat().st_mode & 0o777 == 0o640
    assert OURS in (fedora / "etc/real.conf").read_text()
    install(fedora, "--undo")
    assert snapshot(fedora) == before


def test_a_system_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    """Links of a system are resolved within it, absolute ones and ``..`` too."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("no")
    (root / "etc/up").symlink_to("../../../secret")
    (root / "etc/abs").symlink_to(str(tmp_path / "secret"))
    system = System(str(root))
    assert system.resolve("/etc/up") == str(root / "secret")
    assert system.text("/etc/up") is None
    assert system.text("/etc/abs") is None
    assert system.resolve("/../../x") == str(root / "x")


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 2, "files": []}', b"\xff" * 100, b"[" * 100000,
     b'{"version": 1, "flavour": 1, "folders": [], "files": []}',
     b'{"version": 1, "flavour": "suse", "folders": [], "files": [{"path": "/x"}]}'],
)  # fmt: skip
def test_a_damaged_journal(damage: bytes, fedora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported, and nothing is changed."""
    install(fedora, "--apply")
    (fedora / JOURNAL).write_bytes(damage)
    before = snapshot(fedora)
    for word in ("--undo", "--apply"):
        install(fedora, word, status=2)
        assert "journal" in capsys.readouterr().err
    assert snapshot(fedora) == before
