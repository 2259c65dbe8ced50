"""The kernel's identity: its utsname and crash time."""

from __future__ import annotations

import pytest

from tests.build.kernel import FakeKernel
from vmsieve.filters.linux.identity import identify
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo


def test_the_name_is_read_from_memory() -> None:
    kernel = FakeKernel(release="6.1.0-test")
    kernel.keys["CRASHTIME"] = "1700000000"
    found = identify(kernel.memory(), kernel.info(), "x86_64")
    assert found.utsname == ("Linux", "host", "6.1.0-test", "#1 SMP", "x86_64", "(none)")
    assert found.crash_time == 1700000000
    assert found.notes == ()


def test_the_old_symbol_serves() -> None:
    kernel = FakeKernel()
    kernel.keys["SYMBOL(system_utsname)"] = kernel.keys.pop("SYMBOL(init_uts_ns)")
    del kernel.keys["OFFSET(uts_namespace.name)"]
    assert identify(kernel.memory(), kernel.info(), None).utsname[1] == "host"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SYMBOL(init_uts_ns)", None),
        ("SYMBOL(init_uts_ns)", "ffffffff81000000"),
        ("SYMBOL(init_uts_ns)", "ffffc90000000000"),
        ("SYMBOL(init_uts_ns)", "ffff888020000000"),
        ("OFFSET(uts_namespace.name)", "65"),
        ("OFFSET(uts_namespace.name)", "18446744073709551615"),
        ("OSRELEASE", "6.2.0"),
    ],
)
def test_implausible_names_are_replaced_by_vmcoreinfo_with_a_remark(key: str, value: str | None) -> None:
    kernel = FakeKernel()
    del kernel.keys[key]
    if value is not None:
        kernel.keys[key] = value
    found = identify(kernel.memory(), kernel.info(), "x86_64")
    assert found.utsname == ("Linux", "", kernel.keys.get("OSRELEASE", ""), "", "x86_64", "")
    assert len(found.notes) == 1
    assert "VMCOREINFO" in found.notes[0]


def test_a_name_without_end_is_no_name() -> None:
    kernel = FakeKernel()
    vaddr = int(kernel.keys["SYMBOL(init_uts_ns)"], 16)
    kernel.source.write(kernel.image_physical(vaddr) + 65, b"x" * 65)
    assert identify(kernel.memory(), kernel.info(), "x86_64").utsname[1] == ""


def test_names_of_any_bytes_are_shown() -> None:
    kernel = FakeKernel()
    vaddr = int(kernel.keys["SYMBOL(init_uts_ns)"], 16)
    kernel.source.write(kernel.image_physical(vaddr) + 65, b"\xff\xc3\xa9\0")
    assert identify(kernel.memory(), kernel.info(), "x86_64").utsname[1] == "\ufffdé"


def test_without_memory_vmcoreinfo_serves() -> None:
    found = identify(None, VmcoreInfo(b"OSRELEASE=5.4.0\nCRASHTIME=7\n"), None)
    assert found.utsname == ("Linux", "", "5.4.0", "", "", "")
    assert found.crash_time == 7
