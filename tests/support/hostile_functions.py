"""Descriptions that name functions of whoever loads them: what is changed, and what is said."""

from __future__ import annotations

from hostile_models import Row, loss, network

FUNCTIONS: list[Row] = [
    ("a function", network("activations", [{"function": "f"}]), "needs the CustomActivation 'f'"),
    ("a function by number", network("activations", [{"function": 3}]), "a function is described"),
    ("a loss that is a function", loss(to={"function": "f"}), "needs the CustomLoss 'f', which"),
    ("a loss by a list", loss(to={"function": [[]]}), "a function is described by"),
]
