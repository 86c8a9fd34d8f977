"""The same bits: over runs, threads, CPU levels with FMA, compilers, and however rows are divided.

Data and first weights are whole numbers divided by powers of two, made by integer arithmetic. The
golden digests hold for every level that has FMA, on any machine. A change of them is a change of
results, and has to be said in the changelog; `python tests/engine/test_bits.py` prints them.
"""

import hashlib
import itertools
import json

import children
import numpy as np
import pytest

import fastmlp
from fastmlp._engine import cpu, native_engine
from fastmlp._engine.native import Predictor
from fastmlp._engine.thread_pool import Team
from fastmlp._models.network import network_of

LEVELS = native_engine.available_levels()
FMA_LEVELS = [level for level in LEVELS if level in {"avx512", "avx2", "neon"}]
DTYPES = native_engine.DTYPES

# name: (layer sizes, options of the model, options of fit). 150 rows: the last batch is smaller.
FITS = {
    "tanh": ([7, 13, 3], {"activation": "tanh"}, {"optimizer": fastmlp.SGD(0.05)}),
    "relu, dropout": (
        [19, 40, 24, 2],
        {"activation": "relu", "dropout": [0.3, 0.1]},
        {"optimizer": fastmlp.Adam(0.01), "batch_size": 64},
    ),
    "gelu, clipping, l2": (
        [9, 33, 1],
        {"activation": "gelu", "loss": fastmlp.Huber(0.5)},
        {"optimizer": fastmlp.AdamW(0.01), "clip_norm": 0.25, "l2": 0.01},
    ),
    "100 classes, weights": (
        [24, 50, 100],
        {"activation": "silu", "loss": "cross_entropy"},
        {"optimizer": fastmlp.RMSprop(0.003), "batch_size": 32, "sample_weight": True},
    ),
    "two heads": (
        [5, 17, 30],
        {"activation": "mish", "loss": "gaussian_nll"},
        {"optimizer": fastmlp.SGD(0.01, momentum=0.9), "batch_size": 150, "clip_norm": 5.0},
    ),
    "counts, wide": (
        [130, 8, 3],
        {"activation": "sigmoid", "loss": "poisson_nll"},
        {"optimizer": fastmlp.SGD(0.01, momentum=0.8, nesterov=True), "l2": 0.1},
    ),
    "deep, everything": (
        [11, 48, 47, 25, 9, 5],
        {
            "activation": ["elu", "softplus", "selu", "gelu_tanh"],
            "loss": fastmlp.CrossEntropy(label_smoothing=0.1),
            "dropout": [0.0, 0.5, 0.0, 0.2],
        },
        {"l2": 0.001, "clip_norm": 1.0, "sample_weight": True, "batch_size": 50},
    ),
    "probabilities": (
        [16, 64, 11],
        {"activation": "leaky_relu", "loss": "binary_cross_entropy"},
        {"optimizer": fastmlp.Adam(0.01), "batch_size": 129},
    ),
    "normalised before": (
        [9, 70, 33, 3],
        {"activation": "gelu", "dropout": [0.2, 0.0], "layer_norm": "before"},
        {"optimizer": fastmlp.Adam(0.01), "l2": 0.01, "batch_size": 64},
    ),
    "normalised after": (
        [9, 1, 47, 17, 1],
        {"activation": ["tanh", "relu", "sigmoid"], "layer_norm": [None, "after", "after"]},
        {"optimizer": fastmlp.SGD(0.01, momentum=0.9), "clip_norm": 0.5, "sample_weight": True},
    ),
    "parametric": (
        [9, 70, 33, 3],
        {"activation": ["mish", "tanh"], "dropout": [0.2, 0.0], "parametric": True, "scale": True},
        {"optimizer": fastmlp.Adam(0.01), "l2": 0.01, "batch_size": 64},
    ),
    "residual blocks, linear path": (
        [9, 40, 40, 40, 17, 17, 17, 35],
        {
            "activation": ["relu", "tanh", "relu", "gelu", "silu", "relu"],
            "skip": 2,
            "linear_path": True,
            "dropout": [0.0, 0.1, 0.2, 0.0, 0.0, 0.0],
        },
        {"optimizer": fastmlp.Adam(0.01), "l2": 0.01, "batch_size": 64},
    ),
    "scaled linear path": (
        [33, 17, 17, 1],
        {"skip": 1, "linear_path": True, "scale": True, "layer_norm": [None, "after"]},
        {"optimizer": fastmlp.SGD(0.01, momentum=0.9), "clip_norm": 0.5, "sample_weight": True},
    ),
    "no hidden layer": ([12, 1], {"loss": fastmlp.Quantile(0.8)}, {"shuffle": False}),
}

GOLDEN = {  # each row has float32, then float64
    "tanh": ("278cfaf4323638b3", "dea12b850354667f"),
    "relu, dropout": ("41c67c671f7ed3cc", "b91904c7929c6a8f"),
    "gelu, clipping, l2": ("4721cff61f0c89d2", "8b3a8a6bbbe78019"),
    "100 classes, weights": ("f8c4c5a463388abd", "411629b1dbf8245b"),
    "two heads": ("f89fa57f3e4fc8c5", "79309a4dd0618482"),
    "counts, wide": ("ec0ebd81e0540d7e", "b87c7843af8a3de7"),
    "deep, everything": ("3904e0fb75e3f06a", "d3290376f9dbb772"),
    "probabilities": ("8de4d8004a62819c", "4ffbdd66a6f14727"),
    "normalised before": ("a8cf4e4ad4e8480c", "085dc06f7294ba3c"),
    "normalised after": ("dc519a58f5cdc5ad", "e91bec157b990604"),
    "parametric": ("3dbe6c4a0eddd409", "b5c95fb286707757"),
    "residual blocks, linear path": ("b4960cee68cde16e", "b363a4c57cd9fb84"),
    "scaled linear path": ("eebad3629e31bfef", "a39dd7dc467eae33"),
    "no hidden layer": ("efb1e0d0e58522ff", "fe6eee8432a0ccf7"),
}


def numbers(n, seed):
    """n whole numbers in [0, 2**16), by a linear congruential generator."""
    state, found = seed * 2654435761 % 2**32, []
    for _ in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        found.append(state >> 16)
    return np.array(found, np.float64)


def between(low, high, shape, seed):
    """Numbers of [low, high), exact in float32 for bounds that are small powers of two."""
    return low + (high - low) * (numbers(int(np.prod(shape)), seed).reshape(shape) / 2**16)


def data(sizes, loss, n=150):
    x = between(-2, 2, (n, sizes[0]), 1)
    shape = (n, sizes[-1])
    targets = {
        "real": lambda: between(-1, 1, shape, 2),
        "count": lambda: np.floor(between(0, 8, shape, 2)),
        "unit_interval": lambda: np.floor(between(0, 2, shape, 2)),
        "class": lambda: (numbers(n, 2) % sizes[-1]).astype(np.int64),
    }
    return x, targets[loss.target_kind](), between(0, 2, n, 3)


def model(name, level, dtype):
    """The network of a fit, on a level, its weights set to fixed numbers."""

    class OnLevel(fastmlp.MLP):
        _make_engine = staticmethod(lambda spec: native_engine.Engine(spec, level))

    sizes, options, _ = FITS[name]
    # PCG64's stream is fixed by NumPy's policy; it seeds shuffling and dropout.
    generator = np.random.Generator(np.random.PCG64(3))
    net = OnLevel(sizes, dtype=dtype, rng=generator, **options)
    net.weights = [
        between(-1, 1, w.shape, 10 + k) / 2 ** (w.shape[0].bit_length() // 2)
        for k, w in enumerate(net.weights)
    ]
    return net


def digest(name, level, dtype, n_threads=1):
    """Fit, and return a digest of weights, losses, predictions and gradients."""
    sizes, _, options = FITS[name]
    net = model(name, level, dtype)
    x, t, weights = data(sizes, net.loss)
    options = dict(options)
    sample_weight = weights if options.pop("sample_weight", False) else None
    history = net.fit(x, t, epochs=4, n_threads=n_threads, sample_weight=sample_weight, **options)
    predictions = net.predict(x)
    _, *gradients = net.gradients(x, t)
    parameters = itertools.chain(*network_of(net).engine.parameters())
    found = hashlib.sha256()
    for array in (*parameters, *itertools.chain(*gradients), *np.atleast_3d(predictions)):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(np.array([*history.loss, net.evaluate(x, t, weights)]).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", FMA_LEVELS)
@pytest.mark.parametrize("name", FITS)
def test_golden_digests(name, level, dtype):
    assert digest(name, level, dtype) == GOLDEN[name][DTYPES.index(dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FITS)
def test_threads_do_not_matter(name, level, dtype):
    assert len({digest(name, level, dtype, n) for n in (1, 2, 3, 8)}) == 1


# Optimizers whose step runs beside the tiles of a gradient, also with an l2 penalty.
BESIDE = {
    "sgd": (fastmlp.SGD(0.05), 0.0),
    "momentum": (fastmlp.SGD(0.05, momentum=0.9), 0.0),
    "rmsprop": (fastmlp.RMSprop(0.01), 0.0),
    "rmsprop, l2": (fastmlp.RMSprop(0.01), 0.1),
    "adam": (fastmlp.Adam(0.01), 0.0),
    "adam, l2": (fastmlp.Adam(0.01), 0.1),
    "adamw": (fastmlp.AdamW(0.01, weight_decay=0.5), 0.0),
    "adamw, l2": (fastmlp.AdamW(0.01, weight_decay=0.5), 0.1),
}
NEVER = 1e30  # a limit of the norm that no gradient reaches, so that steps follow their gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", BESIDE)
def test_steps_beside_tiles_have_the_bits_of_steps_after_them(name, level, dtype):
    optimizer, l2 = BESIDE[name]
    for batch in (15, 16, 31, 32, 63, 64, 100, 127, 128, 129, 192, 256):
        fits = []
        for clip_norm in (None, NEVER):
            net = model("100 classes, weights", level, dtype)
            x, t, _ = data(net.layer_sizes, net.loss, batch)
            options = {
                "batch_size": batch,
                "l2": l2,
                "clip_norm": clip_norm,
                "optimizer": optimizer,
            }
            net.fit(x, t, epochs=3, **options)
            fits.append(net.weights)
        for beside, after in zip(*fits, strict=True):
            np.testing.assert_array_equal(beside, after)


@pytest.mark.parametrize("size", [1, 9_000, cpu.block_bytes(), 1 << 30])
@pytest.mark.parametrize("level", FMA_LEVELS)
def test_the_size_of_the_cache_does_not_matter(level, size, monkeypatch):
    monkeypatch.setattr(cpu, "block_bytes", lambda: size)
    for name, dtype in itertools.product(FITS, DTYPES):
        assert digest(name, level, dtype) == GOLDEN[name][DTYPES.index(dtype)]


@pytest.mark.parametrize(
    "level", [LEVELS[0], *(pytest.param(level, marks=pytest.mark.slow) for level in LEVELS[1:])]
)
def test_fresh_processes_agree(level):
    code = (
        "import json, fastmlp, test_bits as t\n"
        "print(json.dumps([t.digest(n, fastmlp._engine.native_engine.level(), d)"
        " for n in t.FITS for d in t.DTYPES]))"
    )
    here = [digest(name, level, dtype) for name in FITS for dtype in DTYPES]
    for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "MALLOC_PERTURB_": "165"}):
        found = children.python("-c", code, folders=children.FOLDERS, FASTMLP_CPU=level, **extra)
        assert json.loads(children.printed(found)) == here


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FITS)
def test_predictions_do_not_depend_on_the_batch(name, level, dtype):
    net = model(name, level, dtype)
    x = data(FITS[name][0], net.loss, 257)[0].astype(dtype)
    engine = network_of(net).engine
    whole = engine.predict(x)
    alone = np.concatenate([engine.predict(x[i : i + 1]) for i in range(257)])
    np.testing.assert_array_equal(alone, whole)
    order = np.argsort(numbers(257, 5), kind="stable")
    np.testing.assert_array_equal(engine.predict(x[order]), whole[order])
    for split in (1, 2, 63, 64, 65, 100, 255, 256):
        parts = np.concatenate([engine.predict(x[:split]), engine.predict(x[split:])])
        np.testing.assert_array_equal(parts, whole)
    for n_threads in (2, 3, 8):
        with Team(n_threads) as team:
            np.testing.assert_array_equal(engine.predict(x, team), whole)
    # The path of single rows has kernels of its own.
    predict = Predictor(network_of(net).spec, level, *engine.parameters())
    np.testing.assert_array_equal(np.stack([predict(row) for row in x]), whole)
    for size in (1, 2, 4, 5, 257):
        np.testing.assert_array_equal(predict(x[:size]), whole[:size])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FITS)
def test_evaluation_does_not_depend_on_threads_and_layout(name, level, dtype):
    net = model(name, level, dtype)
    x, t, weights = data(FITS[name][0], net.loss, 257)
    wanted = net.evaluate(x, t, weights)
    x = np.ascontiguousarray(x[::-1].astype(dtype))[::-1]
    assert net.evaluate(np.asfortranarray(x), t, weights) == wanted
    checked = fastmlp._validation.check.data(x, t, weights, network_of(net).spec)
    for n_threads in (1, 2, 3, 8):
        with Team(n_threads) as team:
            assert network_of(net).engine.evaluate(checked, team) == wanted


def test_levels_without_fma_are_near():
    """The baseline has other bits, but not another result."""
    if not FMA_LEVELS or FMA_LEVELS == LEVELS:
        pytest.skip("one kind of level only on this machine: nothing to compare")
    for name in FITS:
        nets = [model(name, level, "float64") for level in (FMA_LEVELS[0], LEVELS[-1])]
        x, t, _ = data(FITS[name][0], nets[0].loss)
        for net in nets:
            net.fit(x, t, epochs=2)
        for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


if __name__ == "__main__":
    for name in FITS:
        digests = [digest(name, FMA_LEVELS[0], dtype) for dtype in DTYPES]
        print(f"    {json.dumps(name)}: ({json.dumps(digests)[1:-1]}),")
