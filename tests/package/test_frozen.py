"""A program that PyInstaller has frozen has all of fastmlp that it needs."""

import importlib.metadata
import subprocess

import children
import pytest

# Names that are loaded on first use, compiled modules, data files; scikit-learn is imported below.
PROGRAM = """
import fastmlp
from fastmlp import digits

for name in dir(fastmlp):
    if name != "dask":
        getattr(fastmlp, name)
X, y, X_test, y_test = digits.split()
net = fastmlp.MLP([64, 32, 10], loss="cross_entropy", rng=0)
net.fit(X, y, epochs=20)
net.save("net.safetensors")
net.to_c("net.c")
guesses = fastmlp.load("net.safetensors").predict(X_test).argmax(axis=1)
print((guesses == y_test).mean() > 0.9)
table = fastmlp.TabMLPClassifier(preset="fast", random_state=0).fit(X, y)
table.to_c("table.c")
print(table.score(X_test, y_test) > 0.9)
"""

# Other tests use them, not the program: PyInstaller would look through all of each.
UNUSED = (
    *("dask", "distributed", "hypothesis", "IPython", "matplotlib", "mlflow", "mpi4py", "mpmath"),
    *("numba", "onnx", "onnxruntime", "optuna", "pandas", "polars", "pyarrow", "pytest", "shap"),
    *("skops", "sqlalchemy", "tensorboardX", "tensorflow", "torch", "tkinter", "xgboost"),
)


@pytest.mark.slow
def test_a_frozen_program_runs(tmp_path):
    for package in ("PyInstaller", "sklearn"):
        pytest.importorskip(package)
    hooks = importlib.metadata.entry_points(group="pyinstaller40")
    if "fastmlp._pyinstaller" not in {hook.module for hook in hooks}:
        pytest.skip("built in place, not installed")
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ("-m", "PyInstaller", *(f"--exclude-module={name}" for name in UNUSED), "program.py")
    children.printed(children.python(*words, cwd=tmp_path, timeout=500))
    frozen = tmp_path / "dist" / "program" / "program"
    run = subprocess.run([frozen], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("True\nTrue\n", 0), run.stderr
