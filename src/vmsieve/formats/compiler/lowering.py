"""The build: lower every loop to machine code for every target; needs numba and llvmlite.

numba emits LLVM code per loop; llvmlite joins it, optimises it for the target and emits an object file;
:mod:`~vmsieve.formats.compiler.linker` makes a shared object. Neither a C compiler nor a linker is needed, and one
machine builds for all.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from dataclasses import dataclass

from vmsieve.formats.compiler import PACKAGES, Loop, linker
from vmsieve.formats.compiler.checkout import DIGEST, is_fresh, source_digest
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A machine that loops are lowered for."""

    #: Of the shared object: ``os.uname().machine`` there, plus the suffix that
    #: :mod:`~vmsieve.formats.compiler.native_backend` appends for newer and older processors.
    name: str
    triple: str  #: LLVM's name.
    cpu: str  #: The oldest processor supported.
    features: str = ""  #: LLVM feature string on top of ``cpu``.
    big_endian: bool = False
    #: Loops are vectorised. Vector constants need a data section, so only where the linker knows its relocations.
    vector: bool = False
    #: LLVM's code model. ``medium`` on ppc64le reaches data without a table that ld.so would have to relocate.
    model: str = "default"


TARGETS: Final = (
    Target("x86_64-v3", "x86_64-unknown-linux-gnu", "x86-64-v3", vector=True),
    Target("x86_64", "x86_64-unknown-linux-gnu", "x86-64-v2", vector=True),
    Target("x86_64-v1", "x86_64-unknown-linux-gnu", "x86-64", vector=True),  # also QEMU's default processor
    Target("aarch64", "aarch64-unknown-linux-gnu", "generic"),
    Target("ppc64le", "powerpc64le-unknown-linux-gnu", "pwr8", model="medium"),
    Target("s390x", "s390x-unknown-linux-gnu", "z13", big_endian=True),
    Target("riscv64", "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c"),
    Target("loongarch64", "loongarch64-unknown-linux-gnu", "generic-la64", "-lsx"),  # no vectors: loops are scalar
)


def find_loops() -> list[Loop]:
    """All loops of :data:`PACKAGES`, by name; TypeError if two have one name."""
    found: dict[str, Loop] = {}
    for module in _modules():
        for value in vars(module).values():
            if not isinstance(value, Loop) or value.source.__module__ != module.__name__:
                continue
            if value.name in found:
                raise TypeError(f"two loops are named {value.name}")
            found[value.name] = value
    return [found[name] for name in sorted(found)]


def _modules() -> Iterator[Any]:
    for package in PACKAGES:
        room = importlib.import_module(package)
        for info in pkgutil.iter_modules(room.__path__):
            yield importlib.import_module(f"{package}.{info.name}")


def refresh(folder: Path) -> list[Path]:
    """Build for all targets if the sources have changed; return files written."""
    return [] if is_fresh(str(folder)) else build(folder)


def build(folder: Path, targets: tuple[Target, ...] = TARGETS) -> list[Path]:
    """Write ``<name>.so`` for each target and the sources' digest into ``folder``; return the paths of the former."""
    # numba would optimise for the building machine (vector width, inline costs). _emit runs the target's passes.
    os.environ["NUMBA_OPT"] = "0"
    from vmsieve.formats.compiler.numba_backend import llvm

    folder.mkdir(parents=True, exist_ok=True)
    digest = source_digest()
    loops = find_loops()
    texts = [(k.name, *llvm(k)) for k in loops]
    names = [k.name for k in loops]
    images = {folder / f"{t.name}.so": linker.shared_object(_emit(texts, t), names) for t in targets}
    for path, image in images.items():
        _replace(path, image)
    _replace(folder / DIGEST, digest.encode())
    return list(images)


def _replace(path: Path, data: bytes) -> None:
    """Replace a file, not its content: a process may have mapped the old one and be running its code."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(data)
    new.replace(path)


def _emit(texts: list[tuple[str, str, str]], target: Target) -> bytes:
    """Make the object file of all loops for one target."""
    import llvmlite.binding as ll

    ll.initialize_all_targets()
    ll.initialize_all_asmprinters()
    module = None
    for name, native, text in texts:
        one = ll.parse_assembly(_portable(text, target))
        _hide_all_but(one, native)
        one.get_function(native).name = name
        if module is None:
            module = one
        else:
            module.link_in(one)
    assert module is not None
    machine = ll.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel=target.model, jit=False
    )
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    tuning = ll.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = target.vector
    passes = ll.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    emitted: bytes = machine.emit_object(module)
    return emitted


def _hide_all_but(module: Any, entry: str) -> None:
    """Make everything but ``entry`` internal: loops define equal helpers, and unused ones can then be dropped."""
    for thing in [*module.functions, *module.global_variables]:
        if not thing.is_declaration and thing.name != entry:
            thing.linkage = "internal"


def _portable(text: str, target: Target) -> str:
    """Remove ties to a C library and to the building machine from LLVM code.

    ``no-builtins`` keeps loops from becoming calls of memset and memcpy; ``no-jump-tables`` keeps data out of the code.
    Helpers are inlined, so calls within the object need no relocation. The text is edited because llvmlite's binding
    can't remove attributes from a parsed module.
    """
    from vmsieve.formats.compiler.numba_backend import BIG_ENDIAN

    attributes = '"no-builtins" "no-jump-tables"="true" nounwind'
    out = []
    for line in text.splitlines():
        if line.startswith(f"@{BIG_ENDIAN}"):  # one per helper, numbered
            line = re.sub(r"i64 \d", f"i64 {int(target.big_endian)}", line)
        if " call " in line:
            # The call in the entry function carries an attribute group with noinline.
            line = re.sub(r" #\d+", "", line)
        match = re.match(r"(define .*\))([^()]*)\{$", line)
        if match:
            inlined = "" if "@cfunc." in line.split("(")[0] else "alwaysinline "
            # Without noinline, and without attribute groups: they name the building machine's processor.
            own = re.sub(r"#\d+ ?|noinline ?", "", match.group(2))
            line = f"{match.group(1)} {inlined}{attributes} {own}{{"
        out.append(line)
    return "\n".join(out)
