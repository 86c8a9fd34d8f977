"""Every call that takes samples computes the same with sparse rows as with dense ones.

The native engine gives the same bits, a zero's sign apart; the one in NumPy, whose products use
BLAS, is as near as `tolerances` allows.
"""

import copy
import itertools

import numpy as np
import pytest
import ranks
from models import Watch, saved
from scipy import sparse
from tolerances import assert_all_close

import fastmlp
from fastmlp._models.network import network_of
from fastmlp._network.sparse import rows_of

ENGINES = {"native": fastmlp.MLP, "reference": fastmlp.reference.MLP}
RNG = np.random.default_rng(3)
N, INPUTS = 90, 40
MATRIX = sparse.random_array((N, INPUTS), density=0.1, format="csr", rng=RNG)
MATRIX = sparse.csr_array(np.where(np.arange(N)[:, None] % 7, MATRIX.toarray(), 0))  # empty rows
Y = np.column_stack([MATRIX.sum(axis=1), np.sin(np.arange(N))])
W = RNG.integers(0, 3, N).astype(float)
FOLDS = [np.arange(0, N, 2), np.arange(1, N, 2)]

OPTIONS = {
    "plain": {},
    "scale": {"scale": True},
    "linear path": {"linear_path": True},
    "both, deep": {"scale": True, "linear_path": True, "layer_sizes": [INPUTS, 6, 6, 2], "skip": 1},
    "no hidden layer": {"layer_sizes": [INPUTS, 2]},
    "normalised": {"layer_norm": "before", "dropout": 0.2, "parametric": True},
}
# Of a fit, each with another optimizer.
FITS = {
    "adam": {},
    "sgd": {"optimizer": fastmlp.SGD(0.05), "l1": 1e-3, "clip_norm": 0.5},
    "momentum": {"optimizer": fastmlp.SGD(0.05, momentum=0.9), "averaging": fastmlp.EMA(0.5)},
    "rmsprop": {"optimizer": "rmsprop", "l2": 1e-2, "shuffle": False},
    "adamw": {"optimizer": "adamw", "sample_weight": W, "groups": fastmlp.Groups(weight_rate=0.5)},
    "lion": {"optimizer": fastmlp.Lion(1e-3), "batch_size": N, "dropout": 0.1},
    "frozen": {"groups": fastmlp.Groups(bias_rate=0), "callbacks": [Watch()]},
}


def parameters(net):
    return [array for kind in network_of(net).engine.parameters() for array in kind]


def fitted(net, x, **options):
    """Return the losses of a fit, and all weights after it."""
    history = net.fit(x, Y, **{"epochs": 3, "batch_size": 16, **options})
    return [history.loss, history.val_loss, *parameters(net)]


def resumed(net, x, through=lambda net: net):
    """Return the result of a fit in two halves."""
    fitted(net, x, epochs=2, validation_data=(x, Y))
    return fitted(through(net), x, epochs=4, validation_data=(x, Y), resume=True)


def gradients(net, x):
    """Return the objective and all gradients."""
    value, *kinds = net.gradients(x, Y, W, l2=0.1, l1=0.01)
    return [[value], *(array for kind in kinds for array in kind)]


def passes(net, x):
    """Return the results of passes, the last one over other rows."""
    losses = [net.partial_fit(x, Y, batch_size=20), net.partial_fit(x[:30], Y[:30])]
    return [losses, *parameters(net)]


def checkpointed(net, x, path):
    """Return the result of a fit that goes on from a file."""
    other = copy.deepcopy(net)
    fitted(net, x, epochs=2, callbacks=[fastmlp.Checkpoint(path)])
    with pytest.raises(ValueError, match="differ from those of the fit"):
        copy.deepcopy(net).fit(x * 2 if isinstance(x, np.ndarray) else x * np.full(INPUTS, 2), Y,
                               epochs=4, batch_size=16, resume=path)  # fmt: skip
    return fitted(other, x, epochs=4, callbacks=[fastmlp.Checkpoint(path)], resume=path)


def by_ranks(net, x):
    """Return the result of two processes, played by threads."""

    def work(communicator):
        rows = slice(communicator.rank, None, 2)
        member = copy.deepcopy(net)
        member.fit(x[rows], Y[rows], epochs=2, batch_size=10, communicator=communicator)
        return parameters(member)

    return ranks.run(2, work)[0]


def measured(net, x):
    """Return what a fit with all that looks at data writes."""
    best = fastmlp.EarlyStopping(patience=1)
    metrics = {"validation_data": (x[40:], Y[40:], W[40:]), "metrics": ["r2"], "callbacks": [best]}
    history = net.fit(x[:40], Y[:40], epochs=4, batch_size=8, **metrics)
    return [history.loss, history.val_loss, history.metrics["val_r2"], *parameters(net)]


def blocks_of(x):
    """Return a source of blocks of unequal lengths."""
    cuts = itertools.pairwise((0, 5, 35, 36, N))
    parts = [slice(*cut) for cut in cuts]
    return lambda: [(x[rows], Y[rows], W[rows] + 1) for rows in parts]


def streamed(net, source, **options):
    """Return the result of a fit of a source, and its loss."""
    history = net.fit(source, validation_data=source, epochs=3, batch_size=16, **options)
    return [history.loss, history.val_loss, [net.evaluate(source)], *parameters(net)]


def is_native(net):
    """Whether files and ensembles know the class."""
    return type(net) is fastmlp.MLP


def written(net, x):
    """Return predictions that are written block by block."""
    return [net.predict(x, out=np.empty((N, 2), net.dtype)), net.predict(lambda: [x[:7], x[7:]])]


def predicted(net, x):
    """Return predictions of all kinds of functions, also into the memory of the values."""
    predictor, row = net.predictor(), np.asarray(x[11:12])[0]
    columns = np.flatnonzero(row)
    functions = [predictor]
    if is_native(net):
        functions.append(fastmlp.Ensemble([net, copy.deepcopy(net)]).predictor())
    results = [net.predict(x[:1]), net.predict(x, link=False)]
    for function in functions:
        results += [function(x), function.sparse(columns, row[columns]), function(row)]
        shared = np.resize(row, 2 * N + 2)
        rows = fastmlp.SparseRows(range(0, 2 * N + 1, 2), [3, 7] * N, shared[:-2], INPUTS)
        apart = function(rows.copy())
        np.testing.assert_array_equal(function(rows, shared[2:].reshape(N, 2)), apart)
    return results


def narrow(net, x):
    """Return what a predictor computes whose rounding was calibrated."""
    if net.dtype != np.float32:
        return []
    return [net.predictor(weights="int8", X=x)(np.asarray(x))]


def joint(net, x):
    """Return what two members do with one matrix."""
    members = [net, copy.deepcopy(net)]
    members[1].biases = [bias + 0.1 for bias in net.biases]
    ensemble = fastmlp.Ensemble(members)
    scored = {"scorer": lambda epoch, p: float(np.abs(np.concatenate(p)).sum())}
    results = []
    for options in (scored, {}, {"sample_weight": W}):
        history = ensemble.fit(
            x, Y, rows=FOLDS, validation_rows=FOLDS[::-1], epochs=3, batch_size=16, **options
        )
        results += [history.loss, history.val_loss]
    history = ensemble.fit([x, x], [Y, Y], validation_data=(x, Y), epochs=12)
    results += [history.loss, history.val_loss, [ensemble.partial_fit(x, Y)]]
    results += [ensemble.predict(x), ensemble.member_predictions(x), [ensemble.evaluate(x, Y, W)]]
    return [*results, *parameters(members[0]), *parameters(members[1])]


DOORS = {
    **{
        f"fit, {name}": lambda net, x, _, options=options: fitted(net, x, **options)
        for name, options in FITS.items()
    },
    "partial_fit": lambda net, x, _: passes(net, x),
    "predict": lambda net, x, _: predicted(net, x),
    "evaluate": lambda net, x, _: [net.evaluate(x, Y), net.evaluate(x, Y, W)],
    "gradients": lambda net, x, _: gradients(net, x),
    "metrics and early stopping": lambda net, x, _: measured(net, x),
    "resume": lambda net, x, _: resumed(net, x),
    "resume of a copy": lambda net, x, _: resumed(net, x, copy.deepcopy),
    "resume of a file": lambda net, x, path: resumed(
        net, x, lambda net: saved(net, path) if is_native(net) else net
    ),
    "checkpoint": lambda net, x, path: checkpointed(net, x, path) if is_native(net) else [],
    "blocks": lambda net, x, _: streamed(net, fastmlp.Blocks(x, Y, W + 1, rows=17)),
    "source": lambda net, x, _: streamed(net, blocks_of(x)),
    "shuffle buffer": lambda net, x, _: streamed(net, blocks_of(x), shuffle_buffer=25),
    "two ranks": lambda net, x, _: by_ranks(net, x),
    "out=": lambda net, x, _: written(net, x),
    "int8": lambda net, x, _: narrow(net, x),
    "lr_find": lambda net, x, _: [fastmlp.lr_find(net, x, Y, steps=12).losses],
    "ensemble": lambda net, x, _: joint(net, x) if is_native(net) else [],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("door", DOORS)
def test_doors(door, options, engine, dtype, tmp_path):
    results = []
    for k, x in enumerate((MATRIX.toarray().astype(dtype), rows_of(MATRIX.astype(dtype)))):
        arguments = {"layer_sizes": [INPUTS, 8, 2], "rng": 0, "dtype": dtype, **OPTIONS[options]}
        net = ENGINES[engine](**arguments)
        results.append(DOORS[door](net, x, str(tmp_path / f"{k}.safetensors")))
    dense, thin = results
    if engine == "native" and door != "int8":  # which NumPy calibrates
        for a, b in zip(dense, thin, strict=True):
            np.testing.assert_array_equal(a, b)  # 0 and -0 are equal here
    else:
        assert_all_close(thin, dense, "fit", dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fit", FITS)
def test_one_output_has_the_bits_of_arrays(fit, dtype):
    """A single output is summed in another order than several ones, in the linear path, too."""
    rng = np.random.default_rng(5)
    dense = (rng.normal(size=(N, 9)) * (rng.random((N, 9)) < 0.6)).astype(dtype)
    options = {"scale": True, "linear_path": True, "rng": 0, "dtype": dtype}
    results = []
    for x in (dense, rows_of(sparse.csr_array(dense))):
        net = fastmlp.MLP([9, 5, 1], **options)
        net.scales = [np.linspace(0.5, 2, 9)]
        net.linear_weights = [np.linspace(-1, 1, 9)[:, np.newaxis]]
        before = [net.predict(x), *net.gradients(x, Y[:, 0])[1:]]
        history = net.fit(x, Y[:, 0], **{"epochs": 3, "batch_size": 16, **FITS[fit]})
        flat = [array for part in before for array in (part if isinstance(part, list) else [part])]
        results.append([*flat, history.loss, *parameters(net), net.predict(x), net.predict(x[:1])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


TARGETS = {
    "numbers": ("squared_error", Y),
    "noise": ("squared_error", RNG.normal(size=(N, 2))),
    "gaps": ("squared_error", np.where(RNG.random((N, 2)) < 0.3, np.nan, Y)),
    "labels": ("cross_entropy", (Y[:, 0] > 0.1).astype(int)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("targets", TARGETS)
def test_a_fit_without_epochs_chooses_the_same_training(targets, dtype):
    results, (loss, y) = [], TARGETS[targets]
    dense = MATRIX.toarray().astype(dtype)
    dense[13:60] = dense[13]  # rows that are equal betray each other's targets
    for x in (dense, sparse.csr_array(dense)):
        net = fastmlp.MLP([INPUTS, 4, 2], loss=loss, rng=0, dtype=dtype)
        history = net.fit(x, y, sample_weight=W)
        results.append([history.loss, *parameters(net)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_takes_no_sparse_rows_is_refused():
    net = fastmlp.MLP([INPUTS, 4, 2], rng=0)
    for x in (MATRIX, rows_of(MATRIX)):
        with pytest.raises(ValueError, match="X is float64 in a block but was sparse float64"):
            net.fit(lambda x=x: [(x, Y), (MATRIX.toarray(), Y)])
        with pytest.raises(TypeError, match="X is a sparse .* but a dense array is expected"):
            net.jacobian(x)
        with pytest.raises(TypeError, match="y is a sparse .* but a dense array is expected"):
            net.fit(MATRIX, x)


def diverge(net, x, y):
    """Run a pass that fails."""
    with pytest.raises(fastmlp.DivergenceError):
        net.partial_fit(x, 1e9 * y, optimizer=fastmlp.SGD(1e308))


STEPS = {
    "sgd": lambda net, x, y: net.partial_fit(x, y, optimizer=fastmlp.SGD(0.01)),
    "sgd with clipping": lambda net, x, y: net.partial_fit(
        x, y, optimizer=fastmlp.SGD(0.01), clip_norm=0.1
    ),
    "sgd with l2": lambda net, x, y: net.partial_fit(x, y, optimizer=fastmlp.SGD(0.01), l2=0.01),
    "adam": lambda net, x, y: net.partial_fit(x, y, optimizer=fastmlp.Adam(0.01)),
    "batches": lambda net, x, y: net.partial_fit(x, y, batch_size=1, optimizer=fastmlp.SGD(0.01)),
    "fit": lambda net, x, y: net.fit(x, y, epochs=1, optimizer=fastmlp.SGD(0.01)),
    "assignment": lambda net, x, y: setattr(net, "weights", [0.9 * w for w in net.weights]),
    "restored": lambda net, x, y: network_of(net).engine.restore(net.snapshots[-3]),
    "diverged": lambda net, x, y: diverge(net, x, y),
}


@pytest.mark.parametrize("holds", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS)
def test_passes_copy_only_the_weights_that_move(options, dtype, holds):
    rng = np.random.default_rng(11)
    arguments = {"layer_sizes": [600, 70, 2], "rng": 0, "dtype": dtype, **OPTIONS[options]}
    arguments["layer_sizes"] = [600, *arguments["layer_sizes"][1:]]
    dense, thin = (fastmlp.MLP(**arguments) for _ in range(2))
    dense.snapshots, thin.snapshots = [], []
    before = []
    for k in range(60):
        x = rng.normal(size=(3, 600)) * (rng.random((3, 600)) < 0.01)
        y = rng.normal(size=(3, 2))
        name = rng.choice(list(STEPS)) if k > 4 and k % 2 else "sgd"
        for net, inputs in ((dense, x), (thin, sparse.csr_array(x))):
            STEPS[name](net, inputs, y)
            net.snapshots.append(network_of(net).engine.snapshot().copy())
        before.append((network_of(thin).engine.snapshot() if holds else None, parameters(thin)))
        for a, b in zip(parameters(dense), parameters(thin), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{k}: {name}")
    for arena, arrays in before:  # what readers hold never changes
        if arena is not None:
            network_of(thin).engine.restore(arena)
            for a, b in zip(parameters(thin), arrays, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", ENGINES)
def test_the_gradient_of_an_overflow_is_that_of_the_values_that_are_stored(kind):
    """In an array 0 times infinity is NaN; a zero that is not stored is multiplied by nothing."""
    net = ENGINES[kind]([2, 1], loss="poisson_nll", rng=0)
    net.biases = [np.array([200.0])]  # whose exponential float32 does not hold
    x, y = np.array([[1.0, 0.0]]), [[1.0]]
    loss, (of_stored,), _ = net.gradients(sparse.csr_array(x), y)[:3]
    assert loss == np.inf
    np.testing.assert_array_equal(of_stored, [[np.inf], [0]])
    np.testing.assert_array_equal(net.gradients(x, y)[1][0], [[np.inf], [np.nan]])
