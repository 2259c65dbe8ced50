"""Records behave like the standard library's data classes, in the features that they have."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.dumps import ROOT
from vmsieve.formats.slim.records import field, record, replace


class Base:
    def __init__(self) -> None:
        raise AssertionError("a record has its own __init__")


@record
class Mutable(Base):
    """A record with every kind of field."""

    a: int
    b: str = "b"
    c: list[int] = field(default_factory=list)


@record
class Derived(Mutable):
    d: int = 4


@record(eq=False)
class Single:
    a: int


@record(frozen=True)
class Frozen:
    a: int
    b: tuple[int, ...] = ()


@dataclass(frozen=True)
class Standard:
    a: int
    b: tuple[int, ...] = ()


def test_fields_come_from_arguments_names_and_defaults() -> None:
    """In the order of definition, a base's fields first."""
    assert vars(Derived(1, "x", d=5)) == {"a": 1, "b": "x", "c": [], "d": 5}
    one, other = Mutable(1), Mutable(1)
    one.c.append(1)
    assert other.c == []


def test_fields_that_are_annotated_lazily() -> None:
    """Python 3.14 evaluates annotations on request (PEP 649), unless the module says otherwise."""
    source = "@record\nclass One:\n a: int\n b: int = 2\nclass Two(One): pass\n@record\nclass Three(Two):\n c: int\n"
    made: dict[str, Any] = {"__name__": __name__, "record": record}
    exec(compile(source, "lazy", "exec", dont_inherit=True), made)
    assert vars(made["Three"](1, c=3)) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((1, "", [], 4), {}), ((1,), {"e": 2})])
def test_wrong_fields_are_errors(arguments: tuple[object, ...], named: dict[str, object]) -> None:
    """Too few, too many, unknown."""
    with pytest.raises(TypeError):
        Mutable(*arguments, **named)  # type: ignore[arg-type]


def test_equality_hash_and_text_are_those_of_a_data_class() -> None:
    """Equal fields of the same class; only a frozen record has a hash."""
    assert Frozen(1, (2,)) == Frozen(1, (2,)) != Frozen(1)
    assert Frozen(1) != Standard(1)  # type: ignore[comparison-overlap]
    assert hash(Frozen(1)) == hash(Frozen(1))
    assert repr(Frozen(1, (2,))) == repr(Standard(1, (2,))).replace("Standard", "Frozen")
    with pytest.raises(TypeError):
        hash(Mutable(1))
    one = Single(1)
    assert (one != Single(1), one == one, {one: 2}[one]) == (True, True, 2)


def test_a_frozen_record_stays_as_it_is() -> None:
    """A changed copy is another record."""
    one = Frozen(1)
    with pytest.raises(AttributeError):
        one.a = 2  # type: ignore[misc]
    assert (replace(one, a=2), one) == (Frozen(2), Frozen(1))


def test_the_capture_path_does_without_the_modules_that_data_classes_bring() -> None:
    """Records exist to avoid these modules, also what typing.NamedTuple imports since Python 3.14."""
    program = (
        "import sys, vmsieve.pipeline.dump.make, vmsieve.pipeline.cli.commands.dump; "
        "print(sorted({'dataclasses', 'inspect', 'annotationlib', 'ast', 'dis', 'tokenize'} & set(sys.modules)))"
    )
    source = ROOT / "src"
    run = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
