"""PyTorch's modules read as MLPs. Optional."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastmlp

with warnings.catch_warnings():  # what PyTorch says to newer Pythons and NumPys is its own matter
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="needs torch")

import torch.nn.utils.prune

nn = torch.nn
torch.set_num_threads(1)

ACTIVATIONS = {
    "identity": nn.Identity(),
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "softplus": nn.Softplus(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
}


class Own(nn.Sequential):
    """A class of the user's own, whose forward is followed."""


def lively(*layers):
    """Return a stack in evaluation mode whose BatchNorm1d have seen data."""
    torch.manual_seed(1)
    theirs = nn.Sequential(*layers)
    for each in theirs.modules():
        if isinstance(each, nn.BatchNorm1d):
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2)
            if each.affine:
                nn.init.normal_(each.weight)
                nn.init.normal_(each.bias)
    return theirs.eval()


class Residual(nn.Module):
    """Two layers, and their inputs."""

    def __init__(self, n, *end):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(n, n), nn.Tanh(), nn.Linear(n, n), *end)

    def forward(self, x):
        return x + self.f(x)


class Wide(nn.Module):
    """A residual block whose inner layer is wider."""

    def __init__(self, n, *middle):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(n, n + 2), *middle, nn.ReLU(), nn.Linear(n + 2, n))

    def forward(self, x):
        return x + self.f(x)


class PreNorm(Residual):
    """A residual block that normalises its inputs."""

    def __init__(self, n):
        super().__init__(n)
        self.norm = nn.LayerNorm(n)

    def forward(self, x):
        return x + self.f(self.norm(x))


class Sum(nn.Module):
    """What networks of the same inputs add up to."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return sum(part(x) for part in self.parts)


class Mean(Sum):
    """The mean of networks of the same inputs."""

    def forward(self, x):
        return torch.stack([part(x) for part in self.parts]).mean(0)


class Standardized(nn.Module):
    """A network for raw columns, as programs write it."""

    def __init__(self, *layers):
        super().__init__()
        self.register_buffer("mean", torch.tensor([3.0, -2.0, 0.5, 100.0]))
        self.register_buffer("std", torch.tensor([[2.0, 0.1, 1.0, 9.0]]))
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers((x - self.mean) / self.std) * 20.0 + 300.0


class Functions(nn.Module):
    """Layers with functions between them, and a part that is called twice."""

    def __init__(self, *calls):
        super().__init__()
        self.first, self.last, self.calls = nn.Linear(4, 6), nn.Linear(6, 2), calls

    def forward(self, x):
        x = self.first(x)
        for call in self.calls:
            x = call(x)
        return self.last(x)


class Parallel(nn.Module):
    """Two layers of one input, whose outputs are put together."""

    def __init__(self, together):
        super().__init__()
        self.one, self.other, self.together = nn.Linear(4, 2), nn.Linear(4, 2), together

    def forward(self, x):
        return self.together(self.one(x), self.other(x))


def module(activation, *end, dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Linear(4, 8), activation, nn.Dropout(0.25), nn.Linear(8, 3), *end]
    return nn.Sequential(*layers).to(dtype).eval()


def assert_same(net, theirs):
    x = torch.randn(100, 4, dtype=next(theirs.parameters()).dtype)
    with torch.no_grad():
        wanted = theirs(x).numpy()
    assert net.dtype == wanted.dtype
    rtol = 1e-5 if wanted.dtype == np.float32 else 1e-8
    np.testing.assert_allclose(net.predict(x.numpy()), wanted, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, dtype):
    theirs = module(ACTIVATIONS[activation], nn.Softmax(dim=-1), dtype=dtype)
    net = fastmlp.from_torch(theirs)
    assert net.activations == (activation,)
    assert net.dropout == (0.25,)
    assert net.loss.name == "cross_entropy"
    assert_same(net, theirs)


@pytest.mark.parametrize(
    ("theirs", "sizes"),
    [
        (nn.Linear(4, 3), (4, 3)),
        (nn.Sequential(nn.Linear(4, 3, bias=False)), (4, 3)),
        (nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), (4, 5, 3)),
        (
            nn.Sequential(
                nn.Flatten(),
                nn.Sequential(nn.Linear(4, 5), nn.Tanh()),
                nn.Linear(5, 2),
                nn.Sigmoid(),
            ),
            (4, 5, 2),
        ),
    ],
)
def test_shapes_of_modules(theirs, sizes):
    net = fastmlp.from_torch(theirs)
    assert net.layer_sizes == sizes
    assert_same(net, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_layer_normalisation(dtype):
    torch.manual_seed(0)
    first = [nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 6)]
    last = [nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5)]
    last += [nn.Linear(5, 3), nn.SiLU(), nn.Linear(3, 2)]
    theirs = nn.Sequential(*first, *last).to(dtype).eval()
    with torch.no_grad():
        for each in (theirs[1], theirs[5], theirs[9]):
            each.weight.add_(torch.randn_like(each.weight))
            each.bias.add_(torch.randn_like(each.bias))
    net = fastmlp.from_torch(theirs)
    assert net.layer_norm == ("before", "before", "after", None)
    assert net.dropout == (0.5, 0, 0, 0)
    assert_same(net, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_parametric_relu(dtype):
    torch.manual_seed(0)
    first = [nn.Linear(4, 8), nn.PReLU(), nn.Linear(8, 6), nn.LayerNorm(6), nn.PReLU(6)]
    last = [nn.Dropout(0.5), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)]
    theirs = nn.Sequential(*first, *last).to(dtype).eval()
    with torch.no_grad():
        theirs[4].weight.add_(torch.randn_like(theirs[4].weight))
    net = fastmlp.from_torch(theirs)
    assert net.parametric == (True, True, False)
    assert net.activations == ("relu", "relu", "tanh")
    np.testing.assert_allclose(net.alphas[0], np.full(8, 0.75))
    assert_same(net, theirs)


# Stacks that need more than a layer for a Linear, and the sizes of the MLP.
STACKS = [
    ([nn.Linear(4, 5), nn.LeakyReLU(0.2), nn.Linear(5, 2)], (4, 5, 2)),
    ([nn.Linear(4, 5), nn.Identity(), nn.ReLU(), nn.Linear(5, 2)], (4, 5, 2)),
    ([nn.Linear(4, 5), nn.Dropout(0.1), nn.Linear(5, 2)], (4, 5, 2)),
    ([nn.BatchNorm1d(4), nn.Linear(4, 2)], (4, 2)),
    ([nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)], (4, 5, 2)),
    ([nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Dropout(0.1), nn.Linear(5, 2)], (4, 5, 2)),
    ([nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 2)], (4, 5, 2)),
    ([nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5)], (4, 5, 5)),
    ([nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Softmax(dim=1)], (4, 5, 5)),
    ([nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2), nn.Tanh()], (4, 5, 2, 2)),
    ([nn.Linear(4, 5), nn.LayerNorm(5)], (4, 5, 5)),
    ([nn.LayerNorm(4), nn.Linear(4, 2)], (4, 4, 2)),
    ([Functions(torch.relu, lambda x: nn.functional.dropout(x, 0.1, training=False))], (4, 6, 2)),
    ([nn.Flatten(), Functions(lambda x: nn.functional.leaky_relu(x, 0.3))], (4, 6, 2)),
    ([Functions(lambda x: x.tanh()), nn.Softmax(dim=-1)], (4, 6, 2)),
    (
        [nn.Linear(4, 5), nn.ReLU(), Residual(5, nn.ReLU()), Residual(5), nn.Linear(5, 2)],
        (4, 5, 5, 5, 5, 5, 2),
    ),
    ([nn.Linear(4, 5), Residual(5)], (4, 5, 5, 5, 5)),
    (
        [nn.Linear(4, 5), nn.ReLU(), Residual(5, nn.BatchNorm1d(5), nn.ReLU()), nn.Linear(5, 2)],
        (4, 5, 5, 5, 2),
    ),
    ([Own(nn.Linear(4, 2))], (4, 2)),
    ([nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 2)], (4, 4, 2)),
    ([nn.Linear(4, 5), nn.LayerNorm(5, bias=False), nn.ReLU(), nn.Linear(5, 2)], (4, 5, 2)),
    ([Standardized(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))], (4, 6, 2)),
    ([Standardized(nn.BatchNorm1d(4), nn.Linear(4, 6), nn.ReLU())], (4, 6, 6)),
    ([Functions(lambda x: 2 * (x - 1).div(3), torch.relu, lambda x: x.mul(0.5) + 1)], (4, 6, 2)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("layers", "sizes"), STACKS)
def test_stacks(layers, sizes, dtype):
    theirs = lively(*layers).to(dtype)
    for given in (theirs, nn.DataParallel(theirs)):
        net = fastmlp.from_torch(given)
        assert net.layer_sizes == sizes
        assert_same(net, theirs)


def test_logarithms_of_probabilities_become_probabilities():
    theirs = lively(nn.Linear(4, 3), nn.LogSoftmax(dim=1))
    assert_same(fastmlp.from_torch(theirs), nn.Sequential(theirs[0], nn.Softmax(dim=1)))


def test_logits_get_their_link_from_the_loss():
    theirs = module(nn.ReLU())
    with_link = nn.Sequential(*theirs, nn.Softmax(dim=1))
    assert_same(fastmlp.from_torch(theirs, loss="cross_entropy"), with_link)
    with pytest.raises(ValueError, match="ends in softmax"):
        fastmlp.from_torch(with_link, loss="huber")


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (nn.Conv1d(2, 2, 1), "Conv1d"),
        (nn.Sequential(nn.Linear(2, 2), nn.Hardswish(), nn.Linear(2, 2)), "Hardswish"),
        (
            nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 2)),
            "no running statistics",
        ),
        (Functions(torch.exp), "exp before its end"),
        (Functions(torch.sin), "calls sin.*CustomActivation"),
        (Functions(lambda x: x if x.sum() > 0 else -x), "Functions is no fixed order"),
        (Functions(lambda x: x + torch.ones(4)), "scales 6 columns by tensor"),
        (Functions(lambda x: x * torch.ones(6, 1)), "one number for each column"),
        (Functions(lambda x: x - x.mean()), "mean"),
        (Functions(lambda x: torch.cat([x, x])), "joins values other"),
        (Parallel(torch.mul), "multiplies two values of its rows.*: a gate"),
        (Parallel(torch.div), "divides by a value of its rows"),
        (Parallel(lambda *both: torch.cat(both)), "joins values other than by columns"),
        (Parallel(lambda *both: both), "returns tuple.*torch.cat"),
        (Parallel(lambda one, other: one + other[:, 0]), "adds values of 2 and 1 columns"),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Linear(3, 1)), "softmax before its end"),
        (nn.Sequential(nn.Linear(2, 2), nn.RMSNorm(2), nn.Linear(2, 2)), "RMSNorm.*by a LayerNorm"),
        (nn.Sequential(nn.LazyLinear(3), nn.ReLU()), "lazy layer without sizes.*call the module"),
        (nn.Sequential(nn.Linear(2, 2), nn.Hardswish()), "Hardswish.*CustomActivation"),
        (Functions(nn.functional.softsign), "calls softsign.*CustomActivation"),
        (nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 1)), "Embedding.*TabMLPRegressor"),
        (nn.Sequential(nn.Linear(2, 2), nn.CosineSimilarity()), "Cosine.*before the training"),
        (nn.Sequential(nn.Linear(2, 2), nn.GLU()), "GLU.*a gate multiplies"),
        (nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2)), "GroupNorm.*by a LayerNorm"),
        (
            nn.Sequential(nn.Linear(2, 3), Wide(3, nn.LayerNorm(5)), nn.Linear(3, 1)),
            "around a normalised layer.*make every block",
        ),
        ({"0.weight": torch.zeros(2, 2)}, "module.load_state_dict.torch.load.path.., and pass the"),
        (nn.Sequential(nn.Linear(2, 3), nn.PReLU(2), nn.Linear(3, 2)), r"PReLU.* of 3 outputs"),
        (nn.Sequential(nn.LayerNorm((2, 2)), nn.Linear(2, 2)), r"LayerNorm\(\(2, 2\)"),
        (nn.Sequential(), "no Linear layer"),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), "no Linear layer: Seq"),
        (
            nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3)),
            "a layer has 3 inputs but its weights take 2",
        ),
        ("net", "'net'"),
        (nn.Linear, "is <class .*pass the module itself"),
        (nn.Linear(2, 2, device="meta"), "device meta, without values"),
        (Functions(lambda x: nn.functional.prelu(x, torch.ones(6))), "calls prelu.*use PReLU"),
        (Functions(lambda x: nn.functional.layer_norm(x, (6,), x)), "calls layer_norm"),
        (Functions(lambda x: x + torch.ones(6)[x.shape[0]]), "calls __getitem__ with"),
        (Functions(lambda x: x.float()), "fails for rows of float64.*leave conversions"),
    ],
    ids=str,
)
def test_what_is_no_plain_mlp_is_refused(theirs, words):
    with pytest.raises(ValueError, match=words):
        fastmlp.from_torch(theirs)


class Called(nn.Module):
    """A network, and a call of its outputs."""

    def __init__(self, call, *layers):
        super().__init__()
        self.layers, self.call = nn.Sequential(*layers), call

    def forward(self, x):
        return self.call(self.layers(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_modules_are_refused_by_that_reason():
    with pytest.raises(ValueError, match=r"compiled.*pass the module that torch\.jit"):
        fastmlp.from_torch(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)))
    with pytest.raises(ValueError, match=r"compiled.*pass the module that torch\.jit"):
        fastmlp.from_torch(torch.jit.script(nn.Linear(2, 2)))
    exported = torch.export.export(nn.Linear(2, 2), (torch.zeros(3, 2),))
    for program in (exported.module(), exported.module(check_guards=False)):
        with pytest.raises(
            ValueError, match=r"a program(?s:.*)module that torch\.export was given"
        ):
            fastmlp.from_torch(program)


# Activations that are sums of fastmlp's, and the widths of the layers that compute them.
FOLDED = {
    "relu6": (nn.ReLU6(), (12,)),
    "hardtanh": (nn.Hardtanh(-0.5, 2), (12,)),
    "hardsigmoid": (nn.Hardsigmoid(), (12,)),
    "softshrink": (nn.Softshrink(0.3), (12,)),
    "threshold": (nn.Threshold(0, 0), (6,)),
    "rrelu": (nn.RReLU(), (6,)),
    "celu": (nn.CELU(0.4), (6,)),
    "softplus": (nn.Softplus(beta=2), (6,)),
    "log_sigmoid": (nn.LogSigmoid(), (6,)),
    "elu": (nn.ELU(2.0), (10, 12)),
    "tanhshrink": (nn.Tanhshrink(), (10, 6)),
    "clamp": (lambda x: x.clamp(min=0.1), (6,)),
    "clip": (lambda x: torch.clip(x, max=0.1), (6,)),
    "abs": (torch.abs, (12,)),
    "relu_of_inputs": (lambda x: 1 - torch.relu(x), (6,)),
    "cat": (lambda x: torch.cat([x, torch.relu(x)], 1)[:, 2:8], (6, 12)),
    "sum": (lambda x: x + torch.relu(x), (10, 6)),
    "two": (lambda x: torch.tanh(torch.relu(x)), (6, 6)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_activations(name):
    call, widths = FOLDED[name]
    part = call if isinstance(call, nn.Module) else Called(call)
    theirs = lively(nn.Linear(4, 6), part, nn.Linear(6, 2)).double()
    net = fastmlp.from_torch(theirs)
    assert_same(net, theirs)
    assert sum(net.layer_sizes[1:-1]) <= sum(widths)


LAYERS = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1)
SHAPES = {
    "squeeze": lambda x: x.squeeze(-1),
    "squeeze of all": torch.squeeze,
    "view": lambda x: x.view(-1),
    "view of rows": lambda x: x.view(x.shape[0]),
    "reshape": lambda x: torch.reshape(x, (-1,)),
    "flatten": lambda x: torch.flatten(x),
    "column": lambda x: x[:, 0],
    "sigmoid": lambda x: torch.sigmoid(x.squeeze(1)),
    "mean": lambda x: -x.mean(dim=1),
}


@pytest.mark.parametrize("name", SHAPES)
def test_predictions_without_a_last_axis(name):
    theirs = lively(Called(SHAPES[name], *LAYERS)).double()
    net = fastmlp.from_torch(theirs)
    assert net.predict(np.zeros((5, 4))).shape == (5,)
    assert_same(net, theirs)
    column = lively(Called(lambda x: SHAPES[name](x).unsqueeze(1), *LAYERS)).double()
    assert fastmlp.from_torch(column).predict(np.zeros((5, 4))).shape == (5, 1)


GRAPHS = [
    ([nn.Dropout(0.1), nn.Linear(4, 3), *[nn.Dropout(0.2)] * 2, nn.Linear(3, 1)], None, (4, 3, 1)),
    ([nn.Linear(4, 5), nn.LayerNorm(5, eps=1e-3), nn.ReLU(), nn.Linear(5, 1)], None, (4, 5, 1)),
    ([nn.Linear(4, 5), nn.ReLU(), nn.LayerNorm(5, eps=0.1), nn.Linear(5, 1)], None, (4, 5, 5, 1)),
    ([nn.Linear(4, 5), nn.ReLU(), PreNorm(5), PreNorm(5), nn.Linear(5, 2)], 3, (4, *[5] * 7, 2)),
    (
        [nn.Linear(4, 5), nn.ReLU(), Wide(5), Wide(5), nn.Linear(5, 2)],
        None,
        (4, 5, 12, 5, 12, 5, 2),
    ),
    ([nn.Linear(4, 5), Residual(5), nn.ReLU(), nn.Linear(5, 2)], None, (4, 5, 10, 5, 2)),
    ([Sum(nn.Sequential(*LAYERS), nn.Linear(4, 1))], None, (4, 6, 1)),
    ([Sum(nn.Linear(4, 3), nn.Linear(4, 3))], None, (4, 3)),
    (
        [Sum(nn.Sequential(*LAYERS), nn.Sequential(*LAYERS, *LAYERS[1:2], nn.Linear(1, 1)))],
        None,
        None,
    ),
    (
        [Sum(nn.Linear(4, 1), nn.Sequential(Called(lambda x: x[:, [2, 0]]), nn.Linear(2, 1)))],
        None,
        (4, 1),
    ),
]


@pytest.mark.parametrize(("layers", "skip", "sizes"), GRAPHS)
def test_graphs(layers, skip, sizes):
    theirs = lively(*layers).double()
    net = fastmlp.from_torch(theirs)
    assert_same(net, theirs)
    assert net.skip == skip
    assert sizes is None or net.layer_sizes == sizes


def networks(*end):
    return [nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), *end) for _ in range(3)]


def test_means_of_networks_are_ensembles():
    for theirs in (lively(Mean(*networks())), lively(Mean(*networks(nn.Softmax(1))))):
        ensemble = fastmlp.from_torch(theirs.double())
        assert type(ensemble) is fastmlp.Ensemble
        assert len(ensemble) == 3
        x = torch.randn(20, 4).double()
        np.testing.assert_allclose(ensemble.predict(x.numpy()), theirs(x).detach(), rtol=1e-9)
    logits = lively(Mean(*networks())).double()  # the link of a mean is no mean of links
    net = fastmlp.from_torch(logits, loss="cross_entropy")
    assert_same(net, nn.Sequential(logits, nn.Softmax(1)))


def test_links_at_the_end():
    theirs = lively(Called(torch.exp, *LAYERS)).double()
    assert fastmlp.from_torch(theirs).loss.name == "poisson_nll"
    assert_same(fastmlp.from_torch(theirs), theirs)
    two = lively(nn.Linear(4, 2)).double()
    mean, variance = fastmlp.from_torch(
        two, loss=fastmlp.GaussianNLL(predict_variance=True)
    ).predict(np.zeros((1, 4)))
    np.testing.assert_allclose([mean[0, 0], np.log(variance[0, 0])], two[0].bias.detach())


def test_what_a_check_on_rows_finds_is_refused():
    class Lying(nn.Linear):
        """A layer that computes something else when it is not traced."""

        def forward(self, x):
            return super().forward(x) * (1 if isinstance(x, torch.fx.Proxy) else 2)

    with pytest.raises(ValueError, match="predicts otherwise than the one it was made of"):
        fastmlp.from_torch(Lying(3, 2))


def limited_at_500(x):
    x.clamp_(max=500)  # farther than any row of the comparison
    return x


@pytest.mark.parametrize(
    "call",
    [
        limited_at_500,
        lambda x: nn.functional.relu(x, inplace=True) + x,
        lambda x: torch.relu_(x) + x,
        lambda x: x.view(-1, 6).tanh_() + x,
        lambda x: x.add_(1) - 2 * x,
    ],
)
def test_values_that_are_read_after_a_change_in_place_are_refused(call):
    with pytest.raises(ValueError, match=r"reads \w+ after a change in place.*use inplace=False"):
        fastmlp.from_torch(Functions(call))


@pytest.mark.parametrize("change", [nn.Hardtanh(inplace=True), nn.ReLU6(inplace=True)], ids=str)
def test_a_change_of_the_inputs_in_place_is_not_overlooked(change):
    class Twice(nn.Module):
        """A network that reads its inputs before and after their change."""

        def __init__(self):
            super().__init__()
            self.change, self.one, self.other = change, nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.one(self.change(x)) + self.other(x)

    with pytest.raises(ValueError, match="after a change in place"):
        fastmlp.from_torch(Twice())


def test_changes_in_place_that_nothing_sees_are_read():
    torch.manual_seed(0)
    theirs = nn.Sequential(
        nn.ReLU(inplace=True),
        *(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.1, inplace=True), nn.Linear(6, 2)),
    )
    rows = torch.randn(50, 4)
    with torch.no_grad():
        wanted = theirs.eval()(rows.clone()).numpy()
    np.testing.assert_allclose(fastmlp.from_torch(theirs).predict(rows.numpy()), wanted, atol=1e-6)


ELEMENTWISE = [
    *(kind() for kind in (nn.ReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.Mish, nn.ELU, nn.SELU, nn.CELU)),
    *(
        nn.Softplus(2.0),
        nn.LeakyReLU(0.2),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.Hardsigmoid(),
        nn.ELU(0.3),
    ),
    *(nn.LogSigmoid(), nn.PReLU(), nn.RReLU(), nn.Tanhshrink(), nn.Softshrink(), nn.Sigmoid()),
    *(torch.sin, nn.Hardswish(), nn.Softsign()),  # refused
]


def random_module(rng):
    """Return a module of random layers, of n inputs."""
    n = width = int(rng.integers(1, 6))
    layers = []
    for _ in range(rng.integers(1, 5)):
        before, width = width, int(rng.integers(1, 7))
        layers.append(nn.Linear(before, width, bias=bool(rng.integers(5))))
        call = ELEMENTWISE[rng.integers(len(ELEMENTWISE))]
        extras = [
            nn.BatchNorm1d(width),
            nn.LayerNorm(width),
            nn.Dropout(0.2),
            Residual(width, *[nn.BatchNorm1d(width)] * int(rng.integers(2))),
            Wide(width),
            PreNorm(width),
            Called(lambda x: 2 - x / 3, nn.Identity()),
            Called(lambda x: torch.cat([x, x.tanh()], 1)[:, : x.shape[1]], nn.Identity()),
            Sum(nn.Linear(width, width), nn.Sequential(nn.Linear(width, width), nn.Tanh())),
        ]
        chosen = rng.permutation(len(extras))[: rng.integers(3)]
        block = [
            call if isinstance(call, nn.Module) else Called(call),
            *(extras[k] for k in chosen),
        ]
        layers += [block[k] for k in rng.permutation(len(block))]
    ends = [nn.Linear(width, 1), Called(lambda x: x[:, 0]), Called(lambda x: x.clamp(min=0))]
    ends += [nn.Sigmoid(), nn.Softmax(1), nn.BatchNorm1d(width)]
    layers += ends[: rng.integers(1, 3)] if rng.integers(2) else [ends[rng.integers(2, 6)]]
    return n, lively(*layers).double()


@pytest.mark.parametrize(
    "n_modules", [pytest.param(40, id="few"), pytest.param(300, marks=pytest.mark.slow, id="many")]
)
def test_random_modules_are_the_same_or_refused(n_modules):
    rng = np.random.default_rng(n_modules)
    n_read = n_refused = 0
    for _ in range(n_modules):
        n, theirs = random_module(rng)
        try:
            net = fastmlp.from_torch(theirs)
        except ValueError:
            n_refused += 1
            continue
        n_read += 1
        x = torch.tensor(rng.normal(size=(50, n)) * 3)
        wanted = theirs(x).detach().numpy()
        np.testing.assert_allclose(
            net.predict(x.numpy()), wanted, rtol=1e-7, atol=1e-7 * np.abs(wanted).max()
        )
    assert n_read + n_refused == n_modules
    assert n_read > n_modules // 3


def own_forward(module):
    module[1].forward = torch.exp


HOOK = "a hook before forward on Linear.* or remove"
CHANGES = {
    "pruned": (lambda m: nn.utils.prune.l1_unstructured(m[0], "weight", 0.5), HOOK),
    "weight_norm": (lambda m: nn.utils.weight_norm(m[0]), HOOK),
    "spectral_norm": (lambda m: nn.utils.spectral_norm(m[3]), HOOK),
    "hook": (lambda m: m[1].register_forward_hook(lambda *a: 2 * a[2]), "after forward on ReLU"),
    "hook of all": (
        lambda m: m.register_forward_pre_hook(lambda _, x: (3 * x[0],)),
        "before forward on Sequential",
    ),
    "replaced forward": (own_forward, "another forward on ReLU"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("name", CHANGES)
def test_modules_that_were_changed_are_refused(name):
    change, words = CHANGES[name]
    theirs = module(nn.ReLU())
    change(theirs)
    with pytest.raises(ValueError, match=words):
        fastmlp.from_torch(nn.Sequential(theirs))


@pytest.mark.parametrize("change", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrized_tensors_are_read_by_their_values(change):
    theirs = module(nn.ReLU())
    getattr(nn.utils.parametrizations, change)(theirs[0])
    states = {name: value.clone() for name, value in theirs.state_dict().items()}
    assert_same(fastmlp.from_torch(theirs), theirs.eval())
    assert all(torch.equal(value, states[name]) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_narrow_weights_become_float32(dtype):
    theirs = module(nn.ReLU()).to(dtype)
    net = fastmlp.from_torch(theirs)
    assert net.dtype == "float32"
    assert_same(net, theirs.float())


def test_a_module_whose_changes_were_removed_is_read():
    theirs = module(nn.ReLU())
    nn.utils.prune.l1_unstructured(theirs[0], "weight", 0.5)
    nn.utils.prune.remove(theirs[0], "weight")
    theirs[1].register_forward_hook(lambda *a: 2 * a[2]).remove()
    assert_same(fastmlp.from_torch(theirs), theirs)


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_guide_to_c_runs(tmp_path, monkeypatch):
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "pytorch-to-c.md"
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", guide.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, text in blocks:
        if language == "python":
            exec(compile(text, str(guide), "exec"), names)
    Path("main.c").write_text(dict(blocks)["c"])
    for command in re.findall("^    (cc .*)$", guide.read_text(), re.M):
        run = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert re.match(r"\d+ ns a row", run.stdout)


class Columns(nn.Module):
    """Layers over some of the columns, or one for each, as in additive models."""

    def __init__(self, places, layers):
        super().__init__()
        self.places, self.layers = places, nn.ModuleList(layers)

    def forward(self, x):
        return sum(layer(x[:, at]) for at, layer in zip(self.places, self.layers, strict=True))


SELECTED = {
    "three of eight": ([[0, 2, 5]], [nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))]),
    "a slice": ([slice(2, 7)], [nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))]),
    "one by one": (
        [slice(k, k + 1) for k in range(8)],
        [nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)) for _ in range(8)],
    ),
}


@pytest.mark.parametrize("name", SELECTED)
def test_the_number_of_columns_is_asked_for_where_a_module_takes_some_of_them(name):
    theirs = Columns(*SELECTED[name]).double().eval()
    with pytest.raises(ValueError, match="pass n_inputs=, the number of columns of its rows"):
        fastmlp.from_torch(theirs)
    ours = fastmlp.from_torch(theirs, n_inputs=8)
    x = np.random.default_rng(0).normal(size=(50, 8))
    expected = theirs(torch.tensor(x)).detach().numpy()
    found = ours.predict(x).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_another_number_of_columns_than_the_modules_is_refused():
    theirs = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(ValueError, match="does not take rows of 5 columns"):
        fastmlp.from_torch(theirs, n_inputs=5)
    with pytest.raises(ValueError, match="n_inputs is 0"):
        fastmlp.from_torch(theirs, n_inputs=0)
    assert fastmlp.from_torch(theirs, n_inputs=4).layer_sizes == (4, 3, 1)
