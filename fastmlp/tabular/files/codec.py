"""An estimator of tables in a file: its parameters and its last fit."""

from __future__ import annotations

from fastmlp.sklearn.codec import codec_of
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.files.codec_fit import FIT, values

CODECS = dict.fromkeys(
    ("TabMLPClassifier", "TabMLPRegressor", "TabMLPSurvival"),
    codec_of(FIT, lambda model, training: values(fitted_of(model), training)),
)
