"""Networks as PyTorch modules of plain layers, for programs that go on there, perhaps on a GPU."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.intervals import check_flag
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.activations import ACTIVATIONS, Array

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from fastmlp._network.activations import ActivationName
    from fastmlp._network.functions.activation import CustomActivation
    from fastmlp._network.spec import Predictions

# PyTorch's class of each activation and link, and its options.
MODULES: dict[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (row.torch, row.torch_options) for name, row in ACTIVATIONS.items()},
    "softmax": ("Softmax", {"dim": -1}),
}
LINKS = ("identity", "sigmoid", "softmax", "exp")
N_ROWS = 32  # compared with the model
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}  # relative to the largest prediction


def to_torch(model: MLP | Ensemble, *, link: bool = True) -> nn.Module:
    """Turn a network of fastmlp into a PyTorch module that predicts the same, to go on there.

    Parameters
    ----------
    model : MLP, Ensemble, MLPClassifier or MLPRegressor
        Network with activations of fastmlp's own; the module of a classifier gives what the network
        predicts, see ``to_mlp``.
    link : bool
        Whether the module ends in the link of the loss, as ``predict`` does. Without it, a
        classifier gives logits, which ``torch.nn.CrossEntropyLoss`` expects.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, on the CPU, with copies of the parameters: a ``torch.nn.Sequential``, or
        with residual blocks, parametric activations or a linear path a ``torch.fx.GraphModule``,
        whose ``code`` shows its forward pass. Of an ensemble the mean of its members.
        :func:`from_torch` reads it back.

    Raises
    ------
    TypeError
        If it is another model, or has a custom activation or a link that PyTorch lacks.

    Examples
    --------
    >>> net = fastmlp.MLP([4, 8, 3], loss="cross_entropy", rng=0)  # doctest: +SKIP
    >>> fastmlp.to_torch(net, link=False)  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=3, bias=True)
    )
    """
    model = model.to_mlp() if hasattr(model, "to_mlp") else model
    if not isinstance(model, MLP | Ensemble):
        raise TypeError(
            f"to_torch was given {type(model).__name__} but an MLP, an Ensemble or an estimator "
            "with to_mlp is expected: a table of columns is exported by its to_onnx or to_c"
        )
    link = check_flag("link", link)
    torch = import_module("torch")
    if isinstance(model, MLP):
        module = _Builder(torch, model, link).module()
    else:
        module = _mean(torch, [_Builder(torch, member, link).module() for member in model])
    _compare(torch, module.eval(), model, link)
    return module


class _Builder:
    """A graph of torch.fx that grows layer by layer."""

    def __init__(self, torch: ModuleType, net: MLP, link: bool) -> None:
        self.torch, self.net, self.link = torch, net, link
        self.dtype = getattr(torch, net.dtype.name)
        self.graph, self.root = torch.fx.Graph(), torch.nn.Module()
        self.parts: list[nn.Module] = []
        self.is_chain = True

    def module(self) -> nn.Module:
        """Return the module of the whole network."""
        net, x = self.net, self.graph.placeholder("x")
        if net.scale:
            x = self.times(x, "scales", net.scales[0])
        values = [x]  # one a hidden layer: its input
        for k, activation in enumerate(net.activations):
            y = self.layer(self.affine(values[-1], net.weights[k], net.biases[k]), k, activation)
            first = self.first(k)
            values.append(y if first is None else self.joined(operator.add, y, values[first]))
        y = self.affine(values[-1], net.weights[-1], net.biases[-1])
        if net.linear_path:
            y = self.joined(operator.add, y, self.affine(x, net.linear_weights[0], None))
        y = self.linked(y)
        if np.shape(net.predict(np.zeros((1, net.layer_sizes[0])))) == (1,):  # y was (n,)
            y = self.joined(self.torch.squeeze, y, -1)
        if self.is_chain:
            return self.torch.nn.Sequential(*self.parts)
        self.graph.output(y)
        return self.torch.fx.GraphModule(self.root, self.graph)

    def first(self, layer: int) -> int | None:
        """Return the first layer of the residual block that a layer ends."""
        net = self.net
        if net.skip is None:
            return None
        widths = net.layer_sizes[1:-1]
        begin = layer
        while begin and widths[begin - 1] == widths[layer]:
            begin -= 1
        n = layer - begin  # layers after the one that changes the width
        return layer - net.skip + 1 if n and n % net.skip == 0 else None

    def layer(self, z: fx.Node, k: int, activation: ActivationName | CustomActivation) -> fx.Node:
        """Return what follows the affine part of a hidden layer."""
        net, nn = self.net, self.torch.nn
        if not isinstance(activation, str):
            raise TypeError(
                f"the model has {activation!r}, which PyTorch does not know, but an activation of "
                "fastmlp's own is expected"
            )
        if net.layer_norm[k] == "before":
            z = self.norm(z, k)
        if net.parametric[k] and activation == "relu":
            part = nn.PReLU(len(net.alphas[k]))
            z = self.called(part, z, weight=1 - net.alphas[k])
        elif net.parametric[k]:  # f(z) + (1 - alpha) (z - f(z)), which is f(z) where alpha is 1
            active = self.activated(z, activation)
            rest = self.joined(operator.sub, z, active)
            z = self.joined(
                operator.add, active, self.times(rest, f"slopes_{k}", 1 - net.alphas[k])
            )
        else:
            z = self.activated(z, activation)
        if net.layer_norm[k] == "after":
            z = self.norm(z, k)
        return self.called(nn.Dropout(net.dropout[k]), z) if net.dropout[k] else z

    def norm(self, z: fx.Node, k: int) -> fx.Node:
        """Return the layer normalisation of a hidden layer; PyTorch's epsilon is the same."""
        part = self.torch.nn.LayerNorm(len(self.net.gains[k]))
        return self.called(part, z, weight=self.net.gains[k], bias=self.net.shifts[k])

    def activated(self, z: fx.Node, name: str) -> fx.Node:
        """Return an activation, or a link, of a value."""
        if name == "identity":
            return z
        kind, options = MODULES[name]
        return self.called(getattr(self.torch.nn, kind)(**options), z)

    def linked(self, z: fx.Node) -> fx.Node:
        """Return the prediction that belongs to the last outputs."""
        name = self.net.loss.link_name
        if not self.link:
            return z
        if name not in LINKS:
            raise TypeError(
                f"the loss is {self.net.loss!r}, whose predictions no layer of PyTorch gives, but "
                f"one of the links {', '.join(LINKS)} is expected: pass link=False for the outputs "
                "before it"
            )
        return self.joined(self.torch.exp, z) if name == "exp" else self.activated(z, name)

    def affine(self, x: fx.Node, weights: Array, biases: Array | None) -> fx.Node:
        """Return a Linear layer of a value."""
        part = self.torch.nn.Linear(*weights.shape, bias=biases is not None)
        return self.called(part, x, weight=weights.T, bias=biases)

    def called(self, part: nn.Module, x: fx.Node, **arrays: Array | None) -> fx.Node:
        """Return a module of PyTorch's, with these parameters, of a value."""
        part = part.to(self.dtype)
        for name, array in arrays.items():
            if array is not None:
                getattr(part, name).data = self.tensor(array)
        name = f"part_{len(self.parts)}"
        self.parts.append(part)
        self.root.add_module(name, part)
        self.graph.owning_module = self.root
        return self.graph.call_module(name, (x,))

    def times(self, x: fx.Node, name: str, array: Array) -> fx.Node:
        """Return a value times a parameter for each column."""
        setattr(self.root, name, self.torch.nn.Parameter(self.tensor(array)))
        self.graph.owning_module = self.root
        return self.joined(operator.mul, x, self.graph.get_attr(name))

    def joined(self, function: Callable[..., Any], *arguments: fx.Node | int) -> fx.Node:
        """Return a function of values, for which a Sequential has no place."""
        self.is_chain = False
        return self.graph.call_function(function, arguments)

    def tensor(self, array: Array) -> Tensor:
        """Return a copy of an array as a tensor."""
        return self.torch.tensor(np.array(array), dtype=self.dtype)


def _mean(torch: ModuleType, members: list[nn.Module]) -> nn.Module:
    """Return the module of the mean of several."""
    graph, root = torch.fx.Graph(), torch.nn.Module()
    root.members = torch.nn.ModuleList(members)
    graph.owning_module = root
    x = graph.placeholder("x")
    values = [graph.call_module(f"members.{k}", (x,)) for k in range(len(members))]
    stack = graph.call_function(torch.stack, (values,))
    graph.output(graph.call_function(torch.mean, (stack, 0)))
    return torch.fx.GraphModule(root, graph)


def _compare(torch: ModuleType, module: nn.Module, model: MLP | Ensemble, link: bool) -> None:
    """Refuse a module that predicts otherwise than its model, where both give plain arrays."""
    first = model if isinstance(model, MLP) else model[0]
    rows = np.random.default_rng(0).normal(size=(N_ROWS, first.layer_sizes[0])).astype(first.dtype)
    with torch.no_grad():
        found = module(torch.from_numpy(rows)).numpy()
    if isinstance(model, MLP):
        wanted = _columns(model.predict(rows, link=link))
    else:
        of_members = [_columns(member.predict(rows, link=link)) for member in model]
        wanted = np.mean(of_members, axis=0)
    bound = TOLERANCE[first.dtype.name] * np.max(np.abs(wanted))
    if found.shape != np.shape(wanted) or not np.all(np.abs(found - wanted) <= bound):
        raise ValueError(
            f"the module that was made of {model!r} predicts otherwise in this version of PyTorch: "
            "use another version, or to_onnx"
        )


def _columns(predictions: Predictions) -> Array:
    """Return predictions as the columns of the last layer: two heads, or several levels, too."""
    if isinstance(predictions, tuple):
        return np.concatenate([one.reshape(len(one), -1) for one in predictions], axis=-1)
    if predictions.ndim == 3:  # (rows, outputs, levels)
        return predictions.swapaxes(1, 2).reshape(len(predictions), -1)
    return predictions
