"""A new kind of parameter and its operator need few changes: docs/adding.md, done in a copy.

toy_operator.patch adds "stretch", z = (x @ W + b) * stretches in each hidden layer.
"""

import dataclasses
import pickle
import re
import shutil
from pathlib import Path

import cases
import children
import pytest

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._network.operators import OPERATORS
from fastmlp._network.tensors import TENSORS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEVEL = native_engine.available_levels()[-1]  # the one that compiles fastest
MOST_FILES = 9

# setup.py for the kernels of one level and dtype: the other compiled modules stay as they are.
BUILD = """
import runpy, setuptools

def setup(cmdclass, of=setuptools.setup, **options):
    names = cmdclass["build_ext"].wanted.__globals__
    names["DTYPES"].pop("float64")
    levels = names["machine_levels"]()
    names["machine_levels"] = lambda: {LEVEL: levels[LEVEL]}
    options |= {"ext_modules": [], "script_args": ["-q", "build_ext", "--inplace"]}
    of(cmdclass=cmdclass, **options)

setuptools.setup = setup
runpy.run_path("setup.py")
"""

# What test_operators.py asks of every operator; only the kernels of float32 know the toy.
PROGRAM = """
import numpy as np, pytest
import fastmlp, test_operators as tests

own, single = {"stretch": True}, {"dtype": "float32"}
everything = tests.OPTIONS["everything"] | own
for norm in tests.NORMS:
    for options in (own, everything):
        tests.test_gradients_by_central_differences("tanh", options, norm)
        net = tests.make(fastmlp.MLP, layer_norm=norm, **options, **single)
        net.partial_fit(tests.X, tests.Y)
        net.save("net")
        np.testing.assert_equal(tests.everything(fastmlp.load("net")), tests.everything(net))
for sizes, norm, options in [
    ((3, 5, 4, 2), None, own),
    ((131, 97, 1), "after", own),
    ((2, 64, 64, 64, 64, 70), ["after", "before", None, None], everything),
]:
    case = sizes, norm, options, LEVEL, "float32"
    tests.test_training_is_that_of_the_reference_on_any_threads(*case)
    tests.test_gradients_and_predictions_of_the_native_engine(*case)

net = fastmlp.MLP([2, 3, 1], activation="tanh", stretch=True, rng=0)
spec = net._network.spec
engines = tests.native_engine.Engine(spec, LEVEL), tests.numpy_engine.Engine(spec)
for engine in engines:
    engine.set_parameters(*net._network.engine.parameters())
hessians = [engine.frozen().derivatives(np.float32([[1, 2]]))[2] for engine in engines]
np.testing.assert_allclose(*hessians, rtol=1e-4)
data = tests.cases.data(net._network.spec, 7, np.random.default_rng(0), jacobians=True)
np.testing.assert_allclose(*[engine.gradients(data)[0] for engine in engines], rtol=1e-4)
for kinds in zip(*[engine.gradients(data)[1:] for engine in engines], strict=True):
    for a, b in zip(*kinds, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
assert "stretch=True" in repr(net) and net.stretches[0].tolist() == [1, 1, 1]
net.stretches = [[1, 2, 3]]
assert net.state_dict()["layers.0.stretch"].tolist() == [1, 2, 3]
with pytest.raises(TypeError, match="the model has 'stretch'"):
    net.to_onnx("net.onnx")
print("done")
"""


def apply(patch, root):
    """Change files as a patch says, wherever in them its lines stand; return their names."""
    names = []
    for part in re.split(r"^--- .*\n", patch, flags=re.MULTILINE)[1:]:
        head, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        names.append(head.removeprefix("+++ b/").strip())
        text = (root / names[-1]).read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            assert text.count(old) == 1, f"{names[-1]} has no longer, or more than once:\n{old}"
            text = text.replace(old, new)
        (root / names[-1]).write_text(text, encoding="utf-8")
    return names


def test_rows_of_tensors_name_what_there_is():
    fields = {field.name for field in dataclasses.fields(fastmlp.Groups)}
    spec = cases.build([3, 4, 4, 2], layer_norm="after", scale=True, parametric=True, skip=1)
    for kind, row in TENSORS.items():
        assert isinstance(getattr(fastmlp.MLP, kind), property)
        assert kind in fastmlp.MLP.__annotations__, "for type checkers"
        assert kind in OPERATORS[row.operator]
        assert row.gradient in native.GRADIENTS
        assert f"{row.group}_rate" in fields
        assert not row.option or hasattr(spec, row.option)
    assert len({row.label for row in TENSORS.values()}) == len(TENSORS)


def test_shapes_are_computed_once_and_not_pickled():
    spec = cases.build([3, 4, 2], scale=True, linear_path=True)
    assert spec.tensors is spec.tensors
    twin = pickle.loads(pickle.dumps(spec))
    assert twin == spec
    assert "tensors" not in vars(twin)
    assert twin.tensors == spec.tensors


@pytest.mark.slow
def test_a_toy_operator_takes_few_files(tmp_path):
    """With gradients, training, predictions, copies and files; but no exports."""
    package = Path(fastmlp.__file__).parent
    for folder in ("fastmlp", "src_cython"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for built in package.rglob("*.so"):
        shutil.copy(built, tmp_path / "fastmlp" / built.relative_to(package))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    changed = apply((HERE / "toy_operator.patch").read_text(encoding="utf-8"), tmp_path)
    assert 0 < len(changed) <= MOST_FILES
    for program in (BUILD, PROGRAM):
        text = f"LEVEL = {LEVEL!r}\n{program}"
        folders = [tmp_path, *filter(Path.is_dir, HERE.parent.iterdir())]
        child = children.python("-c", text, cwd=tmp_path, folders=folders, timeout=600)
        printed = children.printed(child)
    assert printed == "done\n"
