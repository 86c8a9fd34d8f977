"""Epochs written down elsewhere, with the real packages."""

import csv
import pickle
import sys
import types

import pytest
from models import X, Y, network
from tensorboardX.proto import event_pb2 as proto

import fastmlp
from fastmlp._training.loggers import WRITERS

OPTIONS = {"epochs": 3, "validation_data": (X, Y), "metrics": ["r2"]}
NAMES = ["loss", "val_loss", "seconds", "learning_rate", "val_r2"]


def fit(callback, net=None, **options):
    net = network(fastmlp.MLP) if net is None else net
    return net.fit(X, Y, callbacks=[callback], **OPTIONS | options)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv(tmp_path):
    path = tmp_path / "fit.csv"
    log = fastmlp.CSVLog(path)
    for _ in range(2):  # each fit begins anew
        history = fit(log)
    lines = read(path)
    assert list(lines[0]) == ["epoch", *NAMES]
    assert [float(line["loss"]) for line in lines] == history.loss
    assert [int(line["epoch"]) for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("name", ["TabMLPRegressor", "TabMLPClassifier"])
def test_a_fit_of_a_table_logs_its_scores_of_rows_held_out(name, tmp_path):
    seen, path = [], tmp_path / "fit.csv"
    callbacks = [fastmlp.CSVLog(path), lambda state: seen.append(state.val_loss)]
    model = getattr(fastmlp, name)(preset="fast", epochs=9, random_state=0, callbacks=callbacks)
    model.fit(X, Y[:, 0] > 0)
    lines = read(path)
    assert [*lines[0]] == ["epoch", "loss", "val_loss", "seconds", "learning_rate"]
    assert [line["val_loss"] for line in lines] == [str(score) for score in seen]
    assert seen[-1] == seen[-1]
    assert len(seen) == 9


def test_values_that_are_none_are_not_sent(monkeypatch):
    """A network without validation data has no val_loss, and a server may refuse NaN."""
    sent = []
    log_metrics = lambda values, step: sent.append([*values])  # noqa: E731
    fake = types.SimpleNamespace(
        active_run=lambda: "a run", log_params=lambda values: None, log_metrics=log_metrics
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    network(fastmlp.MLP).fit(X, Y, epochs=1, callbacks=[fastmlp.MLflowLog()])
    fit(fastmlp.MLflowLog(), epochs=1)
    assert sent == [["loss", "seconds", "learning_rate"], NAMES]


def test_csv_of_a_fit_that_resumes_or_fails(tmp_path):
    path, net = tmp_path / "fit.csv", network(fastmlp.MLP)
    fit(fastmlp.CSVLog(path), net)
    history = fit(fastmlp.CSVLog(path), net, epochs=5, resume=True)
    assert [float(line["val_r2"]) for line in read(path)] == history.metrics["val_r2"]
    # A fit that was killed has written on after its checkpoint, the last line not to its end.
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1].replace(b"4", b"5", 1) + b"1")
    history = fit(fastmlp.CSVLog(path), net, epochs=7, resume=True)
    assert [int(line["epoch"]) for line in read(path)] == [*range(7)]
    assert [float(line["loss"]) for line in read(path)] == history.loss
    log = fastmlp.CSVLog(tmp_path / "other.csv")
    with pytest.raises(fastmlp.DivergenceError):
        fit(log, optimizer=fastmlp.SGD(lambda step: 0.1 if step < 4 else 1e30))
    assert log._file is None
    assert len(read(tmp_path / "other.csv")) < 3


def test_csv_of_other_columns_is_not_gone_on_with(tmp_path):
    path, net = tmp_path / "fit.csv", network(fastmlp.MLP)
    fit(fastmlp.CSVLog(path), net)
    text = path.read_bytes()
    with pytest.raises(ValueError, match="has the columns epoch, .*, val_r2 but this fit .* pass"):
        fit(fastmlp.CSVLog(path), net, epochs=5, resume=True, metrics=["r2", "mean_squared_error"])
    assert path.read_bytes() == text


def test_folders_are_paths():
    with pytest.raises(TypeError, match="os.PathLike"):
        fastmlp.TensorBoardLog(None)


@pytest.fixture(params=WRITERS)
def writer(request, monkeypatch):
    pytest.importorskip(request.param, reason=f"needs {request.param}", exc_type=ImportError)
    monkeypatch.setattr(fastmlp._training.loggers, "WRITERS", (request.param,))


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(writer, tmp_path):
    history = fit(fastmlp.TensorBoardLog(tmp_path))
    (file,) = tmp_path.glob("events.out.*")
    found = scalars(file)
    assert sorted(found) == sorted(NAMES)
    assert [value for _, value in sorted(found["loss"])] == pytest.approx(history.loss, rel=1e-6)
    assert [step for step, _ in sorted(found["val_r2"])] == [0, 1, 2]


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_forgets_what_was_after_the_checkpoint(writer, tmp_path):
    """A job is cut three epochs after its checkpoint, and started again."""

    def cut(state):
        return state.epoch == 4

    def job(callbacks=()):
        log, checkpoint = fastmlp.TensorBoardLog(tmp_path / "log"), fastmlp.Checkpoint(path, 2)
        options = {"epochs": 6, "callbacks": [log, *callbacks, checkpoint], "resume": path}
        return network(fastmlp.MLP).fit(X, Y, **options)

    path = tmp_path / "net"
    job([cut])
    (first,) = (tmp_path / "log").iterdir()
    first.rename(first.with_name("events.0"))  # files of one second would have one name
    path.unlink()
    network(fastmlp.MLP).fit(X, Y, epochs=2, callbacks=[fastmlp.Checkpoint(path)])
    history = job()
    shown = {}  # TensorBoard drops what a later file begins with, and all after it
    for first, steps in (scalars(file, True) for file in sorted((tmp_path / "log").iterdir())):
        shown = {step: value for step, value in shown.items() if first is None or step < first}
        shown |= dict(steps["loss"])
    assert [*shown] == [*range(6)]
    assert [*shown.values()] == pytest.approx(history.loss, rel=1e-6)


def scalars(path, begins=False):
    """Return what TensorBoard would read, {name: [(step, value)]}."""
    data, at, found, first = path.read_bytes(), 0, {}, None
    while at < len(data):  # length, its CRC, the event, its CRC
        length = int.from_bytes(data[at : at + 8], "little")
        event = proto.Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        if event.session_log.status == event.session_log.START:
            first = event.step
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return (first, found) if begins else found


@pytest.mark.filterwarnings("ignore")
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/runs")
    try:
        history = fit(fastmlp.MLflowLog())
        assert mlflow.active_run() is None
        (run,) = mlflow.search_runs(output_format="list")
        assert run.info.status == "FINISHED"
        assert run.data.params["layer_sizes"] == "(3, 8, 2)"
        assert run.data.metrics["val_loss"] == history.val_loss[-1]
        values = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
        assert [(each.step, each.value) for each in values] == list(enumerate(history.loss))
        with mlflow.start_run() as own:
            fit(fastmlp.MLflowLog())
            assert mlflow.active_run().info.run_id == own.info.run_id
        with pytest.raises(fastmlp.DivergenceError):
            fit(fastmlp.MLflowLog(), optimizer=fastmlp.SGD(1e30))
        assert mlflow.active_run() is None
        states = [run.info.status for run in mlflow.search_runs(output_format="list")]
        assert sorted(states) == ["FAILED", "FINISHED", "FINISHED"]
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    ("log", "modules", "package"),
    [
        (fastmlp.TensorBoardLog("unused"), WRITERS, "tensorboardX"),
        (fastmlp.MLflowLog(), ["mlflow"], "mlflow"),
    ],
)
def test_a_package_that_is_missing(log, modules, package, monkeypatch):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        fit(log)


@pytest.mark.parametrize("name", ["CSVLog", "TensorBoardLog", "MLflowLog"])
def test_an_estimator_with_a_log_is_pickled_after_its_fit(name, tmp_path, monkeypatch):
    mlflow = types.ModuleType("mlflow")  # a stand-in, which cannot be pickled, as any module
    for function in ("active_run", "start_run", "log_params", "log_metrics", "end_run"):
        setattr(mlflow, function, lambda *arguments, **options: None)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    path = () if name == "MLflowLog" else (tmp_path / "fit",)
    log = getattr(fastmlp, name)(*path)
    model = fastmlp.MLPRegressor(solver="sgd", max_iter=3, tol=1e3, callbacks=[log])
    with pytest.warns(match="onverge"):
        model.fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(X) == model.predict(X)).all()
