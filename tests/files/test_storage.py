"""Files: what is saved comes back with the same bits, and goes on with the same bits."""

import copy
import json
import re

import children
import models
import numpy as np
import pytest
import safetensors
import stored
from models import saved
from safetensors import numpy as numpy_files
from stored import same
from test_bits import FMA_LEVELS

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._files import record
from fastmlp._models.network import network_of
from fastmlp.sklearn.fitted import fitted_of

X = stored.X


OTHER = {"native": "reference", "reference": "native"}


@pytest.mark.parametrize("name", stored.MLPS)
@pytest.mark.parametrize("engine", stored.KINDS)
def test_mlp_comes_back_and_goes_on_with_the_same_bits(name, engine, tmp_path):
    net = stored.MLPS[name](stored.KINDS[engine])
    again = saved(net, tmp_path / "net")
    assert type(again) is type(net)
    assert repr(again) == repr(net)
    assert again.history == net.history
    assert same(again.predict(X), net.predict(X))
    targets = stored.TARGETS[net.loss.target_kind]
    optimizer = fastmlp.SGD(0.01, momentum=0.9)
    for each in (net, again):
        each.partial_fit(X, targets, batch_size=7, optimizer=optimizer)
        each.fit(X, targets, epochs=1, batch_size=16)
    assert models.digest(again) == models.digest(net)
    assert again.history.loss == net.history.loss


PREDICTED = {
    "mlp": lambda kind: stored.mlp(kind),
    "ensemble": lambda kind: stored.ensemble(kind, loss="gaussian_nll"),
}


@pytest.mark.parametrize("name", PREDICTED)
@pytest.mark.parametrize("engine", stored.KINDS)
def test_a_file_is_loaded_by_either_engine(engine, name, tmp_path):
    def said(model):
        return model.predict(X.astype(np.float32))

    model = PREDICTED[name](stored.KINDS[engine])
    again = saved(model, tmp_path / "model")
    other = fastmlp.load(tmp_path / "model", engine=OTHER[engine])
    for each, home in ((again, engine), (other, OTHER[engine])):
        right = PREDICTED[name](stored.KINDS[home])
        assert type(each) is type(right)
        assert no_address(each) == no_address(right)
    np.testing.assert_equal(said(again), said(model))
    np.testing.assert_allclose(said(other), said(model), rtol=1e-4)


def no_address(thing):
    """Return a repr in which objects have no addresses."""
    return re.sub(r" at 0x\w+|\(MT19937\) at 0x\w+", "", repr(thing))


def outputs(model, X=X):
    """Return all that an estimator predicts."""
    if hasattr(model, "predict_proba"):
        return [model.predict_proba(X), model.predict(X)]
    return [model.predict(X), *model.predict(X, return_std=model.loss == "gaussian")]


@pytest.mark.parametrize("name", stored.estimators())
def test_estimator_comes_back_and_goes_on_with_the_same_bits(name, tmp_path):
    model = stored.estimators()[name]()
    again = saved(model, tmp_path / "model")
    assert type(again) is type(model)
    assert no_address(again) == no_address(model)
    names, others = (
        {*each.get_params(), *(key for key in dir(each) if key[-1] == "_" and key[0] != "_")}
        for each in (model, again)
    )
    assert names == others
    for key in names - {"random_state", "callbacks", "coefs_", "intercepts_"}:
        a, b = getattr(again, key), getattr(model, key)
        assert same(a, b) if isinstance(b, np.ndarray) else no_address(a) == no_address(b), key
    if name == "unfitted":
        return
    data = X
    if hasattr(model, "feature_names_in_"):
        data = __import__("pandas").DataFrame(X, columns=model.feature_names_in_)
    assert same(outputs(again, data), outputs(model, data))
    if model.solver == "lbfgs" or model.early_stopping:
        return
    y = model.predict(data)
    y = np.abs(y) if y.dtype.kind == "f" and not hasattr(model, "classes_") else y
    for each in (model, again):
        each.partial_fit(data, y)
        each.partial_fit(data, y)
    assert same(outputs(again, data), outputs(model, data))


def test_without_training_a_file_is_smaller_and_predicts_the_same(tmp_path):
    net = stored.mlp()
    small = saved(net, tmp_path / "small", training=False)
    net.save(tmp_path / "whole")
    assert small.history is None
    assert same(small.predict(X), net.predict(X))
    assert (tmp_path / "small").stat().st_size < (tmp_path / "whole").stat().st_size * 0.7
    model = stored.estimators()["MLPRegressor plain"]()
    small = saved(model, tmp_path / "model", training=False)
    assert small.loss_curve_ == small.history_.loss == []
    assert small.validation_loss_curve_ is model.validation_loss_curve_ is None
    assert same(outputs(small), outputs(model))
    small.partial_fit(X, stored.Y)


def test_only_complete_epochs_of_a_history_are_saved(tmp_path):
    for model in (stored.mlp(passes=0), stored.estimators()["MLPRegressor plain"]()):
        name = "history_" if hasattr(model, "history_") else "history"
        history = getattr(model, name)
        seconds = list(history.seconds)
        history.seconds.append(1.0)  # a record that is being written has more in one list
        assert getattr(saved(model, tmp_path / "model"), name).seconds == seconds


def test_other_readers_see_plain_weights(tmp_path):
    net = stored.mlp(dtype="float64")
    net.save(tmp_path / "net.safetensors")
    found = numpy_files.load_file(tmp_path / "net.safetensors")
    for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        assert same(found[f"layers.{layer}.weight"], weight)
        assert same(found[f"layers.{layer}.bias"], bias)
    assert same(found["history.loss"], np.array(net.history.loss))
    model = stored.estimators()["MLPClassifier words"]()
    model.save(tmp_path / "model.safetensors")
    found = numpy_files.load_file(tmp_path / "model.safetensors")
    assert same(found["scaling.x_mean"], fitted_of(model).network.scaling.x_mean)


def test_what_another_writer_makes_of_a_file_is_loaded_without_its_digest(tmp_path):
    net, path = stored.mlp(), tmp_path / "net"
    net.save(path)
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    tensors["layers.1.bias"] = tensors["layers.1.bias"] + 1
    numpy_files.save_file(tensors, path, metadata)
    with pytest.raises(fastmlp.ModelFormatError, match=r"digest is '\w+.* pass verify=False"):
        fastmlp.load(path)
    again = fastmlp.load(path, verify=False)
    assert same(list(again.weights), list(net.weights))
    assert same(again.biases[1], net.biases[1] + 1)


def test_a_file_depends_on_the_model_alone(tmp_path):
    net = stored.mlp()
    pieces = stored.text_of(net)
    assert stored.text_of(copy.deepcopy(net)) == pieces
    net.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == pieces
    assert stored.text_of(fastmlp.load(tmp_path / "net")) == pieces


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: type("Own", (fastmlp.MLP,), {})([1, 1]), TypeError, "class .*Own"),
        (lambda: fastmlp.MLPRegressor(learning_rate=lambda step: 0.1), TypeError, "is .*lambda"),
        (lambda: fastmlp.MLPRegressor(alpha=-1.0), ValueError, "alpha"),
        (lambda: fastmlp.MLPRegressor(scoring="x" * 2000), ValueError, "has a string of 2,000"),
        (lambda: long_history(), ValueError, "have 400,002 .* room for 400,000"),
        (lambda: fastmlp.MLPClassifier(class_weight={(1, 2): 3}), TypeError, r"the key \(1, 2\)"),
        (
            lambda: stored.fitted(
                fastmlp.MLPClassifier((2,), max_iter=1),
                np.array(["a", "b" * 2000])[stored.LABELS % 2],
            ),
            ValueError,
            "strings of up to 2,000",
        ),
        (
            lambda: stored.fitted(
                fastmlp.MLPClassifier((2,), max_iter=1), stored.LABELS.astype("M8[25s]")
            ),
            TypeError,
            r"is an array of datetime64\[25s\] but",
        ),
    ],
)
def test_what_a_file_cannot_hold_is_refused(make, error, words, tmp_path):
    with pytest.raises(error, match=words):
        make().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def long_history(epochs=record.MOST_NUMBERS // 3 + 1):
    """Return a model after more epochs than a file has room for."""
    net = models.network(fastmlp.MLP)
    net.fit(X, stored.Y, epochs=2, batch_size=64)
    for values in (net.history.loss, net.history.seconds, net.history.learning_rate):
        values[:] = [0.0] * epochs
    network_of(net).resume_state = network_of(net).resume_state._replace(epochs=epochs)
    return net


@pytest.mark.parametrize("many", [False, True])
def test_a_history_that_was_shortened_is_not_saved_as_a_file_that_nobody_can_load(many, tmp_path):
    net = fastmlp.MLP([X.shape[1], 2], rng=0)
    model = fastmlp.Ensemble([net]) if many else net
    model.fit(X, X[:, :2], epochs=2)
    net.history.loss.clear()
    with pytest.raises(ValueError, match="history has 0 epochs but the fit 2, and a file must"):
        model.save(tmp_path / "model")
    assert [*tmp_path.iterdir()] == []
    assert same(saved(model, tmp_path / "model", training=False).predict(X), model.predict(X))


def test_a_long_reason_of_any_letters_comes_back(tmp_path):
    net = models.network(fastmlp.MLP)
    net.fit(X, stored.Y, epochs=1)
    net.history.stop_reason = "ä" * 150
    assert saved(net, tmp_path / "net").history.stop_reason == "ä" * 150
    net.history.stop_reason = "ä" * 1500
    with pytest.raises(ValueError, match="does not fit into a file"):
        net.save(tmp_path / "net")


def test_bad_arguments(tmp_path):
    net = models.network(fastmlp.MLP)
    with pytest.raises(TypeError, match="training is 1 but must be True or False"):
        net.save(tmp_path / "net", training=1)
    net.save(tmp_path / "net")
    with pytest.raises(ValueError, match="engine is 'gpu' but .* choose from native, reference"):
        fastmlp.load(tmp_path / "net", engine="gpu")
    with pytest.raises(FileNotFoundError):
        fastmlp.load(tmp_path / "none")
    fastmlp.MLPRegressor().save(tmp_path / "model")
    with pytest.raises(fastmlp.ModelFormatError, match="MLPRegressor has no engine 'reference'"):
        fastmlp.load(tmp_path / "model", engine="reference")


def test_loading_works_where_nothing_compiled_can_be_loaded(tmp_path):
    stored.mlp(fastmlp.reference.MLP).save(tmp_path / "reference")
    stored.mlp().save(tmp_path / "native")
    program = (
        "import without_native\n"
        "without_native.block()\n"
        "import fastmlp\n"
        f"fastmlp.load({str(tmp_path / 'reference')!r})\n"
        f"fastmlp.load({str(tmp_path / 'native')!r}, engine='reference')\n"
        "try:\n"
        f"    fastmlp.load({str(tmp_path / 'native')!r})\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    said = children.printed(children.python("-c", program, folders=children.FOLDERS))
    assert "use fastmlp.reference" in said


@pytest.mark.parametrize(
    "path", sorted(stored.KEPT.glob("*.safetensors")), ids=lambda path: path.stem
)
def test_files_of_old_versions_are_loaded_with_the_same_predictions(path):
    kept = json.loads(path.with_suffix(".json").read_text())
    model = fastmlp.load(path)
    dtype = path.stem.rpartition("-")[2]
    x, expected = (np.array(kept[name], dtype) for name in ("x", "expected"))
    names = ("predict_proba", "predict", "__call__")  # the first that it has
    predict = next(getattr(model, name) for name in names if hasattr(model, name))
    found = predict(x)
    if native_engine.level() in FMA_LEVELS and not hasattr(model, "temperature_"):
        assert same(found, expected)  # NumPy's logarithm has other bits on other CPUs
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if hasattr(model, "partial_fit"):
        model.partial_fit(x, model.predict(x))
