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
        (nn.Sequential(nn.Linear(2, 2), nn.ELU(0.2), nn.Linear(2, 2)), r"ELU\(alpha=0.2"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU6(), nn.Linear(2, 2)), "ReLU6.*: replace it"),
        (nn.Sequential(nn.Linear(2, 2), nn.Hardswish(), nn.Linear(2, 2)), "Hardswish"),
        (
            nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 2)),
            "no running statistics",
        ),
        (nn.Sequential(nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 2)), "ReLU.* in place 0"),
        (Functions(torch.exp), "calls exp"),
        (Functions(lambda x: x if x.sum() > 0 else -x), "Functions is no fixed order"),
        (Functions(lambda x: x + torch.relu(x)), "takes more than one|not those of two"),
        (Functions(lambda x: 1 - x), "calls sub with .* buffers of one number for each column"),
        (Functions(lambda x: x + torch.ones(4)), "scales 6 columns by others"),
        (Functions(lambda x: x * torch.ones(6, 1)), "calls mul"),
        (Functions(lambda x: x - x.mean()), "mean"),
        (Functions(lambda x: torch.cat([x, x])), "calls cat"),
        *(
            (
                Parallel(together),
                "other in .* takes an earlier value .* one, whose weight is torch.c",
            )
            for together in (torch.mul, torch.add, lambda *both: torch.cat(both, 1))
        ),
        (
            Functions(lambda x: torch.cat([x, torch.relu(x)], 1)),
            "cat .* takes more than one .* one, ",
        ),
        (nn.Sequential(Residual(2), nn.Linear(2, 2)), "make every block"),
        (nn.Sequential(nn.Linear(2, 3), Residual(3), nn.Linear(3, 3), nn.ReLU()), "make every"),
        (nn.Sequential(nn.Linear(2, 3), Residual(3), nn.ReLU(), nn.Linear(3, 2)), "ReLU"),
        ({"0.weight": torch.zeros(2, 2)}, "pass the torch.nn.Module itself"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh(), nn.Linear(2, 2)), "Tanh"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), "ReLU"),
        (nn.Sequential(nn.Linear(2, 3), nn.PReLU(2), nn.Linear(3, 2)), r"PReLU.* of 3 outputs"),
        (
            nn.Sequential(
                *(nn.Linear(2, 2), nn.ReLU(), nn.Dropout(0.1), nn.LayerNorm(2), nn.Linear(2, 2))
            ),
            "LayerNorm",
        ),
        (
            nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2, eps=1e-3), nn.Linear(2, 2)),
            r"eps=0.001.*at most one LayerNorm, of all its outputs and with eps=1e-05",
        ),
        (nn.Sequential(nn.LayerNorm((2, 2)), nn.Linear(2, 2)), r"LayerNorm\(\(2, 2\)"),
        (nn.Sequential(), "no Linear layer"),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), "ReLU"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3)), "layer 0 has 3 outputs"),
        (nn.Sequential(nn.Dropout(0.1), nn.Linear(2, 2)), "Dropout"),
        (
            nn.Sequential(
                *(nn.Linear(2, 2), nn.ReLU(), nn.Dropout(0.1), nn.Dropout(0.2), nn.Linear(2, 2))
            ),
            r"Dropout\(p=0.2",
        ),
        ("net", "'net'"),
    ],
    ids=str,
)
def test_what_is_no_plain_mlp_is_refused(theirs, words):
    with pytest.raises(ValueError, match=words):
        fastmlp.from_torch(theirs)


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
