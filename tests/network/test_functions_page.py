"""The C program of docs/functions.md, compiled; its Python runs in test_house.py."""

import re
import subprocess
from pathlib import Path

import numpy as np
import own
from models import X

import fastmlp

PAGE = Path(__file__).resolve().parents[2] / "docs" / "functions.md"


@own.needs_cc
def test_the_c_program_of_the_page(tmp_path, monkeypatch):
    text = PAGE.read_text()
    (source,) = re.findall(r"^```c\n(.*?)^```$", text, re.M | re.S)
    (program,) = re.findall(r"^```python\n(import ctypes\n.*?)^```$", text, re.M | re.S)
    (command,) = re.findall(r"`(cc -.*?)`", text)
    monkeypatch.chdir(tmp_path)
    Path("own.c").write_text(source)
    subprocess.run(command.split(), check=True)
    found = {}
    exec(program, found)
    net, x, y = found["net"], X[:, :2], X[:, 0] * X[:, 1]
    (activation,) = net.activations
    twin = fastmlp.MLP(
        [2, 16, 1],
        activation=fastmlp.CustomActivation(own.softsign),
        loss=fastmlp.CustomLoss(lambda z, t: (np.sum(np.log(np.cosh(z - t)), 1), np.tanh(z - t))),
    )
    twin.load_state_dict(net.state_dict())
    np.testing.assert_allclose(net.predict(x), twin.predict(x), rtol=1e-5, atol=1e-6)
    assert np.isclose(net.evaluate(x, y), twin.evaluate(x, y), rtol=1e-5)
    for options in ({"dtype": "float32"}, {"dtype": "float64"}):
        other = fastmlp.MLP([2, 8, 1], activation=activation, loss=net.loss, rng=0, **options)
        losses = other.fit(x, y, epochs=30, n_threads=2).loss
        assert losses[-1] < losses[0]
