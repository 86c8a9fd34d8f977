"""Nodes of an ONNX graph, written as expressions: ``g.Mul(z, g.Sigmoid(z))``.

Numbers become constants of the network's dtype. This module does not need the onnx package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Name: TypeAlias = str
Names: TypeAlias = tuple[Name, ...]


@dataclass(frozen=True)
class Node:
    """One operation: its ONNX name, input and output names, and attributes."""

    op: str
    inputs: Names
    outputs: Names
    attributes: dict[str, Any]


@dataclass
class Graph:
    """Nodes and constants, in the order of their creation."""

    dtype: np.dtype[Any]  # Python's numbers become this
    nodes: list[Node] = field(default_factory=list)
    constants: dict[Name, NDArray[Any]] = field(default_factory=dict)
    prefix: str = ""  # names of constants begin with it
    root: str = ""  # all names begin with it, and so clash with no input's

    def of(self, dtype: DTypeLike, root: str) -> Graph:
        """Return a view of this graph that adds nodes with another dtype and longer names."""
        return replace(self, dtype=np.dtype(dtype), root=self.root + root)

    def __getattr__(self, op: str) -> Callable[..., Name]:
        if not op[0].isupper():
            raise AttributeError(op)
        return functools.partial(self.one, op)

    def one(self, op: str, *inputs: Name | float | NDArray[Any], **attributes: Any) -> Name:
        """Add a node with one output, and return the output's name."""
        return self.many(op, 1, *inputs, **attributes)[0]

    def many(
        self, op: str, n: int, *inputs: Name | float | NDArray[Any], **attributes: Any
    ) -> Names:
        """Add a node with n outputs, and return their names."""
        names = tuple(name if isinstance(name, str) else self.constant(name) for name in inputs)
        first = f"{self.root}{op}_{len(self.nodes)}"
        outputs = tuple(first + f"_{k}" * (k > 0) for k in range(n))
        self.nodes.append(Node(op, names, outputs, attributes))
        return outputs

    def constant(self, value: float | NDArray[Any], name: Name = "") -> Name:
        """Add a constant, an array or a number of the graph's dtype, and return its name."""
        if isinstance(value, np.ndarray):
            name = self.prefix + name if name else f"constant_{len(self.constants)}"
        else:
            name, value = f"{float(value):.17g}", np.array(value, self.dtype)
        name = self.root + name
        self.constants[name] = value
        return name

    def rename(self, old: Name, new: Name) -> None:
        """Rename an output of a node wherever it is used."""

        def renamed(names: Names) -> Names:
            return tuple(new if name == old else name for name in names)

        self.nodes[:] = [
            replace(node, inputs=renamed(node.inputs), outputs=renamed(node.outputs))
            for node in self.nodes
        ]
