"""What tests of tables share: a preset that trains in milliseconds."""

import pytest
from tiny_tables import TINY

from fastmlp.tabular.plan import presets


@pytest.fixture
def tiny(monkeypatch):
    """Let the preset "fast" be a tiny one."""
    monkeypatch.setitem(presets.PRESETS, "fast", TINY)
