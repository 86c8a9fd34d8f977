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
ENDS_BY_TIME = "callbacks=[lambda state: sum(state.history.seconds) > 60]"

# A call, and its complaint.
CALLS = [
    (lambda: fastmlp.MLP([2, 1], seed=0), "MLP() got an unexpected .* 'seed': pass rng=...$"),
    (lambda: fastmlp.MLP(hidden_layer_sizes=[3]), "pass layer_sizes=[inputs, ..., outputs]$"),
    (lambda: fastmlp.MLP([2, 1], epochs=3), "MLP() got .* 'epochs': pass epochs=... to fit$"),
    (lambda: fastmlp.MLP([2, 1], actvation="relu"), "'actvation': did you mean activation?$"),
    (lambda: fastmlp.MLP([2, 1], colour=1), "'colour': the arguments are layer_sizes, activation,"),
    (lambda: fastmlp.reference.MLP([2, 1], seed=0), "MLP() got .*: pass rng=...$"),
    (lambda: fastmlp.MLP(), "MLP(): missing a required argument: 'layer_sizes': pass layer_sizes"),
    (lambda: fastmlp.MLP([2, 1], standardize=True), "use fastmlp.MLPRegressor(standardize=True)$"),
    (lambda: NET.fit(X, Y, 3), "MLP.fit(): too many positional arguments: pass X, y by position"),
    (lambda: NET.fit(X, Y, lr=0.1), "pass optimizer=fastmlp.Adam(learning_rate=...)$"),
    (lambda: NET.fit(X, Y, eval_set=[(X, Y)]), "'eval_set': pass validation_data=(X, y)$"),
    (lambda: NET.fit(X, Y, early_stopping=True), "pass callbacks=[fastmlp.EarlyStopping(...)]$"),
    *(
        (functools.partial(model.fit, X, Y, **{name: 60}), f"'{name}': pass {ENDS_BY_TIME}")
        for model in (NET, ENSEMBLE)
        for name in ("time_limit", "timeout", "max_time")
    ),
    (lambda: NET.fit(X, target=Y), "'target': pass y=...$"),
    (lambda: NET.fit(data=X, label=Y), "'data': pass X=...$"),
    (lambda: NET.fit(X, Y, seed=0), "MLP.fit() got .* 'seed': pass rng=... to MLP$"),
    (lambda: NET.fit(X, Y, class_weight="balanced"), "pass sample_weight=weights_of_classes[y]$"),
    (lambda: NET.fit(X, Y, device="cuda"), "'device': pass n_threads=... of CPUs$"),
    (lambda: NET.fit(X, Y, warm_start=True), "'warm_start': pass resume=True$"),
    (lambda: fastmlp.MLP([2, 1], embeddings=[(3, 2)]), ": use fastmlp.TabMLPRegressor(categor.*$"),
    *(
        (functools.partial(call, X, return_std=True), "(means, variances), and fastmlp.Ensemble.me")
        for call in (NET.predict, NET, ENSEMBLE.predict)
    ),
    (lambda: NET.predict(X, training=True), "MLP.predict() got .* 'training': predict never drops"),
    (lambda: NET.predict(X, raw_score=True), "'raw_score': pass link=False$"),
    (lambda: NET.predict(X, lnk=True), "'lnk': did you mean link?$"),
    (lambda: NET.predict(X, colour=1), "'colour': the arguments are X, out, link$"),
    (lambda: NET.predict(X, verbose=0), "'verbose': predict takes any number of rows, block by"),
    (lambda: ENSEMBLE.predict(X, quantiles=[0.1]), "use fastmlp's predict_quantiles(X, [0.1, 0.5,"),
    (lambda: NET.save("x", compress=1), "MLP.save() got .* 'compress': the arguments are path, "),
    (lambda: fastmlp.Adam(lr=0.1), "Adam() got .* 'lr': pass learning_rate=...$"),
    (lambda: fastmlp.Adam(betas=(0.9, 0.99)), "'betas': pass beta_1=..., beta_2=...$"),
    (lambda: NET.evaluate(X, Y, weights=Y), "MLP.evaluate() got .* pass sample_weight=...$"),
    (lambda: ENSEMBLE.predict(X, link=False), "Ensemble.predict() got .* arguments are X$"),
    (lambda: ENSEMBLE.predictor(n_jobs=1), "Ensemble.predictor() got .* pass n_threads=...$"),
    (lambda: fastmlp.Ensemble(5, [2, 1]), "too many positional .*: pass members=[MLP([8, 32, 1]"),
    (lambda: fastmlp.Ensemble([2, 4, 1]), "[0] has type int .* for example [MLP([8, 32, 1], rng="),
    (lambda: fastmlp.Ensemble([NET], rng=0), "'rng': pass members=[MLP([8, 32, 1], rng=seed) for"),
    (lambda: fastmlp.EarlyStopping(3), "monitor is 3 .*: pass patience=3$"),
    (lambda: fastmlp.ReduceOnPlateau(mode="min"), "'mode': the arguments are monitor, factor, "),
    *(
        (functools.partial(call, np.sin, np.cos), "too many positional .*: pass function=f, which")
        for call in (fastmlp.CustomActivation, fastmlp.CustomLoss)
    ),
    (lambda: fastmlp.CustomActivation(np.sin, slope=np.cos), "'slope': pass function=f, which ret"),
    (lambda: NET.fit(X, Y, jacobian=X), "'jacobian': pass dy=...$"),
    (lambda: NET.to_c("x.c", name="f"), "'name': names in the file begin with the name of the pa"),
    (lambda: NET.predict(X, n_threads=1), "'n_threads': use fastmlp.MLP.predictor(n_threads=1)$"),
    (lambda: fastmlp.Groups(frozen=[0]), "'frozen': pass layer_rates=[0, 1, ...]$"),
    *(
        (
            functools.partial(fastmlp.LBFGS, **{name: 9}),
            f"'{name}': the iterations are the epochs of",
        )
        for name in ("max_iter", "maxiter", "epochs")
    ),
    *(
        (functools.partial(call, dtype="int8"), "'dtype': pass weights=\"int8\"$")
        for call in (NET.predictor, ENSEMBLE.predictor)
    ),
    (lambda: NET.to_c("x.c", dtype="int8"), "'dtype': pass weights=\"int8\"$"),
    (lambda: NET.fit(X, Y, dtype="float64"), "'dtype': pass dtype=... to MLP$"),
    (lambda: NET.evaluate(X, Y, path="x"), "MLP.evaluate() got .* 'path': the arguments are X, "),
]
PAGE = "report().save(path) writes the page, score(X, y) and importance(X, y) take rows$"
ESTIMATORS = [
    (lambda f: f.TabMLPRegressor("fast"), "too many positional arguments: pass all by name$"),
    (lambda f: f.MLPClassifier(rng=0), "MLPClassifier() got .* 'rng': pass random_state=...$"),
    (lambda f: f.MLPRegressor().fit(X, Y, max_iter=3), "'max_iter': pass max_iter=... to MLPReg"),
    (
        lambda f: f.TabMLPClassifier().fit(X, Y, cat_features=[0]),
        "TabMLPClassifier.fit() got .*: pass categorical_features=... to TabMLPClassifier$",
    ),
    (
        lambda f: f.TabMLPRegressor(epochs=1).fit(X, Y[:, 0]).predictor(weights="int8"),
        "TabMLPRegressor.predictor() got .* 'weights': pass weights=... to to_c$",
    ),
    (
        lambda f: f.TabMLPRegressor(lr=1),
        "'lr': pass preset=... (which has its own learning rates)$",
    ),
    (lambda f: f.TabMLPRegressor(early_stopping=1), "pass time_limit=... (or nothing: a fit keeps"),
    *(
        (lambda f, kind=kind: getattr(f, kind)().fit(X, Y, timeout=9), f".*) to {kind}$")
        for kind in ("MLPRegressor", "MLPClassifier")
    ),
    (lambda f: f.TabMLPRegressor().fit(X, Y, patience=9), "best epoch) to TabMLPRegressor$"),
    (lambda f: f.TabMLPRegressor(dropout=0.1), "'dropout': pass recipes=[{"),
    (lambda f: f.TabMLPRegressor(warm_start=True), "'warm_start': use fastmlp's partial_fit, "),
    (lambda f: f.MLPRegressor(device="cpu"), "pass n_jobs=... of CPUs$"),
    (lambda f: f.TabMLPRegressor().predict_interval(X, alpha=0.1), "'alpha': pass coverage=0.9$"),
    (lambda f: f.TabMLPRegressor().predict(X, interval=0.9), "use fastmlp's predict_interval(X, c"),
    (lambda f: f.TabMLPRegressor().fit(X, Y, test_size=0.2), "pass X_val=..., y_val=...$"),
    (lambda f: f.TabMLPClassifier(threshold=0.3), "compare predict_proba(X)[:, 1] with the thres"),
    (lambda f: f.MLPClassifier().fit(X), "MLPClassifier.fit(): missing .* 'y': pass X, y"),
    (
        lambda f: f.TabMLPRegressor().report(path="x"),
        f"'path': report() takes no arguments: {PAGE}",
    ),
    (lambda f: f.TabMLPRegressor().report("x"), f"report(): too many .* no arguments: {PAGE}"),
    (lambda f: f.TabMLPClassifier().report(X, Y), f"report(): too many .* no arguments: {PAGE}"),
]


def pattern(words):
    """Return words as a regular expression in which only .* and a last $ are special."""
    text = re.escape(words).replace(r"\.\*", ".*")
    return text.removesuffix(r"\$") + "$" * words.endswith("$")


@pytest.mark.parametrize(("call", "words"), CALLS, ids=[words for _, words in CALLS])
def test_wrong_arguments(call, words):
    with pytest.raises(TypeError, match=pattern(words)):
        call()


@pytest.mark.parametrize("kind", ["MLP", "Ensemble", "MLPRegressor"])
def test_the_callback_that_is_advised_ends_a_fit_by_its_time(kind):
    net, words = fastmlp.MLP([2, 3, 1], rng=0), ENDS_BY_TIME.removeprefix("callbacks=")
    for limit in (60, 0):
        (callback,) = eval(words.replace("60", str(limit)))
        if kind == "MLPRegressor":
            model = fastmlp.MLPRegressor(max_iter=20, tol=1e9, callbacks=[callback])
            n_epochs, most = model.fit(X, Y[:, 0]).n_iter_, 2 + model.n_iter_no_change
        else:
            model, most = net if kind == "MLP" else fastmlp.Ensemble([net]), 20
            n_epochs = len(model.fit(X, Y, epochs=most, callbacks=[callback]).loss)
        assert n_epochs == (most if limit else 1)


@pytest.mark.parametrize(("call", "words"), ESTIMATORS, ids=[words for _, words in ESTIMATORS])
def test_wrong_arguments_of_estimators(call, words):
    with pytest.raises(TypeError, match=pattern(words)):
        call(fastmlp)


def test_errors_within_a_call_stay_as_they_are():
    def wrong(state):
        return len(state, 1)

    with pytest.raises(TypeError, match="takes exactly one argument"):
        NET.fit(X, Y, epochs=1, callbacks=[wrong])
    assert list(inspect.signature(fastmlp.MLP.fit).parameters)[:4] == ["self", "X", "y", "epochs"]
    assert list(inspect.signature(NET.predict).parameters) == ["X", "out", "link"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "gaussian"}, "no loss has that name: use 'gaussian_nll', or choose from squared"),
        ({"loss": "mse"}, "use 'squared_error', or choose from"),
        ({"loss": "strange"}, "no loss has that name: choose from squared_error"),
        ({"activation": "swish"}, "no activation has that name: use 'silu', or choose from"),
        ({"activation": "ReLU"}, "no activation has that name: use 'relu', or choose from"),
        ({"activation": "softmax"}, "use fastmlp's loss='cross_entropy', which puts softmax"),
        ({"loss": "crossentropy"}, "use 'cross_entropy', or choose from"),
        ({"activation": "sin"}, r"use fastmlp.CustomActivation\(...\), or choose from"),
        ({"layer_norm": "within"}, "no layer_norm has that name: choose from before, after or"),
        ({"initializer": "he"}, "use 'he_normal', or choose from"),
        ({"initializer": "strange"}, "no initializer has that name: choose from glorot_uniform"),
        ({"loss": "l2"}, "use 'squared_error', or choose from"),
        ({"loss": "rmse"}, "use 'squared_error', or choose from"),
        ({"loss": "mape"}, r"use fastmlp.CustomLoss\(...\), or choose from"),
        ({"activation": "relu2"}, r"use fastmlp.CustomActivation\(...\), or choose from"),
        ({"activation": "gaussian"}, r"use fastmlp.CustomActivation\(...\), or choose from"),
        ({"activation": "relu3"}, "no activation has that name: choose from"),
        ({"loss": "student_t"}, "use 'huber', or choose from"),
        ({"loss": "log_normal"}, "use 'gamma_nll', or choose from"),
        ({"activation": "RELU6"}, r"use fastmlp.CustomActivation\(...\), or choose from"),
        ({"activation": "rellu"}, "use 'relu', or choose from"),
    ],
)
def test_wrong_names(options, words):
    with pytest.raises(ValueError, match=words):
        fastmlp.MLP([2, 3, 1], **options)


@pytest.mark.parametrize(
    ("call", "name", "words"),
    [
        (NET.fit, "strange", "no optimizer has that name: choose from .*lion, lbfgs$"),
        (ENSEMBLE.fit, "BFGS", "use 'lbfgs', or choose from .*lbfgs$"),
        (ENSEMBLE.fit, "lbfgs", r"only the fit of an MLP takes it: use for example fastmlp.Adam"),
        (NET.partial_fit, "lbfgs", "only the fit of an MLP takes it"),
    ],
)
def test_wrong_names_of_optimizers(call, name, words):
    with pytest.raises(ValueError, match=words):
        call(X, Y, optimizer=name)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("MLPRegressor", {"loss": "gaussian_nll"}, r"nll' instead\. Use 'gaussian' here\.$"),
        ("TabMLPRegressor", {"loss": "poisson_nll"}, r"Use 'poisson' here\.$"),
        ("TabMLPRegressor", {"preset": "best_quality"}, r"Use 'best' here\.$"),
        ("TabMLPRegressor", {"preset": "quality"}, r"Use 'best' here\.$"),
        ("TabMLPRegressor", {"loss": "student_t"}, r"Use 'huber' here\.$"),
        ("TabMLPRegressor", {"loss": "log_normal"}, r"Use 'gamma' here\.$"),
        ("TabMLPRegressor", {"loss": "squared_eror"}, r"Use 'squared_error' here\.$"),
        ("MLPClassifier", {"activation": "swish"}, r"Use 'silu' here\.$"),
        ("MLPClassifier", {"activation": "strange"}, r"Got 'strange' instead\.$"),
        ("MLPRegressor", {"loss": (16,)}, r"given by name: hidden_layer_sizes=\(16,\)$"),
    ],
)
def test_wrong_names_of_estimators(name, options, words):
    with pytest.raises(ValueError, match=words):
        getattr(fastmlp, name)(**options).fit(X, Y.ravel() > 0)


def test_the_tables_of_names_are_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
    for table in (keywords.SYNONYMS, keywords.ATTRIBUTES, keywords.RECORDS, keywords.PACKAGE):
        for ours, others in table:
            advice = ", ".join(each[2:] if each.startswith("= ") else f"`{each}`" for each in ours)
            names = ", ".join(f"`{each}`" for each in others.split())
            assert f"| {advice} | {names} |" in page


# ---- attributes ----------------------------------------------------------------------------------

# Of a kind of object, what another library calls an attribute, and the advice.
GUESSES = {
    "MLP": {
        "get_weights": "state_dict()",
        "set_weights": "load_state_dict(state)",
        "predict_logits": "predict(X, link=False)",
        "train_on_batch": "partial_fit(X, y)",
        "score": (
            "evaluate(X, y) for the loss, or np.mean(net.predict(X).argmax(axis=1) == y) "
            "for the share of right classes"
        ),
        "n_iter_": "history.loss, which has one for each epoch",
        "freeze": "fit(X, y, epochs=20, groups=fastmlp.Groups(layer_rates=[0, 1]))",
        "layers": "layer_sizes",
        "plot": "history.plot()",
        "eval": "= nothing is to be done: predict never drops units, whatever was trained before",
        "copy": "= copy.deepcopy(model) is a copy",
        "cuda": "= nothing is to be done: models are in the memory of the CPU",
        "coefs_": "weights",
        "loss_curve_": "history",
        "losses": "history.loss",
        "laplacian": "hessian(X).trace(axis1=-2, axis2=-1)",
        "directional_derivative": "jvp(X, v)",
        "d2": "hessian(X)",
        "theta": "parameters_vector",
        "to_rust": "to_c(path)",
        "to_jax": "weights and biases, arrays of NumPy",
        "prune": 'to_c(path, weights="int8", X=X) for less memory; fewer units save more',
        "nbytes": "n_parameters, each of 4 bytes in float32",
        "to_dict": "state_dict()",
        "trace": (
            "= torch.jit.trace(fastmlp.to_torch(model), X) compiles the PyTorch module of a network"
        ),
        "benchmark": (
            "= the command `fastmlp bench` measures the speed of this library and of others"
        ),
        "verify": "to_c(path), whose file checks itself if it is compiled with -DFASTMLP_MAIN",
        "to_tensorrt": "to_onnx(path)",
        "fine_tune": "partial_fit(X, y)",
        "validate": "evaluate(X, y)",
        "predict_one": "predictor()(x)",
        "gradient_wrt_input": "jacobian(X)",
        "w": "weights",
        "b": "biases",
        "loss_": "history.loss",
        "to_casadi": "to_c(path, derivatives=2), compiled with -DFASTMLP_CASADI",
        "plot_calibration": "fastmlp.TabMLPRegressor or TabMLPClassifier, which are calibrated",
        "reset": "= a new fastmlp.MLP(...) has new weights",
        "divergence": "jacobian(X).trace(axis1=-2, axis2=-1)",
    },
    "Ensemble": {
        "decision_function": None,
        "networks": "member_predictions(X), or members, the networks themselves",
        "input_gradient": "members: the mean of theirs",
        "jacobian": "members: the mean of theirs",
    },
    "MLPRegressor": {
        "get_weights": "coefs_",
        "to_numpy": "coefs_ and intercepts_, arrays of NumPy",
        "weights": None,
        "hessian": "to_mlp().hessian(X)",
        "backward": "to_mlp().vjp(X, dY)",
        "history": "history_",
        "best_score_": "best_validation_score_",
    },
    "TabMLPClassifier": {
        "best_iteration_": "best_epoch_",
        "best_score_": "report()",
        "cv_score_": "report()",
        "oof_proba_": "oof_prediction_",
        "plot_roc": "predict_proba(X), for sklearn.metrics.RocCurveDisplay.from_predictions",
        "why": "explain(X)",
        "evaluate": "score(X, y)",
        "set_output": "predict_proba(X), for a frame with columns=classes_",
        "partial_dependence": "plot_partial_dependence(column)",
        "load": "fastmlp.load(path)",
        "freeze": None,
        "decision_function": "predict_proba(X)",
        "summary": "report()",
        "confusion_matrix": (
            "plot_confusion_matrix(), or sklearn.metrics.confusion_matrix(y, model.predict(X))"
        ),
    },
    "History": {"history": "loss", "load": None},
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
    if kind == "MLPRegressor":
        return fastmlp.MLPRegressor(max_iter=300, early_stopping=True).fit(X, Y[:, 0])
    return fastmlp.TabMLPClassifier(preset="fast", epochs=1, members=2).fit(X, Y[:, 0] > 0)


@pytest.mark.parametrize(("kind", "name", "advice"), ROWS, ids=[f"{k}.{n}" for k, n, _ in ROWS])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_wrong_attributes(kind, name, advice):
    thing = fitted(kind)
    words = f"'{kind}' object has no attribute '{name}'"
    if advice:
        words += f": {advice[2:]}" if advice.startswith("= ") else f": use {advice}"
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
        *(("load_model", "load"), ("Sequential", "MLP")),
        ("from_onnx", "from_torch or from_keras, with the model that was exported"),
        *(("mlp", "MLP"), ("EarlyStop", "EarlyStopping"), ("manual_seed", "MLP(..., rng=0)")),
        ("from_flax", "MLP, and assign the arrays to its weights and biases"),
        ("from_state_dict", "MLP.load_state_dict"),
        ("MSELoss", "SquaredError"),
        ("CustomOptimizer", "MLP.parameters_vector"),
        *(
            ("ReduceLROnPlateau", "ReduceOnPlateau"),
            ("Adamm", "Adam"),
            ("Strange", ""),
            ("_load", ""),
            ("__x__", ""),
        ),
    ],
)
def test_wrong_names_of_the_package(name, advice):
    words = f"module 'fastmlp' has no attribute '{name}'" + (f": use {advice}" if advice else "")
    with pytest.raises(AttributeError, match=f"^{re.escape(words)}$"):
        getattr(fastmlp, name)
