"""Descriptions that are no ensembles, by hand: what is changed, and what is said about it."""

from __future__ import annotations

from typing import Any

from hostile_files import GONE, Row, filled, model, renamed
from hostile_models import NAN


def ensemble(*path: Any, to: Any) -> Any:
    return model(*path, to=to, name="ensemble")


ENSEMBLES: list[Row] = [
    (
        "a member that is a list",
        ensemble("members", 1, to=[]),
        r"members.1 is \[\] and no object",
    ),
    (
        "a member less",
        ensemble("members", to=lambda m: m[:2]),
        "generators has 3 entries but 2 belong",
    ),
    (
        "a member more",
        ensemble("members", to=lambda m: [*m, m[0]]),
        "is no tensor 'members.3.*",
    ),
    (
        "a member of another shape",
        ensemble("members", 1, "network", "activations", to=["relu"]),
        r"members.1. is .* is expected: all need the same layers",
    ),
    (
        "a member without a network",
        ensemble("members", 2, "network", to=GONE),
        r"members.2 has no 'network'",
    ),
    (
        "a member's generator",
        ensemble("members", 2, "rng", "generator", "state.inc", to=GONE),
        r"members.2.rng has no 'state.inc'",
    ),
    (
        "a generator of nobody",
        ensemble("generators", to=[0, 1, 3]),
        "2 is 3 but must be from 0 to 2",
    ),
    (
        "a member's weights",
        filled("ensemble", "members.1.layers.0.weight", NAN),
        r"'members.1.layers.0.weight' has nan at",
    ),
    (
        "weights of no member",
        renamed("ensemble", "members.2.layers.0.weight", "layers.0.weight"),
        "is no tensor 'members.2.layers.0.weight'",
    ),
    (
        "progress of another length",
        ensemble("members", 0, "progress", "epochs", to=7),
        r"members.0: progress has 7 epochs but the history 2",
    ),
]
