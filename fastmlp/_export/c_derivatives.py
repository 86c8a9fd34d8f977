"""C code that computes derivatives of an exported network's predictions by its inputs.

Values pass forward, then the gradient of each output backward. For second derivatives the tangents,
which are derivatives by each input, also pass forward, and each nonlinear step adds to the hessian
the gradient times its own second derivatives in the directions of two tangents.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from fastmlp._export.activations import ACTIVATIONS, Formula
from fastmlp._export.c_source import WRITERS, Body, NetworkSource, Source
from fastmlp._export.c_text import LINK_FORMULAS, C
from fastmlp._export.layers import stacked
from fastmlp._network.exported import Layer

Texts: TypeAlias = dict[str, str]

PLAIN = {"parameter": "", "y": "f", "of_slope": "slope", "of_curvature": "curvature"}
PARAMETRIC = {
    "parameter": "const real *alphas, ",
    "y": "(1.0 - alphas[j]) * z + alphas[j] * f",
    "of_slope": "1.0 - alphas[j] + alphas[j] * slope",
    "of_curvature": "alphas[j] * curvature",
}

# Functions by name, behind those that they call.
HELPERS = {
    name: C[name]
    for name in ("dot", "back", "add_rows", "reject", "bend_norm", "along", "bend_softmax")
}


def loop(n: Any, code: str) -> str:
    """Return a loop of j below n."""
    return f"for (int j = 0; j < {n}; j++) {code}"


def nested(i: str, n: int, code: str) -> str:
    """Return a loop of several lines."""
    return f"for (int {i} = 0; {i} < {n}; {i}++) {{\n{textwrap.indent(code, '    ')}\n}}"


class Nonlinear(NamedTuple):
    """Code of a step whose n values left d for it: of tangents s to t, and of the gradient g."""

    tangent: str
    back: str
    bend: str  # q: the second derivatives in the direction s, times the gradient


ELEMENTWISE_STEP = Nonlinear(
    loop("{n}", "({t})[j] = {d}[j] * ({s})[j];"),
    loop("{n}", "g[j] *= {d}[j];"),
    loop("{n}", "q[j] = {d}[{n} + j] * g[j] * ({s})[j];"),
)
# Derivatives of a link may be infinite, and 0 times infinity is NaN, so factors of 0 are skipped.
LINK_STEP = Nonlinear(
    "",
    loop("{n}", "if (g[j] != 0.0) g[j] *= {d}[j];"),
    loop("{n}", "q[j] = g[j] != 0.0 ? {d}[{n} + j] * g[j] * ({s})[j] : 0.0;"),
)
NORM_STEP = Nonlinear(
    "reject({d}, {s}, {t}, {n});\n" + loop("{n}", "({t})[j] *= ({gains})[j];"),
    loop("{n}", "g[j] *= ({gains})[j];") + "\nreject({d}, g, g, {n});",
    loop("{n}", "q[j] = g[j] * ({gains})[j];") + "\nbend_norm({d}, {s}, q, {n});",
)
SOFTMAX_STEP = Nonlinear("", "along({d}, g, g, {n});", "bend_softmax({d}, g, {s}, q, {n});")


class Derivatives(Body):
    """The calls that compute values and derivatives, of order 1 or 2, of the k-th network."""

    def __init__(self, source: Source, share: float, order: int) -> None:
        super().__init__(source, "y", is_many=True)
        self.share, self.order = share, order
        self.inputs = self.bent = 0  # the network's inputs; layers with curvature still to come
        self.tangents = self.stored_tangents = ""  # buffers of the current values' tangents
        self.backward: list[str] = []  # code of the gradient, the last step first

    def network(self, layers: list[Layer], inputs: int) -> None:
        """Add all layers, and the loop over outputs in which gradients pass backward."""
        self.inputs, self.bent = inputs, sum(map(is_bent, layers)) * (self.order == 2)
        super().network(layers, inputs)
        n = inputs
        first = loop(self.width, f"g[j] = j == o ? {self.share!r} : 0.0;")
        last = [loop(n, f"jacobian[o * {n} + j] += g[j];")]
        if self.order == 2:
            mirrored = f"hessian[(o * {n} + j) * {n} + i] = hessian[(o * {n} + i) * {n} + j];"
            last.append(f"for (int i = 0; i < {n}; i++) {loop('i', mirrored)}")
        code = "\n".join([first, *self.backward, *last])
        self.calls.append(nested("o", self.width, code))
        called, helpers = "".join([*self.calls, *self.source.functions.values()]), {}
        for name, piece in reversed(HELPERS.items()):
            if f"{name}(" in called:
                helpers[name] = piece
                called += piece
        self.source.functions |= dict(reversed(helpers.items()))

    def differentiate(self, *before: str) -> None:
        """Add code of the gradient, in front of that of later steps."""
        self.room("g", self.width)
        self.backward[:0] = before

    def new_tangents(self) -> str:
        """Return the buffer of the tangents behind a step."""
        self.tangents = self.room(f"s_{len(self.buffers)}", self.inputs * self.width)
        return self.tangents

    def product(self, layer: Layer) -> tuple[str, int, int]:
        """Add an affine layer or a linear path, with tangents and gradients."""
        self.room("g", self.width)
        w, n, m = super().product(layer)
        if layer.kind == "linear":
            self.differentiate(f"back({w}, g, {self.room('g_inputs', n)}, {n}, {m});")
        else:
            back = f"back({w}, g, {self.room('q', n)}, {n}, {m});"
            self.differentiate(back, loop(n, "g[j] = q[j];"))
        before = "x" if layer.kind == "linear" else self.tangents or "x"
        if self.bent and layer.kind != "linear":
            self.calls.append(loop(self.inputs * m, f"{self.new_tangents()}[j] = 0.0;"))
        if self.bent and before == "x":
            self.calls.append(f"add_rows({w}, {self.tangents}, {n}, {m});")
        elif self.bent:
            row = f"{self.tangents} + i * {m}"
            call = f"affine({before} + i * {n}, {w}, {row}, {row}, {n}, {m});"
            self.calls.append(nested("i", self.inputs, call))
        return w, n, m

    def keep(self, layer: Layer) -> None:
        """Store the current values, whose gradient has a second part."""
        self.stored[layer.name] = self.at
        self.stored_tangents = self.tangents
        second = self.room(f"g_{layer.name}", self.width)
        self.differentiate(loop(self.width, f"g[j] += {second}[j];"))

    def skip(self, layer: Layer) -> None:
        """Add the stored values, and their tangents."""
        WRITERS["skip"](self, layer)
        self.differentiate(loop(self.width, "g_block[j] = g[j];"))
        if self.bent:
            added = f"{self.tangents}[j] += {self.stored_tangents}[j];"
            self.calls.append(loop(self.inputs * self.width, added))

    def nonlinear(self, layer: Layer, step: Nonlinear, **places: str) -> None:
        """Add the derivatives of a step whose value was added."""
        n = self.width
        fields = {"n": n, "s": f"{self.tangents} + i * {n}", **places}
        back = [step.back.format(**fields)]
        if self.bent and is_bent(layer):
            self.bent -= 1
            self.room("q", n)
            entry = f"hessian[(o * {self.inputs} + i) * {self.inputs} + j]"
            row = loop("i + 1", f"{entry} += dot(q, {self.tangents} + j * {n}, {n});")
            back.insert(0, nested("i", self.inputs, f"{step.bend.format(**fields)}\n{row}"))
        self.differentiate(*back)
        if self.bent:
            tangent = step.tangent.format(t=f"{self.new_tangents()} + i * {n}", **fields)
            self.calls.append(nested("i", self.inputs, tangent))

    def elementwise(self, layer: Layer, formula: Formula, options: Texts) -> None:
        """Add a function of single values."""
        name, d = f"derive_{layer.kind}_{layer.name}", f"d_{len(self.buffers)}"
        row = {**formula._asdict(), **options}
        piece = C["elementwise"].format(name=name, **row).replace("HEADS", str(layer.heads))
        self.call(name, piece, *self.constants(layer).values(), self.room(d, 2 * self.width))
        self.nonlinear(layer, LINK_STEP if layer.kind == "link" else ELEMENTWISE_STEP, d=d)

    def activate(self, layer: Layer, options: Texts) -> None:
        """Add an activation, plain or parametric."""
        self.elementwise(layer, ACTIVATIONS[layer.name].c, options)

    def normalize(self, layer: Layer) -> tuple[str, str]:
        """Add a normalisation of the values."""
        gains, v = super().normalize(layer)
        self.nonlinear(layer, NORM_STEP, d=v, gains=gains)
        return gains, v

    def add(self, layer: Layer) -> None:
        """Add a layer."""
        DERIVATIVE_WRITERS[layer.kind](self, layer)

    def link(self, layer: Layer) -> None:
        """Add the link."""
        if layer.name == "softmax":
            WRITERS["link"](self, layer)
            self.nonlinear(layer, SOFTMAX_STEP, d=self.at)
        elif layer.name in LINK_FORMULAS:
            self.elementwise(layer, LINK_FORMULAS[layer.name], PLAIN)
        if layer.name == "ascending":
            n, m = self.width, self.width // layer.heads
            self.calls.append(f"for (int j = {m}; j < {n}; j++) y[j] += y[j - {m}];")
            self.differentiate(f"for (int j = {n - m - 1}; j >= 0; j--) g[j] += g[j + {m}];")


# Declarations of the functions, by the array that each computes last.
DECLARED = {name: C[name] for name in ("jacobian", "hessian")}


def is_bent(layer: Layer) -> bool:
    """Whether a step has second derivatives."""
    return layer.kind == "layer_norm" or (layer.kind in BENT and layer.name not in STRAIGHT)


BENT = ("activation", "parametric", "link")
STRAIGHT = {name for name, row in ACTIVATIONS.items() if row.c.curvature == "0.0"}
DERIVATIVE_WRITERS: dict[str, Any] = {
    "affine": Derivatives.product,
    "linear": Derivatives.product,
    "layer_norm": Derivatives.normalize,
    "keep": Derivatives.keep,
    "skip": Derivatives.skip,
    "activation": lambda body, layer: body.activate(layer, PLAIN),
    "parametric": lambda body, layer: body.activate(layer, PARAMETRIC),
    "link": Derivatives.link,
}


def add(source: NetworkSource, nets: Sequence[list[Layer]], derivatives: int) -> None:
    """Add the functions that compute derivatives, of orders up to 2, and those of CasADi."""
    inputs, outputs = source.fields["inputs"], source.fields["outputs"]
    fields = {"inputs": inputs, "outputs": outputs, "rows": outputs * inputs}
    arrays, name, functions = ["y", *DECLARED], source.fields["name"], ""
    for order, what in enumerate(["predict", *DECLARED][: derivatives + 1]):
        if order:
            add_order(source, nets, order)
        functions += C["casadi_function"].format(
            f="jac_" * order + name,
            call=f"{name}_{what}(x, {', '.join(arrays[: order + 1])})",
            **{"order": order, "result": arrays[order], "entries": inputs**order, **fields},
        )
    # CasADi stores matrices column after column.
    source.write(C["casadi"].format(functions=functions, **fields), source.dtype)


def add_order(source: NetworkSource, nets: Sequence[list[Layer]], order: int) -> None:
    """Add the function that computes derivatives up to an order."""
    n, outputs, first = source.fields["inputs"], source.fields["outputs"], int(source.model.is_pair)
    name, declaration = [*DECLARED.items()][order - 1]
    source.derivatives[name] = n**order
    sizes = source.derivatives.items()
    parameters = "".join(f", real *{array}" for array, _ in sizes)
    arguments = "".join(f", {array} + {first * size}" for array, size in sizes)
    body = Derivatives(source, 1 / len(nets), order)
    body.network(stacked(nets), n)
    zeros = [loop(outputs * size, f"{array}[j] = 0.0;") for array, size in sizes]
    mixed = source.mixture(body, f"_{order}", parameters, arguments)
    negative = [loop(size, f"{array}[j] = -{array}[{size} + j];") for array, size in sizes]
    code, last = ("".join(f"    {line}\n" for line in lines) for lines in (zeros, negative))
    source.function(name, body, code + mixed, parameters, last * first)
    source.declared.append(declaration.replace("PARAMETERS", parameters))
