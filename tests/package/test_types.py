"""Type checkers see what users may write: they find planted mistakes, and no others."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import get_args

import children
import pytest

from fastmlp._files import storage
from fastmlp._network import activations, layer_norm, losses, names, optimizers
from fastmlp.tabular.outcome import loss_rows

PROGRAM = Path(__file__).with_name("user_program.py")
MISTAKES = {
    number
    for number, line in enumerate(PROGRAM.read_text().splitlines(), start=1)
    if "# mistake: " in line
}
TABLES = [
    (activations.ActivationName, activations.ACTIVATIONS),
    (losses.LossName, losses.LOSSES),
    (names.OptimizerName, optimizers.OPTIMIZERS),
    (names.NormPosition, layer_norm.POSITIONS),
    (names.EngineName, storage.ENGINES),
    (names.TableLossName, loss_rows.LOSSES),
]


def test_types_have_the_names_of_the_tables():
    for name, table in TABLES:
        assert get_args(name) == tuple(table)


def test_types_have_the_names_of_the_estimators():
    from fastmlp.sklearn import parameters, regressor
    from fastmlp.tabular.plan import presets

    assert set(get_args(names.SolverName)) == {"lbfgs", *parameters.STOCHASTIC}
    assert get_args(names.PresetName) == tuple(presets.PRESETS)
    assert set(names_of(names.EstimatorLossName)) == set(regressor.LOSSES)


def names_of(union):
    """Return the names in a union of literals."""
    return [n for part in get_args(union) for n in get_args(part) or [part]]


def lines_of_mypy(program):
    given = ["--strict", "--no-incremental", "--config-file=", program]
    text = children.python("-m", "mypy", *given, cwd=program.parent).stdout
    return {int(n) for n in re.findall(r"\.py:(\d+): error", text)}


def lines_of_pyright(program):
    given = ["--outputjson", "--pythonpath", f"{sys.prefix}/bin/python3", program]
    text = children.python("-m", "pyright", *given, cwd=program.parent).stdout
    found = json.loads(text)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}


CHECKERS = {"mypy": lines_of_mypy, "pyright": lines_of_pyright}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_find_the_mistakes_and_nothing_else(checker, tmp_path):
    for module in (checker, "sklearn"):
        pytest.importorskip(module)
    assert len(MISTAKES) >= 10
    program = shutil.copy(PROGRAM, tmp_path / PROGRAM.name)  # away from this project's options
    assert CHECKERS[checker](program) == MISTAKES
