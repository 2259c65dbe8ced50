"""The ``aot`` backend: machine code built with the package, called through ctypes."""

from __future__ import annotations

import ctypes
import os

from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final, cast

if TYPE_CHECKING:
    from vmsieve.formats.compiler import Loop

#: Flags of x86-64-v2 and -v3 (System V ABI). Debian also runs on older processors, and QEMU's default is one:
#: x86_64-v1 serves them. The kernel lists avx and avx2 only if it saves their registers; abm includes lzcnt.
_X86_64_V2: Final = {"cx16", "lahf_lm", "popcnt", "ssse3", "sse4_1", "sse4_2"}
_X86_64_V3: Final = _X86_64_V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}

#: Exists since Linux 3.4; a crash kernel's initramfs may not have mounted /sys.
_MODALIAS: Final = "/sys/devices/system/cpu/modalias"
#: Number of each of these features (``arch/x86/include/asm/cpufeatures.h``), as the modalias of processors has it.
_NUMBERS: Final = {
    "abm": "00C5", "avx": "009C", "avx2": "0125", "bmi1": "0123", "bmi2": "0128", "cx16": "008D", "f16c": "009D",
    "fma": "008C", "lahf_lm": "00C0", "movbe": "0096", "popcnt": "0097", "sse4_1": "0093", "sse4_2": "0094",
    "ssse3": "0089", "xsave": "009A",
}  # fmt: skip

_library: ctypes.CDLL | None = None


def object_path() -> str:
    """Path of this machine's machine code; it need not exist."""
    machine = os.uname().machine
    if machine == "x86_64":
        flags = _processor_flags()
        machine += "-v3" if flags >= _X86_64_V3 else "" if flags >= _X86_64_V2 else "-v1"
    return os.path.join(os.path.dirname(__file__), "objects", f"{machine}.so")


def _processor_flags() -> set[str]:
    """Features of the processor, if they tell which machine code it runs; empty if the kernel does not list them."""
    try:
        with open(_MODALIAS, encoding="utf-8") as file:
            numbers = file.read().rpartition("feature:")[2].strip().split(",")
        return {name for name, number in _NUMBERS.items() if number in numbers}
    except (OSError, ValueError):
        return _listed_flags()


def _listed_flags() -> set[str]:
    """Features of the first processor; empty if the kernel does not list them.

    Linux 4.15 to 5.17 interrupt every processor when the file is opened, and sleep for 10 ms.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("flags"):
                    return set(line.partition(":")[2].split())
    except OSError:
        pass
    return set()


def available() -> bool:
    """True if this interpreter can load machine code for this machine."""
    return _load() is not None


def _load() -> ctypes.CDLL | None:
    global _library  # noqa: PLW0603 - one mapping of the code serves the process
    if _library is None:
        try:
            path = object_path()
            if os.path.exists(os.path.join(os.path.dirname(path), "digest")):
                from vmsieve.formats.compiler.checkout import demand_fresh

                demand_fresh(os.path.dirname(path))
            _library = ctypes.CDLL(path)
        except OSError:  # missing, or a 32-bit interpreter on a 64-bit kernel
            return None
    return _library


def bind(a_loop: Loop) -> Callable[..., int]:
    """Bind ``a_loop`` to a foreign function; ctypes releases the GIL for the whole call."""
    library = _load()
    if library is None:
        raise OSError(f"no machine code can be loaded from {object_path()}")
    function = library[a_loop.name]
    function.argtypes = [ctypes.c_uint64] * a_loop.arity
    function.restype = ctypes.c_uint64
    return cast("Callable[..., int]", function)
