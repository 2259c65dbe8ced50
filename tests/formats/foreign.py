"""Runs machine code of other architectures: qemu-user, and programs made of the loops and a stub.

A program is a static ELF executable: the loops' code as shipped with its writable data, a stub, the entry
point, and a piece of memory that already holds all arguments. The stub makes the calls one after another,
writes the memory to its standard output and ends. It needs neither a compiler nor a C library of the machine.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from vmsieve.formats.compiler import native_backend

_CODE, _STUB, _SYSTEM, _MEMORY = 0x1000_0000, 0x1800_0000, 0x1C00_0000, 0x2000_0000
_MOST: Final = 12  # arguments that the stub passes; a callee ignores what it has no parameter for
_CALL: Final = 8 * (_MOST + 2)  # a call's record: function, arguments, result
_PAGE: Final = 0x10000


@dataclass(frozen=True)
class _System:
    """A machine: its ELF machine number and flags, the system calls write and exit_group, and code for a system call.

    ``code`` is a function of four arguments, the call's number and its own three: it moves them to where the system
    wants them, makes the call, and returns what the system did. Assembled by hand: llvmlite assembles for no machine
    but its own.
    """

    elf: int
    flags: int
    write: int
    leave: int
    code: str


#: Processors of QEMU that can run the code for x86-64 and nothing newer; the last has all that QEMU knows.
_PROCESSORS: Final = {"x86_64-v1": "qemu64", "x86_64": "Nehalem", "x86_64-v3": "max"}
_FIRST_WITH_AVX2: Final = (7, 2)  # version of QEMU

_SYSTEMS: Final = {
    **dict.fromkeys(_PROCESSORS, _System(62, 0, 1, 231, "89f8 4889f7 4889d6 4889ca 0f05 c3")),
    "aarch64": _System(183, 0, 64, 94, "e80300aa e00301aa e10302aa e20303aa 010000d4 c0035fd6"),
    "ppc64le": _System(21, 2, 4, 234, "781b607c 7823837c 782ba47c 7833c57c 02000044 2000804e"),
    "s390x": _System(22, 0, 4, 248, "b9040012 b9040023 b9040034 b9040045 0a00 07fe"),
    "riscv64": _System(243, 5, 64, 94, "93080500 13850500 93050600 13860600 73000000 67800000"),
    "loongarch64": _System(258, 0x43, 64, 94, "8b001500 a4001500 c5001500 e6001500 00002b00 2000004c"),
}
MACHINES: Final = tuple(_SYSTEMS)


def emulator(machine: str) -> list[str]:
    """The emulator's command; skips the test without one."""
    options = ["-cpu", _PROCESSORS[machine]] if machine in _PROCESSORS else []
    family = machine.partition("-")[0]
    for name in (f"qemu-{family}-static", f"qemu-{family}"):
        path = shutil.which(name)
        if path is not None:
            if machine == "x86_64-v3" and _version(path) < _FIRST_WITH_AVX2:
                pytest.skip("this qemu-user has no AVX2")
            return [path, *options]
    pytest.skip(f"qemu-user for {machine} is not installed")


@functools.cache
def _version(path: str) -> tuple[int, ...]:
    """The version of an emulator."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def shipped(machine: str) -> Program:
    """A program for a machine, with the code that the package ships for it; skips the test where it can't run."""
    emulator(machine)
    path = Path(native_backend.object_path()).with_name(f"{machine}.so")
    if not path.exists():
        pytest.skip(f"no machine code was built for {machine}")
    return Program(machine, path.read_bytes())


class Program:
    """Calls to make on another machine. Data first, then calls, then :meth:`run`."""

    def __init__(self, machine: str, shared_object: bytes) -> None:
        self.machine = machine
        self.order = ">" if machine == "s390x" else "<"
        self._code, self._functions, self._own = _loaded(shared_object)
        self._calls: list[bytes] = []
        self._data = bytearray()

    def place(self, data: bytes) -> int:
        """Put ``data`` into the program's memory, aligned to 8 bytes; returns its address there."""
        at = _MEMORY + _PAGE + len(self._data)
        self._data += data + bytes(-len(data) % 8)
        return at

    def address(self, loop: str) -> int:
        """The address of ``loop``."""
        return _CODE + self._functions[loop]

    def call(self, loop: str, *arguments: int) -> None:
        """Call ``loop``, after all earlier calls."""
        words = [self.address(loop), *arguments, *[0] * (_MOST - len(arguments)), 0]
        self._calls.append(struct.pack(f"{self.order}{len(words)}Q", *words))

    def run(self, folder: Path) -> Result:
        """Run the program under the emulator."""
        calls = struct.pack(self.order + "Q", len(self._calls)) + b"".join(self._calls)
        assert len(calls) <= _PAGE, "too many calls"
        memory = calls + bytes(_PAGE - len(calls)) + bytes(self._data)
        stub, entries, _ = _loaded(_stub(self.machine, len(memory)))
        start, system = _STUB + entries["start"], bytes.fromhex(_SYSTEMS[self.machine].code)
        if self.machine in _PROCESSORS:
            # A function finds the stack as a call leaves it, eight bytes off what a program starts with.
            call = struct.pack("<Bi", 0xE8, start - (_SYSTEM + len(system) + 5))
            start, system = _SYSTEM + len(system), system + call
        path = folder / f"program.{self.machine}"
        own, size = self._own
        segments = [
            (_CODE, 5, self._code),
            (_CODE + own, 6, bytes(size)),
            (_STUB, 5, stub),
            (_SYSTEM, 5, system),
            (_MEMORY, 6, memory),
        ]
        path.write_bytes(_executable(self.machine, self.order, start, segments))
        path.chmod(0o755)
        done = subprocess.run([*emulator(self.machine), str(path)], capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, f"{done.returncode}: {done.stderr.decode(errors='replace')}"
        assert len(done.stdout) == len(memory)
        return Result(self.order, len(self._calls), done.stdout)


@dataclass(frozen=True)
class Result:
    """A program's memory when it ended."""

    order: str
    count: int
    memory: bytes

    @property
    def results(self) -> list[int]:
        """Results of the calls."""
        return [struct.unpack_from(self.order + "Q", self.memory, (i + 1) * _CALL)[0] for i in range(self.count)]

    def at(self, address: int, size: int) -> bytes:
        """Bytes at an address that :meth:`Program.place` gave."""
        start = address - _MEMORY
        return self.memory[start : start + size]


def _loaded(shared_object: bytes) -> tuple[bytes, dict[str, int], tuple[int, int]]:
    """The loaded code of a shared object, the addresses of its functions, and its writable pages: place and size."""
    from elftools.elf.elffile import ELFFile

    elf: Any = ELFFile(io.BytesIO(shared_object))
    segments = list(elf.iter_segments())
    code = next(s for s in segments if s["p_type"] == "PT_LOAD" and s["p_flags"] == 5)
    dynamic = next(s for s in segments if s["p_type"] == "PT_DYNAMIC")
    own = next(s for s in segments if s["p_type"] == "PT_LOAD" and s["p_flags"] == 6)
    first = own["p_vaddr"] // _PAGE * _PAGE
    data, order = code.data(), "<" if elf.little_endian else ">"
    assert (code["p_vaddr"], code["p_offset"]) == (0, 0)
    tags = {tag.entry.d_tag: tag.entry.d_val for tag in dynamic.iter_tags()}
    functions = {}
    # The names follow the symbols.
    for at in range(tags["DT_SYMTAB"] + 24, tags["DT_STRTAB"] - 23, 24):
        name, _, _, _, value, _ = struct.unpack_from(order + "IBBHQQ", data, at)
        start = tags["DT_STRTAB"] + name
        functions[data[start : data.index(b"\0", start)].decode()] = value
    return data, functions, (first, own["p_vaddr"] + own["p_memsz"] - first)


def _stub(machine: str, size: int) -> bytes:
    """A shared object with the function ``start``, made like the loops' own."""
    os.environ["NUMBA_OPT"] = "0"
    import llvmlite.binding as ll

    from vmsieve.formats.compiler import linker, lowering

    ll.initialize_all_targets()
    ll.initialize_all_asmprinters()
    target = next(t for t in lowering.TARGETS if t.name == machine)
    made = ll.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=1, reloc="pic", codemodel="default", jit=False
    )
    module = ll.parse_assembly(_stub_source(_SYSTEMS[machine], size))
    module.triple, module.data_layout = target.triple, str(made.target_data)
    return linker.shared_object(made.emit_object(module), ["start"])


def _stub_source(system: _System, size: int) -> str:
    system_call, loads, names = f"inttoptr (i64 {_SYSTEM} to ptr)", [], []
    for i in range(_MOST + 1):
        loads.append(f"  %p{i} = getelementptr i64, ptr %record, i64 {i}\n  %v{i} = load i64, ptr %p{i}")
        names.append(f"i64 %v{i}")
    return f"""
define void @start() nounwind {{
entry:
  %memory = inttoptr i64 {_MEMORY} to ptr
  %count = load i64, ptr %memory
  br label %check
check:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %end
body:
  %offset = mul i64 %i, {_CALL}
  %start = add i64 %offset, {_MEMORY + 8}
  %record = inttoptr i64 %start to ptr
{chr(10).join(loads)}
  %function = inttoptr i64 %v0 to ptr
  %result = call i64 %function({", ".join(names[1:])})
  %place = getelementptr i64, ptr %record, i64 {_MOST + 1}
  store i64 %result, ptr %place
  %next = add i64 %i, 1
  br label %check
end:
  br label %write
write:
  %done = phi i64 [ 0, %end ], [ %sum, %write ]
  %from = add i64 %done, {_MEMORY}
  %left = sub i64 {size}, %done
  %got = call i64 {system_call}(i64 {system.write}, i64 1, i64 %from, i64 %left)
  %sum = add i64 %done, %got
  %short = icmp ult i64 %sum, {size}
  br i1 %short, label %write, label %leave
leave:
  %gone = call i64 {system_call}(i64 {system.leave}, i64 0, i64 0, i64 0)
  unreachable
}}
"""


def _executable(machine: str, order: str, entry: int, segments: list[tuple[int, int, bytes]]) -> bytes:
    system = _SYSTEMS[machine]
    identity = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    out = bytearray(
        identity
        + struct.pack(
            order + "HHIQQQIHHHHHH", 2, system.elf, 1, entry, 64, 0, system.flags, 64, 56, len(segments), 64, 0, 0
        )
    )
    at = _PAGE
    for address, access, data in segments:
        out += struct.pack(order + "IIQQQQQQ", 1, access, at, address, address, len(data), len(data), _PAGE)
        at += -(-len(data) // _PAGE) * _PAGE
    for _, _, data in segments:
        out += bytes(-len(out) % _PAGE) + data
    return bytes(out)
