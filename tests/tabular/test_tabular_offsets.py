"""Offsets and exposures: exact, in fits and predictions, and refused where they have no meaning."""

import numpy as np
import pandas
import pytest
from sklearn.metrics import d2_tweedie_score, r2_score
from tiny_tables import N, X, Y, frame_of, regressor

from fastmlp import ArrowBlocks
from fastmlp.tabular.outcome.loss_rows import LOSSES

pytestmark = pytest.mark.usefixtures("tiny")

RNG = np.random.default_rng(5)
EXPOSURE = RNG.uniform(0.1, 3, N)
COUNTS = RNG.poisson(np.exp(X[:, 0]) * EXPOSURE).astype(float)
AMOUNTS = RNG.gamma(2, np.exp(X[:, 0]) * EXPOSURE)
TARGETS = {"poisson": COUNTS, "tweedie": COUNTS * AMOUNTS, "gamma": AMOUNTS}
BASE = 100 * X[:, 1]


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if row.degree is not None])
def test_an_exposure_is_an_offset_before_the_log_link(name):
    """The gradient with the exposure in the output is the weight times that of the rate."""
    loss = LOSSES[name].made({"power": 1.3})
    assert loss.link_name == "exp"
    t = TARGETS[name][:, np.newaxis]
    z, e = RNG.normal(size=(N, 1)), EXPOSURE[:, np.newaxis]
    _, wanted = loss.value_and_gradient(z + np.log(e), t)
    _, found = loss.value_and_gradient(z, t / e)
    np.testing.assert_allclose(found * e ** LOSSES[name].degree(loss), wanted, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if row.degree is None])
def test_an_offset_of_an_identity_link_moves_targets(name):
    loss = LOSSES[name].made({"quantile": [0.2, 0.7] if name == "quantiles" else 0.3})
    z, o = RNG.normal(size=(N, loss.heads)), RNG.normal(size=(N, 1))
    moved = z.copy()
    moved[:, :1] += o  # other quantiles are added to the lowest
    _, wanted = loss.value_and_gradient(moved, Y[:, np.newaxis])
    _, found = loss.value_and_gradient(z, Y[:, np.newaxis] - o)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("name", TARGETS)
def test_a_fit_with_an_exposure_learns_rates(name):
    y, power = TARGETS[name], LOSSES[name].degree(LOSSES[name].made({"power": 1.5}))
    model = regressor(loss=name).fit(X, y, exposure=EXPOSURE)
    same = regressor(loss=name).fit(X, y / EXPOSURE, EXPOSURE**power)
    logs = regressor(loss=name).fit(X, y, offset=np.log(EXPOSURE))
    both = regressor(loss=name).fit(X, y, offset=np.log(EXPOSURE / 2), exposure=np.full(N, 2.0))
    rates = model.predict(X)
    np.testing.assert_array_equal(rates, same.predict(X))
    np.testing.assert_allclose(logs.predict(X), rates, rtol=1e-4)
    np.testing.assert_allclose(both.predict(X), rates, rtol=1e-4)
    np.testing.assert_array_equal(model.predict(X, exposure=EXPOSURE), rates * EXPOSURE)
    np.testing.assert_allclose(model.predict(X, offset=np.log(EXPOSURE)), rates * EXPOSURE)
    _, size = model.predict(X, return_std=True, exposure=EXPOSURE)
    np.testing.assert_array_equal(size, model.predict(X, return_std=True)[1] * EXPOSURE)
    column = EXPOSURE[:, np.newaxis]
    for method, argument in (("predict_interval", 0.8), ("predict_quantiles", [0.2, 0.9])):
        found = getattr(model, method)(X, argument, exposure=EXPOSURE)
        np.testing.assert_array_equal(found, getattr(model, method)(X, argument) * column)
    one = model.predict_quantiles(X, 0.5, exposure=EXPOSURE)
    np.testing.assert_array_equal(one, model.predict_quantiles(X, 0.5) * EXPOSURE)
    score = model.score(X, y, exposure=EXPOSURE)
    assert score == pytest.approx(r2_score(y, rates * EXPOSURE))
    weights = np.linspace(1, 2, N)
    weighted = regressor(loss=name).fit(X, y, weights, exposure=EXPOSURE)
    other = regressor(loss=name).fit(X, y / EXPOSURE, weights * EXPOSURE**power)
    np.testing.assert_array_equal(weighted.predict(X), other.predict(X))


def test_rates_are_better_than_counts_where_exposures_differ():
    model = regressor(loss="poisson", epochs=48).fit(X, COUNTS, exposure=EXPOSURE)
    plain = regressor(loss="poisson", epochs=48).fit(X, COUNTS)
    with_exposure = d2_tweedie_score(COUNTS, model.predict(X, exposure=EXPOSURE), power=1)
    assert with_exposure > d2_tweedie_score(COUNTS, plain.predict(X), power=1)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "huber", "gaussian"])
def test_an_offset_from_another_model_is_corrected(name):
    y = BASE + Y
    model = regressor(loss=name).fit(X, y, offset=BASE)
    same = regressor(loss=name).fit(X, y - BASE)
    rest = model.predict(X)
    np.testing.assert_array_equal(rest, same.predict(X))
    np.testing.assert_array_equal(model.predict(X, offset=BASE), rest + BASE)
    mean, size = model.predict(X, return_std=True, offset=BASE)
    np.testing.assert_array_equal(mean, rest + BASE)
    np.testing.assert_array_equal(size, model.predict(X, return_std=True)[1])
    ends = model.predict_interval(X, offset=BASE)
    np.testing.assert_array_equal(ends, model.predict_interval(X) + BASE[:, np.newaxis])
    assert model.score(X, y, offset=BASE) > 0.999 > model.score(X, y - BASE)


def test_quantiles_and_several_targets_have_offsets():
    levels = regressor(loss="quantiles", quantile=[0.2, 0.8]).fit(X, Y + BASE, offset=BASE)
    found = levels.predict(X, offset=BASE)
    np.testing.assert_array_equal(found, levels.predict(X) + BASE[:, np.newaxis])
    assert levels.score(X, Y + BASE, offset=BASE) > 0.99
    two = regressor().fit(X, np.c_[Y, -Y] + BASE[:, np.newaxis], offset=BASE)
    np.testing.assert_array_equal(two.predict(X, offset=BASE), two.predict(X) + BASE[:, np.newaxis])


def test_columns_by_name_are_no_inputs():
    frame = frame_of(years=EXPOSURE, known=BASE, y=COUNTS, cost=Y + BASE)
    by_name = regressor(loss="poisson").fit(
        frame[["a", "b", "c", "years", "y"]], "y", exposure="years"
    )
    assert list(by_name.feature_names_in_) == ["a", "b", "c"]
    plain = regressor(loss="poisson").fit(frame[["a", "b", "c"]], COUNTS, exposure=EXPOSURE)
    np.testing.assert_array_equal(by_name.predict(frame), plain.predict(frame))
    counts = by_name.predict(frame, exposure="years")
    np.testing.assert_array_equal(counts, plain.predict(frame, exposure=EXPOSURE))
    model = regressor().fit(frame[["a", "known", "cost"]], "cost", offset="known")
    assert list(model.feature_names_in_) == ["a"]
    assert model.score(frame, "cost", offset="known") > 0.99


ONE = np.arange(N) == 3
# By name: the loss, arguments, the exception, and what it says.
WRONG = {
    "exposure 0": ("poisson", {"exposure": EXPOSURE * ~ONE}, r"exposure holds 0.0 .* \(0, inf\)"),
    "negative": ("gamma", {"exposure": -EXPOSURE}, r"exposure holds -.* in \(0, inf\)"),
    "NaN": ("tweedie", {"exposure": np.where(ONE, np.nan, 1)}, "exposure holds nan"),
    "infinite": ("poisson", {"exposure": np.where(ONE, np.inf, 1)}, "exposure holds inf"),
    "no log link": (
        "squared_error",
        {"exposure": EXPOSURE},
        "loss is 'squared_error', .* use one of poisson, gamma, tweedie, or pass offset",
    ),
    "1e30": ("poisson", {"offset": np.full(N, 1e30)}, r"offset holds 1e.30 .* \[-500, 500\]"),
    "nan offset": ("squared_error", {"offset": np.full(N, np.nan)}, "offset holds nan"),
    "inf offset": ("squared_error", {"offset": np.full(N, np.inf)}, "offset holds inf"),
    "masked": ("squared_error", {"offset": np.ma.masked_array(Y, Y > 1)}, "offset has masked ent"),
    "masked units": ("poisson", {"exposure": np.ma.masked_array(Y**2, Y > 1)}, "exposure has mas"),
    "words": ("squared_error", {"offset": ["a"] * N}, "offset holds no numbers"),
    "short": ("squared_error", {"offset": np.ones(N - 1)}, r"offset has shape \(59,\) but \(60,\)"),
    "a table": ("squared_error", {"offset": np.ones((N, 1))}, r"offset has shape \(60, 1\)"),
    "no column": ("squared_error", {"offset": "base"}, "offset is 'base' but X has no column"),
    "validation": (
        "squared_error",
        {"offset": BASE, "X_val": X, "y_val": Y},
        "X_val is given beside offset or exposure",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_hostile_offsets_and_exposures(name):
    loss, options, words = WRONG[name]
    with pytest.raises(ValueError, match=words):
        regressor(loss=loss).fit(X, np.exp(Y), **options)
    if "X_val" not in options:
        model = regressor(loss=loss).fit(X, np.exp(Y))
        for method in (model.predict, model.predict_interval):
            with pytest.raises(ValueError, match=words):
                method(X, **options)


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_masks_beside_an_exposure_are_refused(name):
    given = {"y": Y**2, "exposure": np.ones(N)}
    with pytest.raises(ValueError, match=f"{name} has masked entries"):
        regressor(loss="poisson").fit(X, **given | {name: np.ma.masked_array(Y**2, Y > 1)})


def test_large_offsets_and_tiny_exposures_give_finite_numbers():
    model = regressor().fit(X, Y + 1e30, offset=np.full(N, 1e30))
    assert np.isfinite(model.predict(X, offset=np.full(N, 1e30))).all()
    rates = regressor(loss="tweedie").fit(X, COUNTS, exposure=EXPOSURE * 1e-80)
    assert np.isfinite(rates.predict(X, exposure=EXPOSURE * 1e-80)).all()


def test_sources_have_no_offsets():
    table = pytest.importorskip("pyarrow").Table.from_pandas(
        pandas.DataFrame({"a": X[:, 0], "y": COUNTS, "e": EXPOSURE})
    )
    source = ArrowBlocks(table, target="y")
    with pytest.raises(TypeError, match="offset and exposure need a table in memory but X is a s"):
        regressor(loss="poisson").fit(source, exposure="e")
