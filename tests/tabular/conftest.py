"""What tests of tables share: a preset that trains in milliseconds."""

import pytest


@pytest.fixture
def tiny(monkeypatch):
    """Let the preset "fast" be a tiny one."""
    pytest.importorskip("sklearn")
    from tiny_tables import TINY

    from fastmlp.tabular import presets

    monkeypatch.setitem(presets.PRESETS, "fast", TINY)
