"""Ensembles: every member as if it were alone, and all of them as one."""

import copy
import warnings

import cases
import numpy as np
import pytest
from models import digest
from states import refused, same

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine
from fastmlp._models.network import network_of

N = 61  # odd: with batches of 16 the last is shorter
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 5))
WEIGHTS = RNG.uniform(0.1, 2.0, (5, N))
ROWS = [RNG.integers(0, N, 40 + k) for k in range(5)]

# name: (layer sizes, options of the model, options of fit, what differs among members)
FITS = {
    "plain": ([5, 7, 3], {}, {}, ()),
    "one layer": ([5, 1], {}, {"batch_size": 1, "optimizer": fastmlp.SGD(0.01)}, ()),
    "dropout, norm, groups": (
        [5, 33, 17, 2],
        {"dropout": [0.3, 0.1], "layer_norm": "before", "activation": "gelu"},
        {"groups": fastmlp.Groups(bias_rate=2.0), "l2": 0.01, "clip_norm": 0.5},
        ("sample_weight",),
    ),
    "schedules, rows": (
        [5, 9, 4],
        {"loss": "gaussian_nll", "activation": "tanh", "dropout": 0.2},
        {"optimizer": fastmlp.AdamW(fastmlp.Cosine(0.1, 30), weight_decay=lambda s: 0.1 / (9 + s))},
        ("rows", "sample_weight"),
    ),
    "all operators": (
        [5, 17, 17, 2],
        {
            **{"parametric": [True, False], "scale": True, "activation": "mish", "dropout": 0.15},
            **{"skip": 1, "linear_path": True},
        },
        {"groups": fastmlp.Groups(scale_rate=6.0, activation_rate=0.1)},
        ("rows",),
    ),
    "classes, own data": ([5, 8, 3], {"loss": "cross_entropy"}, {"shuffle": False}, ("X",)),
}  # fmt: skip
EACH_EPOCH = {"callbacks": [lambda state: None]}
TRIALS = [(3, 2), (1, 1), (2, 3), (5, 3), (2, 1)]


def members(mlp, name, m, dtype="float64"):
    sizes, model, _, _ = FITS[name]
    return [mlp(sizes, dtype=dtype, rng=seed, **model) for seed in range(m)]


def inputs(name, m):
    """Return the arguments for an ensemble, and those of each member alone."""
    sizes, model, fit, differs = FITS[name]
    loss = fastmlp._network.spec.build(sizes, "tanh", model.get("loss", "squared_error")).loss
    y = cases.targets(loss, N, sizes[-1], np.random.default_rng(1))
    common = {"epochs": 3, "batch_size": 16, "validation_data": (X[:9], y[:9]), **fit}
    together, alone = dict(common), []
    x_of, y_of = [X + k for k in range(m)], [y] * m
    together["X"], together["y"] = (x_of, y_of) if "X" in differs else (X, y)
    if "sample_weight" in differs:
        together["sample_weight"] = list(WEIGHTS[:m])
    if "rows" in differs:
        together["rows"] = ROWS[:m]
    for k in range(m):
        chosen = ROWS[k] if "rows" in differs else slice(None)
        own = {"X": (x_of[k] if "X" in differs else X)[chosen], "y": y[chosen], **common}
        if "sample_weight" in differs:
            own["sample_weight"] = WEIGHTS[k][chosen]
        alone.append(own)
    return together, alone


def compare(mlp, name, m, n_threads, dtype, leap=0):
    together, alone = inputs(name, m)
    if leap:  # while nobody looks
        for fit in (together, *alone):
            fit |= {"epochs": leap, "validation_data": None}
    ensemble = fastmlp.Ensemble(members(mlp, name, m, dtype))
    history = ensemble.fit(**together, n_threads=n_threads)
    assert len(history.loss) == leap or len(history.loss) == len(history.val_loss) == 3
    pairs = [*zip(ensemble, members(mlp, name, m, dtype), alone, strict=True)]
    pairs.append((pairs[0][0], members(mlp, name, 1, dtype)[0], {**alone[0], **EACH_EPOCH}))
    for member, single, own in pairs:
        single.fit(**own, n_threads=1)
        same(member, single)


@pytest.mark.parametrize("level", native_engine.available_levels())
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("m", "n_threads"), TRIALS)
@pytest.mark.parametrize("name", FITS)
def test_every_member_has_the_bits_that_it_has_alone(monkeypatch, name, m, n_threads, dtype, level):
    monkeypatch.setattr(
        fastmlp.MLP, "_make_engine", staticmethod(lambda spec: native_engine.Engine(spec, level))
    )
    compare(fastmlp.MLP, name, m, n_threads, dtype)


@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_predictions_are_those_of_the_mixture(mlp, case):
    y = cases.targets(case.loss, N, 2, np.random.default_rng(2), labels=case.labels)
    nets = [mlp([5, 6, 2], loss=case.loss, dtype="float64", rng=seed) for seed in range(3)]
    ensemble = fastmlp.Ensemble(nets)
    apart, together = ensemble.member_predictions(X), ensemble.predict(X)
    if case.loss.heads == 2:
        (means, variances), (mean, variance) = apart, together
        np.testing.assert_allclose(mean, means.mean(0))
        np.testing.assert_allclose(variance, variances.mean(0) + means.var(0))
    else:
        np.testing.assert_allclose(together, apart.mean(0), rtol=1e-12)
    together = cases.columns(together)
    values, _ = case.loss.value_and_gradient(cases.before_link(case.loss, together), y)
    loss = ensemble.evaluate(X, y, WEIGHTS[0])
    assert loss == pytest.approx(np.average(values, weights=WEIGHTS[0]), rel=1e-9)


@pytest.mark.filterwarnings("ignore:some members have the same weights")
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_the_loss_of_confident_members_is_not_cut_off(mlp, case, dtype):
    y = cases.targets(case.loss, N, 2, np.random.default_rng(2), labels=case.labels)
    net = mlp([5, 6, 2], loss=case.loss, dtype=dtype, rng=0)
    net.weights = [w * 8 for w in net.weights]  # outputs up to 300: probabilities round to 0 and 1
    if case.loss.link_name in ("exp", "mean_and_variance"):
        net.weights = [w / 4 for w in net.weights]  # where exp of them is in range
    data = X, y, WEIGHTS[0]
    wanted = pytest.approx(net.evaluate(*data), rel=1e-5 if dtype == "float32" else 1e-12)
    for members in ([net], [net, copy.deepcopy(net)]):
        ensemble = fastmlp.Ensemble(members)
        assert ensemble.evaluate(*data) == wanted
        for options in ({}, {"validation_rows": [np.arange(N)] * len(members)}):
            held = options or {"validation_data": data}
            still = fastmlp.Groups(weight_rate=0, bias_rate=0)
            history = ensemble.fit(X, y, sample_weight=WEIGHTS[0], epochs=1, groups=still, **held)
            assert history.val_loss == [wanted]


def test_the_loss_of_confident_members_that_disagree_is_exact():
    x, z = np.ones((1, 1)), np.array([900.0, -700.0, 800.0])
    nets = [fastmlp.MLP([1, 1], loss="binary_cross_entropy", dtype="float64") for _ in z]
    for net, each in zip(nets, z, strict=True):
        net.weights = [np.array([[each]])]
    ensemble = fastmlp.Ensemble(nets)
    assert ensemble.evaluate(x, [[1.0]]) == pytest.approx(np.log(3 / 2), rel=1e-12)
    assert ensemble.evaluate(x, [[0.0]]) == pytest.approx(np.log(3), rel=1e-12)
    nets[1].weights = [np.array([[1000.0]])]  # the least sure one has nearly all of what is left
    assert ensemble.evaluate(x, [[0.0]]) == pytest.approx(800 + np.log(3), rel=1e-12)


def test_members_that_are_alike_are_warned_of():
    x, y = np.linspace(-1, 1, 20)[:, np.newaxis], np.ones(20)
    alike = fastmlp.Ensemble([fastmlp.MLP([1, 3, 1], rng=0) for _ in range(3)])
    with pytest.warns(UserWarning, match=r"spread says nothing: make each with its own seed"):
        alike.fit(x, y, epochs=1)
    assert np.ptp(alike.member_predictions(x), axis=0).max() == 0
    others = np.array_split(np.arange(20), 3)  # the same first weights, and rows of their own
    apart = fastmlp.Ensemble([fastmlp.MLP([1, 3, 1], rng=0) for _ in range(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apart.fit(x, y, epochs=1, rows=others)


def test_one_best_epoch_is_chosen_for_all():
    together, _ = inputs("plain", 3)
    seen = []
    stop = fastmlp.EarlyStopping(patience=20)
    ensemble = fastmlp.Ensemble(members(fastmlp.MLP, "plain", 3))

    def look(state):
        assert state.val_loss == ensemble.evaluate(*together["validation_data"])
        seen.append([digest(member) for member in state.model])

    ensemble.fit(**together | {"epochs": 12}, callbacks=[stop, look])
    assert stop.best == min(ensemble.history.val_loss)
    assert [digest(member) for member in ensemble] == seen[stop.best_epoch]


@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
def test_a_member_that_diverges_is_named_and_nobody_moves(mlp):
    ensemble = fastmlp.Ensemble(members(mlp, "plain", 3))
    together, _ = inputs("plain", 3)
    y, kept = [together["y"], together["y"] * 1e250, together["y"]], []

    def keep(state):
        kept.append([digest(member) for member in state.model])
        state.learning_rate_scale = 1e250

    with refused(fastmlp.DivergenceError, "member 1 diverged in epoch 0", ensemble):
        ensemble.fit([X] * 3, y, epochs=2, n_threads=2)
    with pytest.raises(fastmlp.DivergenceError, match=r"member 0 diverged in epoch 2"):
        ensemble.fit(X, y[0], epochs=3, callbacks=[keep], n_threads=2)
    assert [digest(member) for member in ensemble] == kept[-1]
    assert [len(member.history.loss) for member in ensemble] == [2, 2, 2]


def test_members_of_an_ensemble_and_its_repr():
    ensemble = fastmlp.Ensemble(members(fastmlp.MLP, "plain", 2))
    assert "2 x fastmlp.MLP([5, 7, 3]" in repr(ensemble)
    assert ensemble.members[1] is ensemble[1]
    assert copy.copy(ensemble)[0] is not ensemble[0]


MLP = fastmlp.MLP
WRONG = [
    (lambda: [], ValueError, "empty"),
    (lambda: [MLP([5, 3]), "net"], TypeError, r"members\[1\] has type str"),
    (lambda: [MLP([5, 3]), MLP([5, 4])], ValueError, r"members\[1\] is .* but .* is expected"),
    (lambda: [MLP([5, 3]), reference.MLP([5, 3])], ValueError, r"members\[1\]"),
    (lambda: [MLP([5, 3])] * 2, ValueError, "twice"),
    (lambda: MLP([5, 3]), TypeError, "members has type MLP but a list of MLPs"),
]


@pytest.mark.parametrize(("nets", "error", "match"), WRONG)
def test_what_is_no_ensemble_is_refused(nets, error, match):
    with pytest.raises(error, match=match):
        fastmlp.Ensemble(nets())


WRONG_FITS = [
    ({"rows": [[0, 1]]}, "rows has 1 entries"),
    ({"rows": 2}, "rows has type int"),
    ({"rows": [[0], [1]], "sample_weight": np.arange(N)}, r"rows\[0\] has rows of sample weight 0"),
    ({"rows": [[0, 1], [0, N]]}, rf"rows\[1\] holds {N} but row numbers from 0 to 60"),
    ({"rows": [[0, 1], [-1]]}, r"rows\[1\] holds -1"),
    ({"rows": [[0, 1], []]}, r"rows\[1\] is"),
    ({"rows": [[0, 1], [0.5]]}, r"rows\[1\] is"),
    ({"X": [X], "y": [X]}, "X has 1 entries"),
    ({"X": [X, X], "y": [X[:, :3]]}, "y has 1 entries but .* as X has"),
    ({"X": [[X[0].tolist(), [1.0]], X]}, "X is not a rectangular array"),
    ({"X": np.array(3.0)}, "X has 0 dimensions"),
    ({"sample_weight": [np.ones(N)]}, "sample_weight has 1 entries"),
]


@pytest.mark.parametrize(("wrong", "match"), WRONG_FITS)
def test_a_wrong_fit_changes_nothing(wrong, match):
    together, _ = inputs("plain", 2)
    ensemble = fastmlp.Ensemble(members(MLP, "plain", 2))
    with refused(ValueError, match, ensemble):
        ensemble.fit(**together | wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"X": [X, X[:, :2]], "y": [X[:, :3]] * 2}, {"sample_weight": [np.ones(N), -np.ones(N)]}],
)
def test_what_is_wrong_with_the_data_of_one_says_whose_they_are(wrong):
    together, _ = inputs("plain", 2)
    with pytest.raises(ValueError, match="expect") as caught:
        fastmlp.Ensemble(members(MLP, "plain", 2)).fit(**together | wrong)
    assert caught.value.__notes__ == ["in the data of member 1"]


def test_a_member_in_a_fit_of_its_own_is_waited_for_by_nobody():
    together, _ = inputs("plain", 2)
    ensemble = fastmlp.Ensemble(members(MLP, "plain", 2))

    def second(state):
        with pytest.raises(RuntimeError, match="a fit is running"):
            ensemble.fit(**together)

    ensemble[1].fit(X, together["y"], epochs=1, callbacks=[second])
    with network_of(ensemble[0]).lock.taken():
        pass
