"""The stand-in for ``array``: the same class, and no ``collections``."""

from __future__ import annotations

import array
import subprocess
import sys

from tests.pipeline.cli_kit import environment
from vmsieve.formats.slim import arrays


def test_it_is_the_same_class() -> None:
    """Where ``collections`` is loaded, as here, it stays as it is."""
    assert arrays.array is array.array
    assert isinstance(sys.modules["collections"].Counter("aa"), dict)


def test_collections_is_not_loaded() -> None:
    """Its name is free again afterwards, so that a later import loads the real module."""
    code = """if True:
        import sys
        from vmsieve.formats.slim.arrays import array
        assert not [name for name in sys.modules if name.startswith("collections")]
        from collections.abc import MutableSequence
        import collections
        assert collections.Counter("aab")["a"] == 2
        assert sys.version_info < (3, 10) or issubclass(array, MutableSequence)
    """
    subprocess.run([sys.executable, "-Sc", code], check=True, env=environment())
