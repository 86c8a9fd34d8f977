"""Wrong arguments and names: the message tells the user's class, and how fastmlp calls it."""

import copy
import functools
import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from fastmlp._core import keywords

X = np.random.default_rng(0).normal(size=(60, 2))
Y = X[:, :1]
NET = fastmlp.MLP([2, 3, 1], rng=0)
ENSEMBLE = fastmlp.Ensemble([NET])

# A call, and its complaint.
CALLS = [
    (lambda: fastmlp.MLP([2, 1], seed=0), "MLP() got an unexpected .* 'seed': pass rng=...$"),
    (lambda: fastmlp.MLP([2, 1], random_state=0), "MLP() got .* 'random_state': pass rng=...$"),
    (lambda: fastmlp.MLP(hidden_layer_sizes=[3]), "pass layer_sizes=[inputs, ..., outputs]$"),
    (lambda: fastmlp.MLP([2, 1], epochs=3), "MLP() got .* 'epochs': pass epochs=... to fit$"),
    (lambda: fastmlp.MLP([2, 1], actvation="relu"), "'actvation': did you mean activation?$"),
    (lambda: fastmlp.MLP([2, 1], colour=1), "'colour': the arguments are layer_sizes, activation,"),
    (lambda: fastmlp.reference.MLP([2, 1], seed=0), "MLP() got .*: pass rng=...$"),
    (lambda: fastmlp.MLP(), "MLP(): missing a required argument: 'layer_sizes': pass layer_sizes"),
    (lambda: NET.fit(X, Y, 3), "MLP.fit(): too many positional arguments: pass X, y by position"),
    (lambda: NET.fit(X, Y, max_iter=3), "MLP.fit() got .* 'max_iter': pass epochs=...$"),
    (lambda: NET.fit(X, Y, lr=0.1), "pass optimizer=fastmlp.Adam(learning_rate=...)$"),
    (lambda: NET.fit(X, Y, learning_rate=0.1), "pass optimizer=fastmlp.Adam(learning_rate=...)$"),
    (lambda: NET.fit(X, Y, eval_set=[(X, Y)]), "'eval_set': pass validation_data=(X, y)$"),
    (lambda: NET.fit(X, Y, X_val=X, y_val=Y), "'X_val': pass validation_data=(X, y)$"),
    (lambda: NET.fit(X, Y, n_jobs=1), "pass n_threads=...$"),
    (lambda: NET.fit(X, Y, alpha=1.0), "'alpha': pass l2=...$"),
    (lambda: NET.fit(X, Y, early_stopping=True), "pass callbacks=[fastmlp.EarlyStopping(...)]$"),
    (lambda: NET.fit(X, Y, seed=0), "MLP.fit() got .* 'seed': pass rng=... to MLP$"),
    (lambda: NET.partial_fit(X, Y, lr=0.1), "MLP.partial_fit() got .*: pass optimizer=fastmlp.Ad"),
    (lambda: NET.fit(X, Y, class_weight="balanced"), "pass sample_weight=weights_of_classes[y]$"),
    (lambda: NET.fit(X, Y, loss_weights=[1]), "pass sample_weight=weights of shape (n, outputs)$"),
    (lambda: NET.fit(X, Y, accumulate=4), "'accumulate': pass batch_size=...$"),
    (lambda: NET.fit(X, Y, device="cuda"), "'device': pass n_threads=... of CPUs$"),
    (lambda: NET.fit(X, Y, warm_start=True), "'warm_start': pass resume=True$"),
    (
        lambda: NET.fit(X, Y, early_stopping_rounds=5),
        "pass callbacks=[fastmlp.EarlyStopping(...)]$",
    ),
    (lambda: fastmlp.MLP([2, 1], embeddings=[(3, 2)]), ": use fastmlp.TabMLPRegressor(categor.*$"),
    (
        lambda: ENSEMBLE.fit(X, Y, bootstrap=True),
        "'bootstrap': pass rows=[indices of each member]$",
    ),
    (lambda: ENSEMBLE.predict(X, return_std=True), ": use fastmlp.Ensemble.member_predictions(X)"),
    (lambda: NET.save("x", compress=1), "MLP.save() got .* 'compress': the arguments are path, "),
    (lambda: ENSEMBLE.fit(X, Y, max_iter=3), "Ensemble.fit() got .* 'max_iter': pass epochs=...$"),
    (lambda: fastmlp.Adam(lr=0.1), "Adam() got .* 'lr': pass learning_rate=...$"),
    (lambda: fastmlp.Adam(betas=(0.9, 0.99)), "'betas': pass beta_1=..., beta_2=...$"),
    (lambda: fastmlp.RMSprop(eps=0.1), "RMSprop() got .* 'eps': pass epsilon=...$"),
]
ESTIMATORS = [
    (lambda f: f.TabMLPRegressor("fast"), "too many positional arguments: pass all by name$"),
    (lambda f: f.MLPClassifier(rng=0), "MLPClassifier() got .* 'rng': pass random_state=...$"),
    (lambda f: f.MLPRegressor(epochs=3), "MLPRegressor() got .* 'epochs': pass max_iter=...$"),
    (lambda f: f.MLPRegressor(lr=3), "'lr': pass learning_rate_init=...$"),
    (lambda f: f.MLPRegressor(l2=3), "'l2': pass alpha=...$"),
    (lambda f: f.MLPRegressor(n_threads=3), "'n_threads': pass n_jobs=...$"),
    (
        lambda f: f.MLPRegressor().fit(X, Y, validation_data=(X, Y)),
        "MLPRegressor.fit() got .* 'validation_data': pass X_val=..., y_val=...$",
    ),
    (lambda f: f.MLPRegressor().fit(X, Y, max_iter=3), "'max_iter': pass max_iter=... to MLPReg"),
    (lambda f: f.TabMLPRegressor(seed=0), "TabMLPRegressor() got .* pass random_state=...$"),
    (
        lambda f: f.TabMLPClassifier().fit(X, Y, cat_features=[0]),
        "TabMLPClassifier.fit() got .*: pass categorical_features=... to TabMLPClassifier$",
    ),
    (
        lambda f: f.TabMLPRegressor(epochs=1).fit(X, Y[:, 0]).predictor(weights="int8"),
        "TabMLPRegressor.predictor() got .* 'weights': pass weights=... to to_c$",
    ),
    (lambda f: f.TabMLPRegressor(cv=5), "'cv': pass folds=...$"),
    (lambda f: f.TabMLPRegressor(n_estimators=5), "'n_estimators': pass members=...$"),
    (lambda f: f.TabMLPRegressor(lr=1), "'lr': pass preset=..., which has its own learning rates$"),
    (lambda f: f.TabMLPRegressor(early_stopping=1), "pass time_limit=..., or nothing: a fit keeps"),
    (lambda f: f.TabMLPRegressor(warm_start=True), "'warm_start': use fastmlp.MLP.partial_fit, "),
    (lambda f: f.TabMLPClassifier(scale_pos_weight=9), "pass class_weight=...$"),
    (lambda f: f.MLPRegressor(categorical_features=[0]), ": use fastmlp.TabMLPRegressor("),
    (lambda f: f.MLPRegressor(device="cpu"), "pass n_jobs=... of CPUs$"),
    (lambda f: f.MLPClassifier().fit(X), "MLPClassifier.fit(): missing .* 'y': pass X, y"),
]


def pattern(words):
    """Return words as a regular expression in which only .* and a last $ are special."""
    text = re.escape(words).replace(r"\.\*", ".*")
    return text.removesuffix(r"\$") + "$" * words.endswith("$")


@pytest.mark.parametrize(("call", "words"), CALLS, ids=[words for _, words in CALLS])
def test_wrong_arguments(call, words):
    with pytest.raises(TypeError, match=pattern(words)):
        call()


@pytest.mark.parametrize(("call", "words"), ESTIMATORS, ids=[words for _, words in ESTIMATORS])
def test_wrong_arguments_of_estimators(call, words):
    pytest.importorskip("sklearn")
    with pytest.raises(TypeError, match=pattern(words)):
        call(fastmlp)


def test_errors_within_a_call_stay_as_they_are():
    def wrong(state):
        return len(state, 1)

    with pytest.raises(TypeError, match="takes exactly one argument"):
        NET.fit(X, Y, epochs=1, callbacks=[wrong])
    assert list(inspect.signature(fastmlp.MLP.fit).parameters)[:4] == ["self", "X", "y", "epochs"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "gaussian"}, "no loss has that name: use 'gaussian_nll', or choose from squared"),
        ({"loss": "mse"}, "use 'squared_error', or choose from"),
        ({"loss": "strange"}, "no loss has that name: choose from squared_error"),
        ({"activation": "swish"}, "no activation has that name: use 'silu', or choose from"),
        ({"activation": "sin"}, r"use fastmlp.CustomActivation\(...\), or choose from"),
        ({"layer_norm": "within"}, "no layer_norm has that name: choose from before, after or"),
        ({"initializer": "strange"}, "no initializer has that name: choose from glorot_uniform"),
    ],
)
def test_wrong_names(options, words):
    with pytest.raises(ValueError, match=words):
        fastmlp.MLP([2, 3, 1], **options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("MLPRegressor", {"loss": "gaussian_nll"}, r"nll' instead\. Use 'gaussian' here\.$"),
        ("TabMLPRegressor", {"loss": "poisson_nll"}, r"Use 'poisson' here\.$"),
        ("MLPClassifier", {"activation": "swish"}, r"Use 'silu' here\.$"),
        ("MLPClassifier", {"activation": "strange"}, r"Got 'strange' instead\.$"),
        ("MLPRegressor", {"loss": (16,)}, r"given by name: hidden_layer_sizes=\(16,\)$"),
    ],
)
def test_wrong_names_of_estimators(name, options, words):
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match=words):
        getattr(fastmlp, name)(**options).fit(X, Y.ravel() > 0)


def test_the_tables_of_names_are_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
    for table in (keywords.SYNONYMS, keywords.ATTRIBUTES, keywords.RECORDS, keywords.PACKAGE):
        for ours, others in table:
            cells = [", ".join(f"`{each}`" for each in names) for names in (ours, others.split())]
            assert f"| {' | '.join(cells)} |" in page


# ---- attributes ----------------------------------------------------------------------------------

# Of a kind of object, what another library calls an attribute, and the advice.
GUESSES = {
    "MLP": {
        "get_weights": "state_dict()",
        "parameters": "state_dict()",
        "named_parameters": "state_dict()",
        "set_weights": "load_state_dict(state)",
        "forward": "predict(X)",
        "predict_proba": "predict(X)",
        "predict_logits": "predict(X, link=False)",
        "train_on_batch": "partial_fit(X, y)",
        "train_step": "partial_fit(X, y)",
        "train": "fit(X, y)",
        "compile": "fit(X, y)",
        "score": "evaluate(X, y)",
        "loss_value": "evaluate(X, y)",
        "backward": "gradients(X, y)",
        "input_gradient": "jacobian(X)",
        "save_model": "save(path)",
        "load_weights": "fastmlp.load(path)",
        "to_torch": "to_onnx(path)",
        "freeze": "fit(X, y, epochs=20, groups=fastmlp.Groups(layer_rates=[0, 1]))",
        "count_params": "n_parameters",
        "layers": "layer_sizes",
        "coefs_": None,
        "loss_curve_": "history",
        "losses": "history.loss",
        "best_score_": "history.val_loss",
        "laplacian": None,
        "hidden": "predict(X) of a network of the first layers",
        "partial_dependence": None,
        "importances": None,
    },
    "Ensemble": {
        "parameters": "state_dict()",
        "forward": "predict(X)",
        "decision_function": None,
        "score": "evaluate(X, y)",
        "input_gradient": "predictor().jacobian(x)",
        "num_params": "n_parameters",
        "freeze": "fit(X, y, epochs=20, groups=fastmlp.Groups(layer_rates=[0, 1]))",
    },
    "MLPRegressor": {
        "get_weights": "coefs_",
        "weights": None,
        "backward": "to_mlp().gradients(X, y)",
        "history": "history_",
        "evals_result_": "history_",
        "train_loss": "history_.loss",
        "best_score_": "best_validation_score_",
        "save_model": "save(path)",
        "predict_proba": "predict(X)",
        "freeze": None,
        "layers": "hidden_layer_sizes",
    },
    "TabMLPClassifier": {
        "best_iteration_": "best_epoch_",
        "best_score_": "report()",
        "feature_importance": "importance(X, y)",
        "permutation_importance": "importance(X, y)",
        "set_output": "predict_proba(X), for a frame with columns=classes_",
        "partial_dependence": (
            "importance(X, y), or sklearn.inspection.partial_dependence(model, X, [column])"
        ),
        "evals_result_": "history_",
        "save_model": "save(path)",
        "load": "fastmlp.load(path)",
        "freeze": None,
        "train_on_batch": None,
    },
    "History": {
        "history": "loss",
        "validation_loss": "val_loss",
        "lr": "learning_rate",
        "to_pandas": "to_frame()",
        "load": None,
    },
    "Adam": {"lr": "learning_rate", "forward": None},
}
ROWS = [(kind, name, advice) for kind, names in GUESSES.items() for name, advice in names.items()]


@functools.cache
def fitted(kind):
    """Return an object of a kind after a fit."""
    if kind == "Adam":
        return fastmlp.Adam()
    if kind in ("MLP", "Ensemble", "History"):
        net = fastmlp.MLP([2, 3, 1], rng=0)
        model = fastmlp.Ensemble([net]) if kind == "Ensemble" else net
        history = model.fit(X, Y, epochs=1)
        return history if kind == "History" else model
    pytest.importorskip("sklearn")
    if kind == "MLPRegressor":
        return fastmlp.MLPRegressor(max_iter=300, early_stopping=True).fit(X, Y[:, 0])
    return fastmlp.TabMLPClassifier(preset="fast", epochs=1, members=2).fit(X, Y[:, 0] > 0)


@pytest.mark.parametrize(("kind", "name", "advice"), ROWS, ids=[f"{k}.{n}" for k, n, _ in ROWS])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_wrong_attributes(kind, name, advice):
    thing = fitted(kind)
    words = f"'{kind}' object has no attribute '{name}'" + (f": use {advice}" if advice else "")
    with pytest.raises(AttributeError, match=f"^{re.escape(words)}$") as caught:
        getattr(thing, name)
    assert (caught.value.name, caught.value.obj) == (name, thing)
    for place in (thing, type(thing), copy.copy(thing), pickle.loads(pickle.dumps(thing))):
        assert not hasattr(place, name)
        assert getattr(place, name, 7) == 7
    assert name not in dir(thing)
    assert all(hasattr(thing, each) for each in dir(thing) if each != "__abstractmethods__")


def test_a_class_has_the_same_advice():
    with pytest.raises(AttributeError, match="^type object 'MLP' has no .* 'parameters': use stat"):
        fastmlp.MLP.parameters


def test_attributes_of_subclasses_and_users_come_first():
    class Scored:
        score = 3

        @property
        def forward(self):
            raise AttributeError("not yet")

    class Own(fastmlp.MLP, Scored):
        def backward(self):
            return 4

        def __getattr__(self, name):
            return f"{name}?"

    net = Own([2, 1], rng=0)
    net.train = 5
    assert (net.score, net.backward(), net.train) == (3, 4, 5)
    assert (net.parameters, net.strange) == ("parameters?", "strange?")
    assert {"score", "backward", "train"} <= {*dir(net)}
    del Own.__getattr__
    assert not hasattr(net, "forward")
    assert not hasattr(net, "parameters")


@pytest.mark.parametrize("name", ["strange", "metrics", 0, slice(2)])
def test_a_history_has_no_other_entries(name):
    with pytest.raises(TypeError, match=r"no entries such as .*: use history.loss, "):
        fitted("History")[name]


def test_a_history_has_its_lists_as_entries():
    history = fitted("History")
    assert history["loss"] is history.loss


@pytest.mark.parametrize("kind", ["MLP", "Ensemble"])
def test_a_model_can_be_called(kind):
    assert np.array_equal(fitted(kind)(X), fitted(kind).predict(X))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        *(("load_model", "load"), ("from_keras", "from_torch"), ("Sequential", "MLP")),
        ("MSELoss", "SquaredError"),
        ("CustomOptimizer", "MLP.parameters_vector"),
        *(("ReduceLROnPlateau", "ReduceOnPlateau"), ("Adamm", ""), ("_load", ""), ("__x__", "")),
    ],
)
def test_wrong_names_of_the_package(name, advice):
    words = f"module 'fastmlp' has no attribute '{name}'" + (f": use {advice}" if advice else "")
    with pytest.raises(AttributeError, match=f"^{re.escape(words)}$"):
        getattr(fastmlp, name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NET.evaluate(X, Y, weights=Y), "MLP.evaluate() got .* pass sample_weight=...$"),
        (lambda: NET.gradients(X, Y, weight_decay=1), "MLP.gradients() got .* pass l2=...$"),
        (lambda: ENSEMBLE.predict(X, link=False), "Ensemble.predict() got .* arguments are X$"),
        (lambda: ENSEMBLE.predictor(n_jobs=1), "Ensemble.predictor() got .* pass n_threads=...$"),
    ],
)
def test_methods_of_the_class_itself_explain_arguments_too(call, words):
    with pytest.raises(TypeError, match=pattern(words)):
        call()
