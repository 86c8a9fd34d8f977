"""Options that are True or False: "no" is true to Python, and no answer to any of them."""

import inspect
import re

import numpy as np
import own
import pytest

import fastmlp

X = np.linspace(-1, 1, 40)[:, np.newaxis]
Y = X[:, 0] ** 2
LABELS = Y > 0.3


def net():
    return fastmlp.MLP([1, 3, 1], rng=0)


def ensemble():
    return fastmlp.Ensemble([net()])


def estimator(name):
    """Return what fits such an estimator with an option of its own."""
    small = {"preset": "fast"} if "Tab" in name else {"hidden_layer_sizes": 3, "max_iter": 2}
    y = {"Classifier": LABELS, "Survival": abs(Y)}.get(name.rpartition("MLP")[2], Y)
    return lambda **option: getattr(fastmlp, name)(**small, **option).fit(X, y)


def fitted():
    return estimator("MLPRegressor")()


ESTIMATORS = (
    *("MLPClassifier", "MLPRegressor"),
    *("TabMLPClassifier", "TabMLPRegressor", "TabMLPSurvival"),
)
# What takes such options, as a call with one of them.
CALLS = {
    "Adam": fastmlp.Adam,
    "AdamW": fastmlp.AdamW,
    "SGD": lambda **option: fastmlp.SGD(**{"momentum": 0.9} | option),
    "CustomActivation": lambda **option: fastmlp.CustomActivation(own.softsign, **option),
    "CustomLoss": lambda **option: fastmlp.CustomLoss(own.square, **option),
    "EarlyStopping": fastmlp.EarlyStopping,
    "GaussianNLL": fastmlp.GaussianNLL,
    "MLP": lambda **option: fastmlp.MLP([1, 3, 1], **option),
    "MLP.fit": lambda **option: net().fit(X, Y, epochs=1, **option),
    "MLP.predict": lambda **option: net().predict(X, **option),
    "MLP.gradients": lambda **option: net().gradients(X, Y, **option),
    "MLP.partial_fit": lambda **option: net().partial_fit(X, output_gradient=Y[:, None], **option),
    "MLP.save": lambda **option: net().save("nowhere/net.safetensors", **option),
    "Ensemble.fit": lambda **option: ensemble().fit(X, Y, epochs=1, **option),
    "Ensemble.save": lambda **option: ensemble().save("nowhere/net.safetensors", **option),
    "load": lambda **option: fastmlp.load("nowhere/net.safetensors", **option),
    "to_torch": lambda **option: fastmlp.to_torch(net(), **option),
    "load_predictor": lambda **option: fastmlp.load_predictor("nowhere/net.safetensors", **option),
    "MLPClassifier": estimator("MLPClassifier"),
    "MLPClassifier.save": lambda **option: estimator("MLPClassifier")().save("nowhere/n", **option),
    "MLPRegressor": estimator("MLPRegressor"),
    "MLPRegressor.predict": lambda **option: fitted().predict(X, **option),
    "MLPRegressor.save": lambda **option: fitted().save("nowhere/net.safetensors", **option),
    "TabMLPClassifier": estimator("TabMLPClassifier"),
    "TabMLPRegressor": estimator("TabMLPRegressor"),
    "TabMLPSurvival": estimator("TabMLPSurvival"),
}
# Of those that are not called here: why.
OTHERS = {
    **dict.fromkeys([f"{name}.get_params" for name in ESTIMATORS], "scikit-learn's"),
    "State": "made by a fit",
    **dict.fromkeys(
        (
            *("TabMLPClassifier.save", "TabMLPRegressor.save", "TabMLPSurvival.save"),
            "TabMLPRegressor.predict",
        ),
        "the one line of the others; one that is fitted takes seconds",
    ),
}
WRONG = ("no", 1, 0, None, [True], np.array([True]), np.int64(1), 1.0)

# What some of them may be besides; "verbose" as scikit-learn has it.
ALSO = {"parametric": (list, np.ndarray), "resume": str, "verbose": (int, np.int64)}


def options():
    """Return all options of the public API whose default is True or False."""
    found = []
    for name in (name for name in dir(fastmlp) if name[0] != "_"):
        thing = getattr(fastmlp, name)
        named = {name: thing} if callable(thing) else {}
        if inspect.isclass(thing):
            methods = inspect.getmembers(thing, callable)
            named |= {f"{name}.{key}": each for key, each in methods if key[0] != "_"}
        for path, each in named.items():
            try:
                parameters = inspect.signature(each).parameters.values()
            except (TypeError, ValueError):  # compiled functions have no signature
                continue
            found += [(path, each.name) for each in parameters if isinstance(each.default, bool)]
    return found


OPTIONS = options()


def test_every_option_is_in_the_table():
    assert {path for path, _ in OPTIONS} <= {*CALLS, *OTHERS}
    assert len(OPTIONS) >= 20


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("path", "name"), [each for each in OPTIONS if each[0] in CALLS])
def test_only_true_and_false_answer(path, name):
    for wrong in WRONG:
        if isinstance(wrong, ALSO.get(name, ())):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            CALLS[path](**{name: wrong})
        message = str(caught.value)
        assert message.startswith((f"{name} is {wrong!r}", f"The {name!r} parameter of"))
        assert re.search("True(, False| or False)|'bool'", message)


def test_those_of_numpy_are_as_good():
    given = {"batch_size": 15, "epochs": 2}
    history = net().fit(X, Y, **given, shuffle=np.False_, verbose=np.False_, resume=np.False_)
    assert history.loss == net().fit(X, Y, **given, shuffle=False).loss
    assert history.loss != net().fit(X, Y, **given, shuffle=np.True_).loss
    history = ensemble().fit(X, Y, **given, drop_last=np.True_)
    assert history.loss == ensemble().fit(X, Y, **given, drop_last=True).loss
    assert fastmlp.EarlyStopping(restore_best=np.False_).restore_best is False
    one = net()
    one.fit(X, Y, epochs=1)
    assert len(one.fit(X, Y, epochs=3, resume=np.True_).loss) == 3
    assert fastmlp.MLP([1, 3, 1], scale=np.True_).scale is True
