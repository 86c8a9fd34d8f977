"""What tests of tables share: a preset that trains in milliseconds."""

from importlib.util import find_spec

import pytest

# Estimators of tables need scikit-learn.
collect_ignore_glob = [] if find_spec("sklearn") else ["test_*.py"]


@pytest.fixture
def tiny(monkeypatch):
    """Let the preset "fast" be a tiny one."""
    from tiny_tables import TINY

    from fastmlp.tabular import presets

    monkeypatch.setitem(presets.PRESETS, "fast", TINY)
