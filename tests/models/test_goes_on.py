"""Training that goes on after any cut has the bits of training that was not interrupted."""

import copy
import tempfile

import cases
import numpy as np
import pytest
import test_bits
from models import WAYS, X, Y, network
from states import digest, refused, same, state

import fastmlp
from fastmlp import reference
from fastmlp._models import trainer
from fastmlp._models.network import network_of

EPOCHS = 8
HELD = X[:20], Y[:20]
FOLDS = np.array_split(np.random.default_rng(8).permutation(len(X)), 3)


class CutError(Exception):
    """Ends a fit, as a job that is killed between two epochs."""


def cut_in(epoch):
    """Return a callback that ends the fit after the other callbacks of an epoch."""

    def end(state):
        if state.epoch == epoch:
            raise CutError

    end.runs_last = True
    return end


# ---- networks and ensembles ----------------------------------------------------------------------


def ensemble(mlp, **options):
    """Return three members, of which two draw from one generator."""
    rng = np.random.default_rng(4)
    return fastmlp.Ensemble([network(mlp, **options | {"rng": seed}) for seed in (0, rng, rng)])


MODELS = {
    "MLP": lambda **options: network(fastmlp.MLP, **options),
    "reference MLP": lambda **options: network(reference.MLP, **options),
    "Ensemble": lambda **options: ensemble(fastmlp.MLP, **options),
    "reference Ensemble": lambda **options: ensemble(reference.MLP, **options),
}
SCHEDULE = fastmlp.AdamW(fastmlp.Cosine(0.05, 24), weight_decay=lambda step: 0.001 * step)
OPTIMIZERS = {cases.optimizer_id(each): {"optimizer": each} for each in cases.OPTIMIZERS}
OPERATORS = {
    **{"layer_norm": ["before", "after"], "scale": True, "parametric": True},
    **{"skip": 1, "linear_path": True},
}
# Options of `fit`; "model" has those of the model.
FITS = {
    "plain": {},
    "float64, dropout": {"model": {"dropout": 0.3, "dtype": "float64"}, "l2": 0.01},
    "all operators": {"model": {"dtype": "float64", "layer_sizes": [3, 5, 5, 2], **OPERATORS}},
    "in order, two threads": {"shuffle": False, "n_threads": 2},
    "schedules": {"optimizer": SCHEDULE, "dropout": fastmlp.Cosine(0.4, 20)},
    "validation": {"validation_data": HELD},
    **{
        repr(averaging): {"averaging": averaging, "validation_data": HELD}
        for averaging in (fastmlp.EMA(0.7), fastmlp.EMA(0.9, start=3), fastmlp.SWA(start=2))
    },
    **OPTIMIZERS,
}
EARLY = {
    "optimizer": fastmlp.SGD(0.3, momentum=0.9),
    "callbacks": lambda: [fastmlp.EarlyStopping(patience=2, min_delta=0.01)],
    "validation_data": HELD,
}
PLATEAUS = {
    "callbacks": lambda: [fastmlp.ReduceOnPlateau("loss", patience=1, factor=0.3)],
    "optimizer": fastmlp.SGD(1.0),
}
WATCHED = {
    "early stopping": EARLY,
    "early stopping among means": EARLY | {"averaging": fastmlp.EMA(0.3)},
    "plateaus": PLATEAUS,
}
SOURCES = {
    "blocks": {"data": [fastmlp.Blocks(X, Y, rows=37)], "model": {"dropout": 0.2}},
    "buffer": {"data": [fastmlp.Blocks(X, Y, rows=20)], "shuffle_buffer": 50},
    "file": {"data": [fastmlp.Blocks(X, Y, rows=20)], "shuffle_folder": tempfile.gettempdir()},
}
# Of networks or of ensembles alone.
OWN = SOURCES | {
    "folds": {"validation_rows": FOLDS, "averaging": fastmlp.EMA(0.7)},
    "scorer": {
        "validation_rows": FOLDS,
        "scorer": lambda epoch, predictions: [3, 1, 2, 1, 4, 5, 6, 7][epoch],
        "callbacks": lambda: [fastmlp.ReduceOnPlateau(patience=1)],
    },
}
ALL = FITS | WATCHED | OWN
PAIRS = [(name, fit) for name in MODELS for fit in FITS | WATCHED] + [
    (name, fit) for name in MODELS for fit in OWN if ("Ens" in name) == (fit not in SOURCES)
]
# Every fit goes on in four of the ways, in one with each model.
PARTS = [(name, fit) for name, fit in PAIRS if fit not in WATCHED and fit != "scorer"]
IN_PARTS = [
    (name, fit, [*WAYS][([*MODELS].index(name) + [*ALL].index(fit)) % len(WAYS)])
    for name, fit in PARTS
]
# Optimizers are alike in all that a checkpoint has: those of other models than MLP are slow rows,
# as are ensembles of the reference, which share their loop with other ensembles.
CUT = [
    pytest.param(name, fit, marks=[pytest.mark.slow] * (name in others))
    for name, fit in PAIRS
    for others in [{*MODELS} - {"MLP"} if fit in OPTIMIZERS else {"reference Ensemble"}]
]


def train(model, fit, epochs=EPOCHS, callbacks=(), **more):
    """Train a model as one of the fits says."""
    own = {"batch_size": 32, **ALL[fit], "epochs": epochs, **more}
    own.pop("model", None)
    data = own.pop("data", (X, Y))
    model.fit(*data, callbacks=[*own.pop("callbacks", list)(), *callbacks], **own)
    return model


def made(name, fit):
    return MODELS[name](**ALL[fit].get("model", {}))


def kept(model):
    """Return what a fit that goes on has of the mean of weights, of each network."""
    nets = model if isinstance(model, fastmlp.Ensemble) else [model]
    return digest(
        [
            [*network_of(net).resume_state.averaged[:2]]
            if network_of(net).resume_state.averaged
            else 0
            for net in nets
        ]
    )


@pytest.fixture(autouse=True)
def many_epochs_a_call(monkeypatch):
    """Let an ensemble take all epochs after the first in one call, where it can."""
    monkeypatch.setattr(trainer, "FUSED_SECONDS", 1e9)
    monkeypatch.setattr(trainer, "MIN_FUSED_EPOCHS", 2)


@pytest.mark.filterwarnings("ignore:averaging is .* but the fit has 1 epochs")
@pytest.mark.crossed
@pytest.mark.parametrize(("name", "fit", "way"), IN_PARTS)
def test_a_fit_in_parts_is_a_fit(name, fit, way, tmp_path):
    whole, parts = made(name, fit), made(name, fit)
    train(whole, fit)
    for epochs in (1, 4, 4, EPOCHS):  # no epoch is left the third time
        train(parts, fit, epochs, resume=parts.history is not None)
        assert len(parts.history.loss) == len(parts.history.seconds) == epochs
        parts = WAYS[way](parts, tmp_path / "model")
    same(parts, whole)
    assert kept(parts) == kept(whole)


@pytest.mark.crossed
@pytest.mark.parametrize(("name", "fit"), CUT)
def test_cut_in_an_epoch_it_ends_the_same(name, fit, tmp_path):
    """In the first one, in one amid the fit, and in the last."""

    def job(path, epoch=-1):
        callbacks = [fastmlp.Checkpoint(path), cut_in(epoch)]
        return train(made(name, fit), fit, callbacks=callbacks, resume=path)

    whole, path = job(tmp_path / "whole"), tmp_path / "cut"
    n = len(whole.history.loss)
    assert (n < EPOCHS) == fit.startswith("early stopping")
    for epoch in (0, 2, n - 1):
        with pytest.raises(CutError):
            job(path, epoch)
        if epoch == 2:
            loaded = train(fastmlp.load(path), fit, resume=True)
    for again in (loaded, job(path), job(path)):  # no epoch is left for the last
        same(again, whole)
        assert again.history.stop_reason == whole.history.stop_reason
        assert kept(again) == kept(whole)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", test_bits.LEVELS)
@pytest.mark.parametrize("fit", test_bits.FITS)
def test_the_golden_fits_go_on_on_any_level_and_threads(fit, level, dtype):
    sizes, _, options = test_bits.FITS[fit]
    options = dict(options)
    whole, parts = (test_bits.model(fit, level, dtype) for _ in range(2))
    x, t, weights = test_bits.data(sizes, whole.loss)
    if options.pop("sample_weight", False):
        options["sample_weight"] = weights
    whole.fit(x, t, epochs=4, n_threads=1, **options)
    for n_threads, epochs in ((2, 1), (1, 3), (2, 4)):
        parts.fit(x, t, epochs=epochs, n_threads=n_threads, resume=epochs > 1, **options)
    same(parts, whole)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
@pytest.mark.parametrize(("name", "dtype"), [(name, d) for name in MODELS for d in cases.DTYPES])
def test_passes_go_on_with_the_optimizer(name, dtype, optimizer, way, tmp_path):
    whole, parts = (MODELS[name](dtype=dtype, dropout=0.2) for _ in range(2))
    for _ in range(3):
        for each in (whole, parts):
            each.partial_fit(X, Y, optimizer=optimizer, batch_size=17)
        parts = WAYS[way](parts, tmp_path / "model")
    assert state(parts) == state(whole)


CHANGES = {
    "batch_size": 17,
    "optimizer": fastmlp.Adam(0.1),
    "l1": 0.1,
    "l2": 0.1,
    "clip_norm": 0.01,
    "groups": fastmlp.Groups(layer_rates=[0.0, 1.0]),
    "dropout": [0.5],
    "n_threads": 2,
    "sample_weight": np.linspace(0, 1, len(X)),
    "X": X[::-1].astype(np.float32),
    "rows": slice(40),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_pass_has_the_options_of_its_own_call(mlp, name):
    """A model remembers the options of its last pass, a copy of it does not."""
    net, change = network(mlp), {name: CHANGES[name]}
    rows = change.pop("rows", slice(None))
    for k, options in enumerate([{}, change, change, {}, change]):
        if name == "dropout":
            change["dropout"][0] = 0.1 * k  # the list stays the same
        data = {"X": X[rows if k % 2 else slice(None)], "y": Y[rows if k % 2 else slice(None)]}
        other = copy.deepcopy(net)
        losses = [each.partial_fit(**data | options) for each in (net, other)]
        assert losses[0] == losses[1]
        assert state(net) == state(other)


@pytest.mark.parametrize("option", ["batch_size", "l1", "l2", "clip_norm", "n_threads"])
def test_a_pass_refuses_what_only_equals_the_option_before(mlp, option):
    net = network(mlp)
    net.partial_fit(X, Y, **{option: 1})
    with refused(TypeError, f"{option} is True", net):
        net.partial_fit(X, Y, **{option: True})


@pytest.mark.parametrize("way", ["copy", "pickle", "file"])
def test_a_copy_made_by_a_callback_goes_on(mlp, way, tmp_path):
    copies = []

    def take(state):
        if not copies:
            copies.append(WAYS[way](state.model, tmp_path / "model"))

    whole = train(network(mlp, dropout=0.2), "validation", callbacks=[take])
    same(train(copies[0], "validation", resume=True), whole)
