"""Fits on a real cluster of Dask: odd partitions, workers that die, one process as the measure."""

import contextlib
import importlib
import itertools
import math
import os
import signal
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
from models import saved
from sklearn.base import clone
from sklearn.model_selection import KFold

import fastmlp
import fastmlp.dask
from fastmlp.dask import DaskTabMLPClassifier, DaskTabMLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular import parts
from fastmlp.tabular.fit.reading import TableChunk

QUICK = {"preset": "fast", "epochs": 3, "random_state": 0}
N = 1200


def frame(n=N):
    """Return rows sorted by a category; its rarest value stands in one partition alone."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    table["c"] = np.sort(rng.choice(list("xyz"), n)).astype(object)
    table.loc[n - 3 :, "c"] = "rare"
    table.loc[7, "b"] = np.nan
    return table


FRAME = frame()
NUMBERS = FRAME["a"] + 2 * (FRAME["c"] == "x")
LABELS = pd.Series(np.where(NUMBERS > 1, "high", "low"), name="label")


def divided(*tables, lengths):
    """Return frames of Dask whose partitions have these lengths."""
    ends = np.cumsum([0, *lengths])
    found = []
    for table in tables:
        pieces = [table.iloc[a:b] for a, b in itertools.pairwise(ends)]
        found.append(dd.from_map(lambda piece: piece, pieces, meta=table.iloc[:0]))
    return found


pytestmark = pytest.mark.timeout(300)  # a task that never ends would hold up all other tests


def cluster(workers, threads=1):
    """Start a cluster; if a worker does not come up within a minute, start another one."""
    options = {"threads_per_worker": threads, "dashboard_address": ":0", "death_timeout": 60}
    try:
        return distributed.LocalCluster(n_workers=workers, **options)
    except Exception as error:
        print(f"a worker of the cluster did not come up, which is tried once more: {error!r}")
        return distributed.LocalCluster(n_workers=workers, **options)


@contextlib.contextmanager
def at_work(*machines):
    """Start a cluster, see `cluster`; return its client, which is the current one."""
    # Workers wait without limit for the locks of a folder that all clusters of a machine share.
    unshared = dask.config.set({"distributed.worker.use-file-locking": False})
    with unshared, cluster(*machines) as workers, distributed.Client(workers) as client:
        # Both threads of a worker would import at once, with the first tasks.
        client.run(importlib.import_module, "fastmlp.dask")
        yield client


@pytest.fixture(scope="module", autouse=True)
def client():
    with at_work(1, 2) as client:  # each process takes seconds to import what it needs
        yield client


class Dies:
    """A callback that kills its process in the first epoch, ``times`` times in all."""

    def __init__(self, folder, times):
        self.places = [Path(folder, str(k)) for k in range(times)]

    def __call__(self, state):
        for place in self.places:
            try:
                place.touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)


LENGTHS = [
    (0, 500, 0, 697, 3),  # a category stands in the last one alone
    pytest.param((N,), marks=pytest.mark.slow),
    pytest.param((400, 797, 3), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_partitions_of_any_kind_make_an_estimator_of_all_rows(lengths, tmp_path):
    weights = pd.Series(np.linspace(0, 1, N))
    X, y, w = divided(FRAME, NUMBERS, weights, lengths=lengths)
    model = DaskTabMLPRegressor(parts=2, **QUICK).fit(X, y, w)
    local = model.to_local()
    assert local.report().rows == N
    assert fitted_of(local).columns.categories[0][1].values == ("rare", "x", "y", "z")
    assert model.n_features_in_ == 3
    assert np.corrcoef(local.predict(FRAME), NUMBERS)[0, 1] > 0.5
    for method in ("predict", "predict_interval"):
        result = getattr(model, method)(X).compute()
        np.testing.assert_array_equal(result, getattr(local, method)(FRAME))
        np.testing.assert_array_equal(result, getattr(model, method)(FRAME))
    low, high = result.T
    assert 0.85 < np.average((low <= NUMBERS) & (high >= NUMBERS), weights=weights) <= 1
    assert local.importance().names[0] in ("a", "c")
    path = tmp_path / "model"
    again = saved(local, path)
    np.testing.assert_array_equal(again.predict(FRAME), local.predict(FRAME))
    np.testing.assert_array_equal(
        again.importance(FRAME, NUMBERS).means, local.importance(FRAME, NUMBERS).means
    )


def test_dates_and_ranks_are_those_of_all_partitions():
    sizes = pd.Categorical(np.resize(["small", "large"], N), ["small", "large"], ordered=True)
    start = pd.date_range("2024-01-01", periods=N, freq="7h", tz="Europe/Berlin")
    columns = {"start": start, "day": start.strftime("%d.%m.%Y"), "size": sizes}
    table = FRAME.assign(**columns)
    X, y = divided(table, NUMBERS, lengths=(10, 690, 500))
    model = DaskTabMLPRegressor(parts=2, **QUICK).fit(X, y)
    columns = dict(fitted_of(model.to_local()).columns.numbers)
    assert columns[3].form.cycles == ("day", "week", "year")
    assert columns[4].form.cycles == ("week", "year")
    result = model.predict(X).compute()
    np.testing.assert_array_equal(result, model.to_local().predict(table))


def test_parts_follow_a_rule():
    """The rule is against the truth, so that parts without it would break it."""
    X, y = divided(FRAME[:300], NUMBERS[:300], lengths=(150, 150))
    options = {"parts": 2, "preset": "fast", "epochs": 4, "random_state": 0}
    model = DaskTabMLPRegressor(monotone={"a": -1}, **options).fit(X, y).to_local()
    before = FRAME[:300]
    assert np.all(model.predict(before) >= model.predict(before.assign(a=before["a"] + 1)))


@pytest.mark.parametrize("kind", [DaskTabMLPRegressor, DaskTabMLPClassifier])
def test_each_part_has_its_own_seed(kind):
    """Networks of two parts begin with other weights, which an epoch of 150 rows hardly changes."""
    X, y = divided(FRAME[:300], NUMBERS[:300] > 1, lengths=(150, 150))
    local = kind(parts=2, preset="fast", epochs=1, random_state=0).fit(X, y).to_local()
    first = [
        group.networks[0].parameters()["weights"][1].ravel()
        for group in fitted_of(local).blend.groups
    ]
    assert len(first) == 2
    assert abs(np.corrcoef(*first)[0, 1]) < 0.5


def test_rows_that_calibrate_were_not_learned_from():
    """Targets without any pattern: predictions of learned rows would be closer to them."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(300, 4)), rng.normal(size=300)
    arrays = da.from_array(x, chunks=(100, 2)), da.from_array(t, chunks=100)
    options = {"preset": "fast", "epochs": 60, "random_state": 0, "parts": 3}
    local = DaskTabMLPRegressor(**options).fit(*arrays).to_local()
    table, target = fitted_of(local).rows
    assert sorted(target.y[:, 0]) == sorted(t)
    error = np.abs(local.oof_prediction_ - target.y[:, 0]).mean()
    assert error > np.abs(local.predict(table.numbers) - target.y[:, 0]).mean()
    held = np.concatenate(fitted_of(local).held_out.rows)
    assert sorted(held) == sorted(2 * [*range(300)])  # "fast" divides its rows twice


def _last_epoch(estimator, X, y):
    """Return the same score for all epochs, of which the last is kept."""
    return 0.0


def test_rows_in_time_calibrate_by_networks_of_earlier_rows():
    """Targets without any pattern: predictions of learned rows would be closer to them."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(400, 4)), columns=list("abcd"))
    table["day"] = np.datetime64("2026-01-01") + rng.permutation(400)
    table["t"] = rng.normal(size=400)
    X, y = divided(table.drop(columns="t"), table["t"], lengths=(250, 0, 150))
    options = {"preset": "fast", "epochs": 60, "random_state": 0, "parts": 2}
    model = DaskTabMLPRegressor(**options, scoring=_last_epoch)
    local = model.fit(X, y, time="day").to_local()
    learned, target = fitted_of(local).rows
    days = np.sort(learned.numbers[:, 4])
    assert days[0] > table["day"].astype("M8[s]").astype(int).quantile(0.4)  # later rows calibrate
    error = np.abs(local.oof_prediction_ - target.y[:, 0]).mean()
    assert error > 1.2 * np.abs(fitted_of(local).predict(learned) - target.y)[:, 0].mean()
    assert local.report().more["by time"].count("from 202") == 8
    assert np.isfinite(model.predict_interval(X).compute()).all()


def test_rows_of_a_group_are_learned_from_or_calibrate_but_never_both():
    """Targets that a group's features show, but nothing else: other rows of it would tell them."""
    rng = np.random.default_rng(0)
    number = rng.permutation(np.arange(600) % 60)
    table = pd.DataFrame(rng.normal(size=(60, 4))[number], columns=list("abcd"))
    table += 1e-3 * rng.normal(size=table.shape)
    first = number[0]
    table.loc[0, "a"] = np.nan  # a row that every part gets
    names = pd.Series(np.array([f"group {k}" for k in range(60)])[number])
    of_group = rng.normal(size=60)
    X, y, groups = divided(table, pd.Series(of_group[number]), names, lengths=(250, 0, 350))
    model = DaskTabMLPRegressor(preset="fast", epochs=60, random_state=0, parts=3)
    local, leaky = model.fit(X, y, groups=groups).to_local(), clone(model).fit(X, y).to_local()
    calibrating = fitted_of(local).rows[1].y[:, 0]
    assert sorted(calibrating) == sorted(of_group[number[number != first]])
    errors = [
        np.abs(m.oof_prediction_ - fitted_of(m).rows[1].y[:, 0]).mean() for m in (local, leaky)
    ]
    assert errors[0] > 2 * errors[1]
    widths = [np.diff(m.predict_interval(table)).mean() for m in (local, leaky)]
    assert widths[0] > 2 * widths[1]
    assert fitted_of(local).calibration.residuals[0].w.sum() < 0.5 * len(
        calibrating
    )  # rows of a group count as alike


UNSORTED = np.random.default_rng(1).permutation(N)
PANEL = FRAME.assign(
    who=pd.Categorical([f"person {k}" for k in UNSORTED % 30]),  # in all partitions
    day=np.datetime64("2026-01-01") + UNSORTED // 3,
)


def test_groups_and_times_are_names_of_columns_or_arrays_with_the_same_bits():
    """Times out of order, an empty partition, groups of a dtype of categories, unknown lengths."""
    X, y, who, day = divided(PANEL, NUMBERS, PANEL["who"], PANEL["day"], lengths=(500, 0, 700))
    model = DaskTabMLPRegressor(**QUICK, parts=2)
    by_name = model.fit(X, y, groups="who", time="day").to_local()
    of_frames = clone(model).fit(X, y, groups=who, time=day).to_local()
    arrays = who.astype(object).to_dask_array(), day.to_dask_array()
    of_arrays = clone(model).fit(X, y, groups=arrays[0], time=arrays[1]).to_local()
    for other in (of_frames, of_arrays):
        np.testing.assert_array_equal(
            other.predict_interval(PANEL), by_name.predict_interval(PANEL)
        )
    notes = " ".join(by_name.report().notes)
    assert "scores are those of later rows of groups that were not learned" in notes


def test_of_times_that_are_missing_it_is_said_that_the_row_is_one_of_a_part():
    """The rows of a part are random ones: the number is none of the user's."""
    days = PANEL["day"].astype(object).where(np.arange(N) != 7, None)
    X, y, time = divided(FRAME, NUMBERS, days, lengths=(500, 700))
    with pytest.raises(ValueError, match="time is missing in row") as caught:
        DaskTabMLPRegressor(**QUICK, parts=2).fit(X, y, time=time)
    assert "one part of the table" in " ".join(caught.value.__notes__)


def test_classes_of_one_partition_alone_and_repeated_bits():
    X, y = divided(
        FRAME.iloc[::-1], LABELS.where(FRAME["c"] != "rare", "rare").iloc[::-1], lengths=(600, 600)
    )
    model = DaskTabMLPClassifier(parts=2, class_weight="balanced", prior="true", **QUICK)
    first, again = (clone(model).fit(X, y) for _ in range(2))
    assert list(first.classes_) == ["high", "low", "rare"]
    p = first.predict_proba(X).compute()
    assert p.shape == (N, 3)
    np.testing.assert_array_equal(p, again.predict_proba(X).compute())
    assert set(first.predict(X).compute()) <= {"high", "low", "rare"}


def test_a_fit_in_a_task_frees_the_thread_that_its_own_tasks_need(client):
    def fit():
        X, y = divided(FRAME, NUMBERS, lengths=(600, 600))
        return threading.current_thread().daemon, DaskTabMLPRegressor(parts=2, **QUICK).fit(X, y)

    tasks = [client.submit(fit, pure=False) for _ in range(2)]  # each thread has one
    for daemon, model in client.gather(tasks):
        assert daemon
        assert model.client is None
        assert model.predict(FRAME).shape == (N,)


@pytest.mark.slow
def test_a_worker_that_dies_costs_time_alone(tmp_path):
    X, y = divided(FRAME, NUMBERS, lengths=(600, 600))
    model = DaskTabMLPRegressor(parts=2, **QUICK)
    expected = clone(model).fit(X, y).predict(FRAME)
    model.set_params(callbacks=[Dies(tmp_path, 1)]).fit(X, y)
    assert (tmp_path / "0").exists()
    np.testing.assert_array_equal(model.predict(FRAME), expected)


@pytest.mark.slow
def test_four_workers_of_an_adaptive_cluster_of_which_one_dies(tmp_path):
    with cluster(0) as machines, distributed.Client(machines) as other:
        machines.adapt(minimum=0, maximum=4)
        X, y = divided(FRAME, NUMBERS, lengths=[300] * 4)
        model = DaskTabMLPRegressor(client=other, parts=4, callbacks=[Dies(tmp_path, 1)], **QUICK)
        result = model.fit(X, y).predict(X)
        assert result.compute().shape == (N,)
    assert len(fitted_of(model.to_local()).blend.groups) == 4


HUGE = pd.Series(np.maximum(np.arange(N) - 1190, 0))  # ten rows have groups of their own
SPARSE = pd.Series(np.where(np.arange(N) % 400 == 9, 1.0, 0.0))  # three have a weight
X2, Y2, HUGE2, SPARSE2 = divided(FRAME, NUMBERS, HUGE, SPARSE, lengths=(600, 600))
WRONG = [
    ({}, (FRAME, Y2), "X is a DataFrame but a frame or array of Dask is expected"),
    ({}, (X2, divided(NUMBERS, lengths=(N,))[0]), "y has 1 partitions but X has 2"),
    ({}, (X2, divided(NUMBERS, lengths=(500, 700))[0]), "partition [01] has 600 rows in X but"),
    ({"parts": 600}, (X2, Y2), "there are 1200 rows for 600 parts but at least 1201"),
    ({"parts": 0}, (X2, Y2), "parts"),
    ({"parts": 2}, (X2, Y2, X2["c"]), "there are 4 groups for 2 parts but at least 5"),
    ({"parts": 2}, (X2, Y2, HUGE2), "group 0 has 1,191 of 1,200 rows and would be alone in one of"),
    ({"parts": 2}, (X2, Y2, None, SPARSE2), "are 3 rows with a weight for 2 parts but at least 4"),
    ({}, (X2, Y2, X2["b"]), "groups has missing ones"),
    ({}, (X2, Y2, FRAME["c"]), "groups is a Series but a frame or array of Dask"),
    ({}, (X2, Y2, "d"), "groups is 'd' but X has no column of that name"),
    ({}, (X2, Y2, None, None, "time"), "time is 'time' but X has no column of that name"),
    ({}, (X2, Y2, None, None, FRAME["a"]), "time is a Series but a frame or array of Dask"),
    ({"preset": "slow"}, (X2, Y2), "The 'preset' parameter"),
    ({"folds": KFold(3)}, (X2, Y2), "folds is a splitter but a fit by Dask divides the rows"),
]


@pytest.mark.parametrize(("options", "data", "said"), WRONG)
def test_what_cannot_be_trained_is_said(options, data, said):
    X, y, groups, weights, time = (*data, None, None, None)[:5]
    with pytest.raises((TypeError, ValueError), match=said):
        DaskTabMLPRegressor(**options).fit(X, y, weights, groups=groups, time=time)


MB = 2.0**20
COUNTS = [  # bytes of the table, memory of the smallest worker, parts
    (1, 450 * MB, 1),
    (480 * MB, 450 * MB, 15),
    (480 * MB, 256 * MB, 15),
    (480 * MB, 255 * MB, 30),
    (480 * MB, math.inf, 2),
    (1024 * MB, 64 * 1024 * MB, 4),
    (9e15, 1.0, 1000),  # parts have 1,000 rows
]


@pytest.mark.parametrize(("size", "memory", "count"), COUNTS)
def test_parts_are_counted_by_bytes_and_the_memory_of_a_worker(size, memory, count):
    columns, numbers = None, (1_000_000, 1_000_000)
    plan = parts.Plan({}, columns, None, {}, *numbers, size, {})
    assert plan.n_parts(None, memory) == count
    assert plan.n_parts(7, memory) == 7


def test_a_cluster_of_one_worker_has_the_same_bits(monkeypatch):
    def fitted(client):
        return DaskTabMLPRegressor(client=client, **QUICK).fit(X2, Y2)

    monkeypatch.setattr(parts, "MOST_BYTES", FRAME.memory_usage(deep=True).sum() / 2.5)
    monkeypatch.setattr(parts, "LEAST_ROWS", 100)
    expected = fitted(None).to_local()
    options = {"processes": False, "dashboard_address": ":0", "memory_limit": "3GB"}
    with distributed.Client(n_workers=1, threads_per_worker=2, **options) as other:
        local = fitted(other).to_local()
    np.testing.assert_array_equal(local.predict_interval(FRAME), expected.predict_interval(FRAME))
    (note,) = [note for note in local.report().notes if "random parts" in note]
    assert note.startswith("trained in 3 random parts of 0 MB, by the memory of the smallest")
    assert note.endswith("worker, 3,000 MB")


@pytest.mark.parametrize("seed", range(5))
def test_each_part_has_rows_with_a_weight(seed):
    rows = TableChunk(FRAME, NUMBERS, SPARSE)
    found = parts.divided(rows, [9], seed, 2, {})
    assert [part.sample_weight.tolist() for part in found] == [[1.0], [1.0]]


def test_parameters_are_those_of_the_local_estimator():
    with pytest.raises(TypeError, match="unexpected keyword argument 'n_epochs': pass epochs"):
        DaskTabMLPRegressor(n_epochs=3)
    model = clone(DaskTabMLPRegressor(width=8).set_params(folds=2))
    assert model.get_params() == {
        **fastmlp.TabMLPRegressor(width=8, folds=2).get_params(),
        "client": None,
        "parts": None,
    }


# ---- one network ---------------------------------------------------------------------------------


def network():
    return fastmlp.MLP([2, 9, 1], activation="tanh", dtype="float64", rng=0)


@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_train_one_network_as_one_process_with_the_same_batches(weighted):
    pytest.importorskip("torch", reason="several workers sum by torch")
    n, rows = 101, FRAME[["a", "b"]].fillna(0.0)
    tables = [rows, NUMBERS, pd.Series(np.linspace(0, 2, len(rows)))][: 2 + weighted]
    X, y, *w = divided(*(table[:n] for table in tables), lengths=(0, 37, 64))
    options = {"epochs": 3, "shuffle": False, "l2": 0.01, "clip_norm": 1.0}
    net, alone = network(), network()
    with at_work(2):
        history = fastmlp.dask.fit(net, X, y, *w, batch_size=23, **options)
    each = np.split(np.arange(n), [50])  # the rows of each worker: 12 of them in each step
    order = np.concatenate([own[k : k + 12] for k in range(0, 51, 12) for own in each])
    x, t, *v = (table[:n].to_numpy()[order] for table in tables)
    expected = alone.fit(x, t, sample_weight=v[0] if v else None, batch_size=24, **options)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-12)
    for ours, others in zip(net.weights, alone.weights, strict=True):
        np.testing.assert_allclose(ours, others, rtol=0, atol=1e-12)
    assert net.history.loss == history.loss
    assert net.predict(x).shape == (n,)


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [1, 2])
def test_workers_that_die_or_fail_end_the_fit_of_one_network_which_is_unchanged(tmp_path, deaths):
    pytest.importorskip("torch", reason="several workers sum by torch")
    X, y = divided(FRAME[["a"]], NUMBERS, lengths=(600, 600))
    net = fastmlp.MLP([1, 4, 1], rng=0)
    before = net.predict([[1.0]])
    with at_work(2) as client:
        with pytest.raises(RuntimeError, match="died"):
            fastmlp.dask.fit(net, X, y, epochs=1000, callbacks=[Dies(tmp_path, deaths)])
        client.wait_for_workers(2, timeout=60)
        with pytest.raises(ValueError, match="expected|features|columns"):
            fastmlp.dask.fit(network(), X, y)
    np.testing.assert_array_equal(net.predict([[1.0]]), before)
    assert net.history is None


@pytest.mark.slow
def test_workers_that_always_die_end_in_an_error(tmp_path, client):
    X, y = divided(FRAME, NUMBERS, lengths=(600, 600))
    model = DaskTabMLPRegressor(parts=1, callbacks=[Dies(tmp_path, 9)], **QUICK)
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    with pytest.raises(distributed.KilledWorker) as died:
        model.fit(X, y)
    assert "a worker is too small: pass parts=2, for there were 1" in died.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == 1
    assert not hasattr(model, "n_features_in_")
    end = time.monotonic() + 60
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        assert time.monotonic() < end, "tasks of the failed fit go on"
        time.sleep(0.1)
