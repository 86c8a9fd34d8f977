"""How many rows and networks a fit has where its time or memory is short."""

import math

import numpy as np
import pytest
import trials
from models import saved
from tiny_tables import LABELS, X, Y, classifier, regressor

from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.fit import reading
from fastmlp.tabular.plan import presets, progress
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.recipe import blend, budget
from fastmlp.tabular.recipe.budget import bytes_of, free_bytes, sample
from fastmlp.tabular.table import frames

MANY = np.random.default_rng(0).normal(size=(3_000, 4))
SUM = MANY.sum(axis=1)
WORDS = np.where(MANY[:, 0] > 0, "yes", "no")


@pytest.fixture(autouse=True)
def small(monkeypatch, tiny):
    """Let tables of a thousand rows be large."""
    monkeypatch.setattr(budget, "FEWEST_ROWS", 1_000)
    monkeypatch.setattr(reading, "PILOT_ROWS", 500)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (5e6, 5e6),
        ("4GB", 4e9),
        (" 1.5 gb ", 1.5e9),
        ("500 MiB", 500 * 2**20),
        ("2k", 2e3),
        ("123", 123),
        ("1TiB", 2**40),
    ],
)
def test_sizes_are_numbers_of_bytes_or_texts(given, expected):
    assert bytes_of(given) == expected


@pytest.mark.parametrize("given", ["", "GB", "4 bytes", "-1GB", "0", "1e9GB", "4 GB 3"])
def test_other_texts_are_refused(given):
    with pytest.raises(ValueError, match="max_memory is .* but a size above 0 is expected"):
        regressor(max_memory=given).fit(X, Y)


GIB = 2**30
FILES = {
    "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable:   {8 * 2**20} kB\n",
    "proc/self/cgroup": "7:pids:/a\n4:memory:/job/step\n0::/user/fit\n",
}
SECOND, FIRST = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 * GIB),
        ({f"{SECOND}/user/fit/memory.max": "max\n"}, 8 * GIB),
        (
            {
                f"{SECOND}/user/fit/memory.max": f"{3 * GIB}\n",
                f"{SECOND}/user/fit/memory.current": f"{2 * GIB}\n",
                f"{SECOND}/user/fit/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            },
            2 * GIB,
        ),
        (  # the group above has this one
            {
                f"{SECOND}/user/memory.max": f"{5 * GIB}\n",
                f"{SECOND}/user/memory.current": f"{GIB}\n",
            },
            4 * GIB,
        ),
        (  # ulimit -v
            {
                "proc/self/limits": f"Limit  Soft\nMax address space  {3 * GIB}  bytes\n",
                "proc/self/status": f"Name: python\nVmSize:   {GIB // 1024} kB\n",
            },
            2 * GIB,
        ),
        ({"proc/self/limits": "Max address space     unlimited   unlimited  bytes\n"}, 8 * GIB),
        (  # the path of the group is not visible in a container, its root is
            {
                f"{FIRST}/memory.limit_in_bytes": f"{GIB}\n",
                f"{FIRST}/memory.usage_in_bytes": f"{GIB}\n",
                f"{FIRST}/memory.stat": "inactive_file 1\ntotal_inactive_file 77\n",
            },
            77,
        ),
    ],
)
def test_free_memory_is_that_of_the_machine_or_the_smallest_limit(tmp_path, files, expected):
    for name, text in (FILES | files).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert free_bytes(tmp_path) == expected


def test_a_system_that_does_not_tell_has_no_limit(tmp_path):
    assert free_bytes(tmp_path) == math.inf
    assert free_bytes() > 0


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0])
def test_a_sample_is_uniform_without_repeats_and_in_order(share, monkeypatch):
    monkeypatch.setattr(budget, "PART", 100)
    n, rng = 1_050, np.random.default_rng(0)
    count, times = round(share * n), np.zeros(1_050)
    for _ in range(200):
        rows = sample(n, count, rng)
        assert len(rows) == count
        assert np.all(np.diff(rows) > 0)
        times[rows] += 1
    deviation = math.sqrt(200 * share * (1 - share)) + 1e-9
    assert abs(times - 200 * share).max() < 5.5 * deviation
    assert abs(times[:500].mean() - 200 * share) < deviation


WIDE = np.random.default_rng(1).normal(size=(4_000, 25))
TEN = np.digitize(WIDE[:, 0], np.linspace(-1, 1, 9))
CASES = {
    "numbers": (regressor, WIDE[:, 0], {}),
    "variances": (regressor, WIDE[:, 0], {"loss": "gaussian"}),
    "several numbers": (regressor, WIDE[:, :5], {}),
    "classes": (classifier, TEN, {}),
    "wide": (regressor, WIDE[:, 0], {"width": 200}),
    "many members": (regressor, WIDE[:, 0], {"members": 40, "folds": 10}),
    "two recipes": (regressor, WIDE[:, 0], {"recipes": [{"bins": 8}, {"bins": 0, "depth": 5}]}),
    "two stages": (regressor, WIDE[:, 0], {"preset": "default", "select": False}),
}
SLOW = ("variances", "several numbers", "wide", "two recipes", "two stages")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]
)
def test_the_estimate_of_memory_is_near_the_peak(name, monkeypatch):
    make, y, options = CASES[name]
    monkeypatch.setattr(presets, "FEWEST_EPOCHS", 2)
    monkeypatch.setattr(presets, "MOST_EPOCHS", 2)
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(4, 2, 2, (Recipe(bins=8, width=64),)))
    plans = kept_plans(monkeypatch)
    make(**options).fit(WIDE[:50], y[:50])  # loads modules
    found, _ = trials.peak_of(lambda: make(**options).fit(WIDE, y))
    assert found / 1.3 < plans[-1].memory < 2.5 * found


def kept_plans(monkeypatch):
    """Return a list of the plans of all fits that follow."""
    plan, plans = budget.Budget.plan, []

    def kept(self, *given):
        plans.append(plan(self, *given))
        return plans[-1]

    monkeypatch.setattr(budget.Budget, "plan", kept)
    return plans


@pytest.mark.parametrize("make", [regressor, classifier])
def test_little_memory_takes_networks_then_rows(make, monkeypatch, tmp_path):
    y = SUM if make is regressor else WORDS
    plans = kept_plans(monkeypatch)
    whole = make().fit(MANY, y)
    assert whole.rows_ is None
    assert not plans[0].notes
    ample, one = plans[0].memory, make(members=3).fit(MANY, y)
    assert len(fitted_of(one).blend) == 3
    fewer = make(max_memory=0.99 * ample).fit(MANY, y)
    assert (len(fitted_of(whole).blend), len(fitted_of(fewer).blend), fewer.rows_) == (6, 3, None)
    assert "one network, not 2, holds out each row, because max_memory is" in str(fewer.report())
    np.testing.assert_array_equal(fewer.predict(MANY), one.predict(MANY))
    model = make(max_memory=0.8 * plans[1].memory).fit(MANY, y)
    rows = model.rows_
    assert 1_000 <= len(rows) < 3_000
    note = f"note         {len(rows):,} of 3,000 rows are used, a random sample: max_memory is"
    assert note in str(model.report())
    assert model.report().rows == len(model.oof_prediction_) == len(rows)
    np.testing.assert_array_equal(saved(model, tmp_path / "model").rows_, rows)
    again = make(members=3).fit(MANY[rows], y[rows])  # nothing else has changed
    np.testing.assert_array_equal(model.oof_prediction_, again.oof_prediction_)
    assert model.fit(X, Y if make is regressor else LABELS).rows_ is None


def test_the_hint_of_a_long_fit_tells_the_estimate(monkeypatch, caplog):
    for name in ("LONG_FIT", "RELIABLE_AFTER"):
        monkeypatch.setattr(progress, name, 0.0)
    plans = kept_plans(monkeypatch)
    with caplog.at_level("INFO", "fastmlp"):
        regressor().fit(MANY, SUM)
    assert f" s and {progress.in_bytes(plans[0].memory)}: preset='fast' is quicker" in caplog.text


def test_a_fit_that_cannot_be_held_is_refused(monkeypatch):
    model = regressor(max_memory="10 kB")
    with pytest.raises(MemoryError, match=r"max_memory is 10 kB but the fit takes about .* raise"):
        model.fit(MANY, SUM)
    assert not hasattr(model, "_fitted")
    monkeypatch.setattr(budget, "free_bytes", lambda: 1e4)  # the default only reduces
    assert len(regressor().fit(MANY, SUM).rows_) == 1_000


GIVEN = {
    "numbers": {},
    "weights": {"sample_weight": np.arange(3_000) % 3},
    "groups": {"groups": np.arange(3_000) // 4},
    "folds": {"folds": np.arange(3_000) // 7 % 4 - 1},
    "time": {"time": np.arange(3_000) * 7 % 3_001},
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_rows_that_are_not_used_change_nothing(given, kind, monkeypatch):
    table = MANY
    if kind != "array":
        table = pytest.importorskip(kind).DataFrame({f"c{k}": x for k, x in enumerate(MANY.T)})
    with monkeypatch.context() as patch:
        patch.setattr(budget.Budget, "_rows_in_time", lambda *_: 1_234)
        model = regressor(time_limit=1e6).fit(table, SUM, **GIVEN[given])
    rows = model.rows_
    assert len(rows) == 1_234
    own = {name: values[rows] for name, values in GIVEN[given].items()}
    assert np.all(own.get("sample_weight", 1) != 0)
    again = regressor().fit(frames.take_rows(table, rows), SUM[rows], **own)
    np.testing.assert_allclose(model.oof_prediction_, again.oof_prediction_, rtol=1e-4)
    assert model.importance().names
    assert "1,234 of " in str(model.report())


@pytest.mark.parametrize(("seconds", "rows"), [(0.0, 1_000), (1.5, 1_500), (3.0, 3_000)])
def test_a_short_time_leaves_rows_out(seconds, rows, monkeypatch):
    """By a clock in which a row takes a millisecond in all."""
    monkeypatch.setattr(budget, "seconds_of_epoch", lambda *trial: 3.0)
    monkeypatch.setattr(budget, "ENCODING", (1 - budget.EVALUATION_SHARE) / budget.ENOUGH_EPOCHS)
    monkeypatch.setattr(budget, "PREPARATION", 0.0)
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(blend, "seconds_of_epoch", lambda *trial: 1e-9)
    model = regressor(time_limit=seconds + 1e-6).fit(MANY, SUM)
    assert len(model.oof_prediction_) == rows
