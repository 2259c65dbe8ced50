"""The right machine code is loaded, and the code for old processors runs on them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dumps import ROOT
from vmsieve.formats import compiler as loops
from vmsieve.formats.compiler import native_backend
from vmsieve.formats.errors import UsageError

V2 = "fpu sse sse2 cx16 lahf_lm popcnt ssse3 sse4_1 sse4_2 avx"
V3 = f"{V2} xsave avx2 bmi1 bmi2 f16c fma abm movbe avx512f"
#: Flags, and the object that suits them. The kernel lists no AVX if it is told not to use XSAVE.
PROCESSORS = [
    (V3, "x86_64-v3"),
    *[(" ".join(f for f in V3.split() if f != lacking), "x86_64") for lacking in ("avx2", "bmi2", "abm", "movbe")],
    (V2, "x86_64"),
    (V3.replace("popcnt", ""), "x86_64-v1"),
    ("fpu sse sse2 cx16", "x86_64-v1"),
    ("", "x86_64-v1"),
]


@pytest.mark.parametrize(("flags", "name"), PROCESSORS)
def test_old_processors_get_code_they_can_run(monkeypatch: pytest.MonkeyPatch, flags: str, name: str) -> None:
    """Code for x86-64-v3 or -v2 ends with SIGILL on an older processor, such as QEMU's default."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    monkeypatch.setattr(native_backend, "_processor_flags", lambda: set(flags.split()))
    assert Path(native_backend.object_path()).name == f"{name}.so"


def test_features_are_read_from_either_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By number, without interrupting every processor; by name where /sys is not mounted."""
    modalias = tmp_path / "modalias"
    modalias.write_text("cpu:type:x86,ven0002fam0019mod0011:feature:,0000,0089,008D,0093,0094,0097,00C0,012A\n")
    monkeypatch.setattr(native_backend, "_MODALIAS", str(modalias))
    assert native_backend._processor_flags() == native_backend._X86_64_V2
    monkeypatch.setattr(native_backend, "_MODALIAS", str(tmp_path / "none"))
    assert native_backend._processor_flags() == native_backend._listed_flags()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other machines have one object")
def test_the_numbers_of_features_are_the_kernels() -> None:
    """Both files of this machine's kernel agree on every feature that matters."""
    if not os.path.exists(native_backend._MODALIAS):
        pytest.skip("/sys is not mounted")
    assert set(native_backend._NUMBERS) == native_backend._X86_64_V3
    assert native_backend._processor_flags() == native_backend._listed_flags() & set(native_backend._NUMBERS)


def test_an_object_that_does_not_load_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A 32-bit interpreter on a 64-bit kernel falls back instead of failing."""
    alien = tmp_path / "alien.so"
    alien.write_bytes(b"\x7fELF\x01 not for us")
    monkeypatch.setattr(native_backend, "_library", None)
    monkeypatch.setattr(native_backend, "object_path", lambda: str(alien))
    assert not native_backend.available()


def test_an_image_without_loadable_machine_code_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another backend: a message, not a Python traceback."""
    monkeypatch.delattr(loops, "dialect", raising=False)
    monkeypatch.setitem(sys.modules, "vmsieve.formats.compiler.dialect", None)
    with pytest.raises(UsageError, match="no machine code for this machine"):
        loops.bind(loops.Loop(lambda: 0), "python")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the code is for x86_64")
@pytest.mark.parametrize("name", ["x86_64-v1", "x86_64"])
def test_the_code_for_old_processors_loads_and_runs(name: str) -> None:
    """The library has all loops, and a called one gives the right result."""
    library = ctypes.CDLL(str(Path(native_backend.object_path()).with_name(f"{name}.so")))
    library.count_bits.restype = ctypes.c_uint64
    library.count_bits.argtypes = [ctypes.c_uint64] * 2
    bitmap = bytearray(b"\x0f\xff\x01" * 24)
    assert library.count_bits(ctypes.addressof(ctypes.c_char.from_buffer(bitmap)), len(bitmap)) == 13 * 24


#: QEMU's processors of 2003 and 2008, the flags of the kernel there, and the object.
EMULATED = [("qemu64,-ssse3,-sse4.1,-sse4.2,-popcnt", "", "x86_64-v1"), ("Nehalem", V2, "x86_64")]


@pytest.mark.oracle
@pytest.mark.parametrize(("processor", "flags", "name"), EMULATED)
def test_no_instruction_of_a_newer_processor_is_in_it(processor: str, flags: str, name: str) -> None:
    """QEMU emulates an old processor, which packs and unpacks pages."""
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("qemu-user for x86_64 is not installed")
    program = "from vmsieve.formats.compiler import native_backend as n\n"
    program += f"n._processor_flags = lambda: set({flags!r}.split())\n"  # else the host's
    program += "from tests.formats.compiler.native_tour import tour; tour(n)"
    run = subprocess.run(
        [qemu, "-cpu", processor, sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "VMSIEVE_KERNELS": "aot"},
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert f"{name}.so" in run.stdout
