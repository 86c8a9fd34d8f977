"""All that the reference can do, as a program for where nothing compiled can be loaded.

``block`` makes it so in a process that has not imported fastmlp yet.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.abc
import importlib.machinery
import io
import json
import pickle
import re
import sys

import numpy as np

COMPILED = re.compile(r"fastmlp\._engine\.(native|cpu|_kernels_\w+)")


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every compiled module, and cannot load it."""

    def find_spec(self, name, path=None, target=None):
        if COMPILED.fullmatch(name):
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        raise ImportError(f"{spec.name}: wrong version of the C library", name=spec.name)

    def exec_module(self, module):
        raise AssertionError


def block():
    assert not [name for name in sys.modules if name.startswith("fastmlp")]
    sys.meta_path.insert(0, Broken())


def everything():
    """Return what the reference computes, as plain lists."""
    from fastmlp import Adam, EarlyStopping, reference
    from fastmlp._network.losses import LOSSES
    from fastmlp._network.target_kinds import KINDS

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    targets = {
        **{kind: row.examples(np.sin(x[:, :2])) for kind, row in KINDS.items()},
        "class": (x[:, 0] > 0).astype(int),
    }
    results = {}
    for name, loss in LOSSES.items():
        y = targets[loss.target_kind]
        net = reference.MLP([3, 5, 2], activation="gelu", loss=name, dropout=0.2, rng=1)
        options = {"validation_data": (x, y), "callbacks": [EarlyStopping(patience=5)]}
        history = net.fit(x, y, epochs=3, batch_size=7, clip_norm=1.0, n_threads=2, **options)
        partial = [net.partial_fit(x, y, optimizer=Adam(), batch_size=9) for _ in range(2)]
        predictor = net.predictor(n_threads=2)
        twins = [copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
        assert all(np.array_equal(twin.predict(x), net.predict(x)) for twin in twins)
        assert np.array_equal(pickle.loads(pickle.dumps(predictor))(x), predictor(x))
        objective, weights, biases = net.gradients(x, y, l2=0.1)
        net.biases[0] = 2 * net.biases[0]
        results[name] = [
            *(history.loss, history.val_loss, partial, net.evaluate(x, y), objective),
            *(np.asarray(net.predict(x)).tolist(), predictor(x).tolist(), predictor(x[0]).tolist()),
            *(net.jacobian(x[:2]).tolist(), predictor.jacobian(x[0]).tolist()),
            [array.tolist() for array in (*weights, *biases, *net.weights, *net.biases)],
            repr(net),
        ]
    return results


def report():
    results = everything()
    loaded = [name for name in sys.modules if COMPILED.fullmatch(name)]
    assert not loaded, loaded
    print(json.dumps(results))


def complaints():
    """Print the message of each way to use what is compiled."""
    import fastmlp

    messages = []
    for use in (
        lambda: fastmlp.MLP([1, 1]),
        lambda: fastmlp.MLP([1, 1]),  # and not only the first time
        lambda: __import__("fastmlp._engine.native_engine"),
    ):
        try:
            use()
        except ImportError as error:
            messages.append(str(error))
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        fastmlp.show_config()
    messages.append(shown.getvalue())
    print(json.dumps(messages))
