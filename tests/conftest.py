"""The package under test is the installed one, or one built in place: never bare sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts the current folder on the path; without compiled modules it is no package.
if not list((ROOT / "fastmlp").glob("core.*.so")):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import fastmlp  # noqa: E402

# The same for the processes that tests start, whatever folder they start in.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = str(Path(fastmlp.__file__).parents[1])


@pytest.fixture(params=[fastmlp.MLP, fastmlp.reference.MLP], ids=["native", "reference"])
def mlp(request):
    return request.param
