"""A hundred steps like PyTorch's: same weights, same batches, same weights after."""

import warnings

import cases
import numpy as np

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._engine.plan import Plan

with warnings.catch_warnings():  # what PyTorch says to newer Pythons and NumPys is its own matter
    warnings.simplefilter("ignore")
    import torch

torch.set_num_threads(1)  # what is left of PyTorch's threads keeps spinning between small steps

N, BATCH, STEPS = 160, 32, 100
SIZES = [9, 26, 13, 4]
LEVELS = native_engine.available_levels()
ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "elu": torch.nn.functional.elu,
    "selu": torch.selu,
    "softplus": torch.nn.functional.softplus,
    "leaky_relu": torch.nn.functional.leaky_relu,
}


def per_row(function):
    """Sum over outputs, mean over rows."""
    return lambda z, t: function(z, t, reduction="sum") / len(z)


F = torch.nn.functional
LOSSES = {
    "squared_error": (
        fastmlp.SquaredError(),
        lambda z, t: 0.5 * F.mse_loss(z, t, reduction="sum") / len(z),
    ),
    "huber": (fastmlp.Huber(0.7), per_row(lambda z, t, **o: F.huber_loss(z, t, delta=0.7, **o))),
    "poisson": (fastmlp.PoissonNLL(), per_row(F.poisson_nll_loss)),
    "binary": (fastmlp.BinaryCrossEntropy(), per_row(F.binary_cross_entropy_with_logits)),
    "labels": (fastmlp.CrossEntropy(), per_row(F.cross_entropy)),
    "smooth": (
        fastmlp.CrossEntropy(label_smoothing=0.1),
        per_row(lambda z, t, **o: F.cross_entropy(z, t, label_smoothing=0.1, **o)),
    ),
}
OPTIMIZERS = {
    "sgd": (fastmlp.SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (
        fastmlp.SGD(0.02, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    ),
    "nesterov": (
        fastmlp.SGD(0.02, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (fastmlp.RMSprop(0.002), lambda p: torch.optim.RMSprop(p, lr=0.002)),
    "adam": (fastmlp.Adam(0.003), lambda p: torch.optim.Adam(p, lr=0.003)),
    "adamw": (
        fastmlp.AdamW(0.003, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.003, weight_decay=0.1),
    ),
}
# Relative distance of all weights after the steps: roundings are amplified in between.
NEAR = {"float64": 1e-11, "float32": 1e-3}


def torch_hidden(network, name, tensors, k, y):
    """The activation of hidden layer k, parametric or normalised where it says so."""

    def norm(y):
        return F.layer_norm(y, y.shape[1:], tensors["gains"][k], tensors["shifts"][k])

    if network.layer_norm[k] == "before":
        y = norm(y)
    f = ACTIVATIONS[name](y)
    if network.parametric[k]:
        f = torch.lerp(y, f, tensors["alphas"][k])
    return norm(f) if network.layer_norm[k] == "after" else f


def torch_fit(network, parameters, data, name, loss, make_optimizer, order, clip_norm):
    """The same fit in PyTorch; returns all parameters as arrays."""
    kinds = [[torch.tensor(a, requires_grad=True) for a in group] for group in parameters]
    weights, biases, *_ = kinds
    tensors = dict(zip(network.tensors, kinds, strict=True))
    vectors = [p for kind in kinds[1:] for p in kind]
    # Vectors do not decay here; PyTorch's own habit is to let them.
    optimizer = make_optimizer([{"params": weights}, {"params": vectors, "weight_decay": 0.0}])
    x, t = torch.tensor(data.x), torch.tensor(data.targets)
    t = t.long() if data.targets.ndim == 1 else t
    for step in range(STEPS):
        rows = torch.tensor(order[step * BATCH % N :][:BATCH])
        y = x[rows]
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            y = y @ w + b
            if k < len(weights) - 1:
                y = torch_hidden(network, name, tensors, k, y)
        optimizer.zero_grad()
        loss(y, t[rows]).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_([*weights, *vectors], clip_norm)
        optimizer.step()
    return [p.detach().numpy() for p in [*weights, *vectors]]


def compare(
    dtype,
    name,
    loss_name,
    optimizer_name,
    sizes=SIZES,
    seed=51,
    clip_norm=0.0,
    slack=0.0,
    **options,
):
    """Fail unless a hundred steps of every level end where PyTorch's do."""
    rng = np.random.default_rng(seed)
    loss, torch_loss = LOSSES[loss_name]
    optimizer, make_optimizer = OPTIMIZERS[optimizer_name]
    network = cases.build(sizes, name, loss, dtype, **options)
    data = cases.data(network, N, rng, labels=loss_name in {"labels", "smooth"})
    parameters = cases.parameters(network, rng)
    order = rng.permutation(N)
    theirs = torch_fit(
        network, parameters, data, name, torch_loss, make_optimizer, order, clip_norm
    )
    b = np.concatenate([p.ravel() for p in theirs]).astype(np.float64)
    for level in LEVELS:
        engine = native.Engine(network, level)
        engine.set_parameters(*parameters)
        engine.start(optimizer)
        rates = np.full(N // BATCH, optimizer.learning_rate)
        plan = Plan(optimizer, BATCH, rates, order, clip_norm=clip_norm)
        losses = [engine.epoch(data, plan) for _ in range(STEPS * BATCH // N)]
        if not np.isfinite(b).all():  # the steps were too long
            assert not np.isfinite(losses).all(), level
            continue
        a = np.concatenate([p.ravel() for group in engine.parameters() for p in group])
        assert np.linalg.norm(a - b) <= (NEAR[dtype] + slack) * np.linalg.norm(b), level


def drawn(rng):
    """Return random arguments of `compare`, in float64.

    A normalisation of few units is nearly a sign, by which roundings grow to differences.
    """
    hidden = rng.integers(8, 40, rng.integers(0, 4)).tolist()
    sizes = [int(rng.integers(1, 40)), *hidden, int(rng.integers(2, 6))]
    return {
        "dtype": "float64",
        "name": str(rng.choice(list(ACTIVATIONS))),
        "loss_name": str(rng.choice(list(LOSSES))),
        "optimizer_name": str(rng.choice(list(OPTIMIZERS))),
        "sizes": sizes,
        "seed": int(rng.integers(2**32)),
        "layer_norm": [None, "before", "after"][rng.integers(3)],
        "parametric": bool(rng.integers(2)),
    }
