"""The command line with random headers, VMCOREINFO and structures."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, PAGE, Machine
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


def quietly(*words: object, capsys: pytest.CaptureFixture[str]) -> int:
    """The exit status of a run within this process; an uncaught exception fails the test."""
    status = main([str(word) for word in words])
    err = capsys.readouterr().err
    assert status in range(5)
    if status == 1:
        assert err.count("\n") == 1, err
    return status


ODD = [0, 1, 7, 4096, 0xFFFF, 1 << 31, 1 << 32, 1 << 40, 1 << 52, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1]


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(8))
def test_random_elf_headers(seed: int, built: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random fields of the ELF and program headers: outside the file, wrapping, overlapping, huge.

    Every output can be opened, and never has another content for a page than its source.
    """
    dice = random.Random(seed)
    path, out = built.write(tmp_path / "core"), tmp_path / "out"
    head = path.read_bytes()[: 64 + 4 * 56]
    for _ in range(30):
        odd = bytearray(head)
        for _ in range(dice.choice([1, 1, 2, 5])):
            segment = 64 + 56 * dice.randrange(4)
            place, code = dice.choice([
                (segment + dice.choice([8, 16, 24, 32, 40, 48]), "<Q"), (segment, "<I"),
                (dice.choice([24, 32, 40]), "<Q"), (dice.choice([16, 18, 52, 54, 56, 58, 60, 62]), "<H"),
            ])  # fmt: skip
            value = dice.choice([*ODD, dice.getrandbits(64), struct.unpack_from("<Q", odd, 64 + 56 + 24)[0] + PAGE])
            struct.pack_into(code, odd, place, value % (1 << 8 * struct.calcsize(code)))
        with path.open("r+b") as file:
            file.write(odd)
        status = quietly("dump", "-f", "-q", "-d", dice.choice([0, 1, 31]), path, out, capsys=capsys)
        if status != 1:
            assert quietly("verify", path, out, capsys=capsys) in (0, 4)
        assert quietly("info", path, capsys=capsys) in (0, 1, 4)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(6))
def test_random_kdump_headers(
    seed: int, zlib_dump: Path, built: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for the main header and sub-header of a kdump-compressed file."""
    dice = random.Random(seed)
    whole = zlib_dump.read_bytes()
    path, out = tmp_path / "odd", tmp_path / "out"
    for _ in range(25):
        odd = bytearray(whole)
        for _ in range(dice.choice([1, 1, 2, 5])):
            place, code = dice.choice([
                (dice.choice([8, 424, 428, 432, 436, 440, 460]), "<I"), (PAGE + 8 * dice.randrange(13), "<Q"),
                (dice.choice([8, 416, 424, 428, 432]), "<Q"),
            ])  # fmt: skip
            struct.pack_into(
                code, odd, place, dice.choice([*ODD, dice.getrandbits(64)]) % (1 << 8 * struct.calcsize(code))
            )
        path.write_bytes(odd)
        quietly("dump", "-f", "-q", "-d", 31, path, out, capsys=capsys)
        quietly("info", path, capsys=capsys)
        quietly("dmesg", path, capsys=capsys)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(4))
def test_random_vmcoreinfo(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kernel keys with random values, or missing: less may be known; no uncaught exception and no hang."""
    dice = random.Random(seed)
    odd = ["", "-1", "0x10", "abc", "1e9", "9" * 23, "-9223372036854775808", "ffff888001407000", "ffffea0000000000"]
    for _ in range(12):
        built = Machine(LAYOUTS[dice.choice(sorted(LAYOUTS))], EVERYTHING)
        for key in dice.sample(sorted(built.keys), dice.choice([1, 1, 2, 6])):
            built.keys[key] = dice.choice([*odd, *map(str, ODD), str(dice.getrandbits(dice.choice([4, 8, 16, 32])))])
        core = built.write(tmp_path / "core")
        level = dice.randrange(32)
        assert quietly("dump", "-f", "-q", "-d", level, core, tmp_path / "out", capsys=capsys) in (0, 3)
        assert quietly("classes", core, capsys=capsys) in (0, 3)
        assert quietly("info", core, capsys=capsys) == 0
        assert quietly("dmesg", core, tmp_path / "log", capsys=capsys) == 1
