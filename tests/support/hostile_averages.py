"""Descriptions of a mean of weights that none can be, and what is said about it."""

from __future__ import annotations

import functools

import numpy as np
from hostile_files import GONE, Row, filled, model

MEAN = "progress.averaged.mean.layers.0.weight"
RAW = "progress.averaged.raw.layers.0.weight"

progress = functools.partial(model, "progress")
averaged = functools.partial(model, "progress", "averaged", name="averaged")

AVERAGES: list[Row] = [
    ("a mean not told of", averaged(to=GONE), "'progress.averaged.mean.*' belongs to nothing"),
    ("a mean of nothing", progress("averaged", to={"epochs": 1}), "no tensor 'progress.averaged"),
    ("a mean that is NaN", filled("averaged", MEAN, np.array(np.nan)), r"mean.* has nan at \(0, 0"),
    (
        "a mean beyond the dtype",
        filled("averaged", MEAN, np.array(-1e39)),
        "progress.averaged: it has a mean beyond what float32 can hold",
    ),
    (
        "infinite weights in training",
        filled("averaged", RAW, np.array(np.inf, np.float32)),
        r"raw.layers.0.weight' has inf at \(0, 0\)",
    ),
]
