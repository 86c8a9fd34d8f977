"""The constructor parameters that both estimators of tables have: ranges, and what they mean."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp._engine.thread_count import of_jobs
from fastmlp.sklearn.parameters import check_reals
from fastmlp.tabular.presets import PRESETS

# What may replace the number of a preset: the smallest and the largest.
COUNTS = {"folds": (2, 1_000), "members": (2, 10_000), "epochs": (1, 10**6), "width": (1, 10**5)}

CONSTRAINTS: dict[str, list[Any]] = {
    "preset": [StrOptions(set(PRESETS))],
    "recipes": [list, tuple, None],
    **{name: [Interval(Integral, *ends, closed="both"), None] for name, ends in COUNTS.items()},
    "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
    "scoring": [str, callable, None],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "progress_bar": ["boolean"],
    "callbacks": [list, tuple, None],
    "n_jobs": [Integral, None],
}

TEXT = """\
preset : {"fast", "default", "best"}, default="default"
    How much is trained: the numbers are in ``fastmlp.tabular.presets``. Each of the next five
    replaces a part of it.
recipes : list of dict, optional
    What is trained one after the other, and blended where it helps. Each may have bins (piecewise
    linear inputs of a number), width and depth (hidden layers), activation, rate (factor on the
    learning rate), dropout, decay (of weights), parametric (whether units learn how linear they
    are) and share (of the epochs), as ``fastmlp.tabular.presets.Recipe`` does.
folds : int from 2 to 1000, optional
    Parts that the rows are divided into; each network learns from all but one.
members : int from 2 to 10000, optional
    Networks of each recipe, rounded up to a multiple of the folds.
epochs : int from 1 to 1000000, optional
    Epochs of each recipe whose share is 1, however many rows there are.
width : int from 1 to 100000, optional
    Units of each hidden layer, in all recipes.
categorical_features : "from_dtype", array-like or None, default="from_dtype"
    Text, booleans and category dtypes are categories. A list says which columns of numbers are
    some too: by names, which are text, by places, which are integers from 0, or by a boolean for
    each column. Of a frame whose names are integers, other than the places, integers are refused:
    pass such a name as text, ``"10"``. With None category dtypes of numbers are numbers.
scoring : str, callable or None, default=None
    What chooses the epoch, on out-of-fold predictions: the loss, or any scorer of scikit-learn.
time_limit : float, optional
    Seconds that the fit may take, about, but for its first epoch; the schedule follows, so that
    it ends annealed. The result then depends on the speed of the machine.
random_state : int, RandomState or None, default=None
    Source of folds, first weights, order of samples.
verbose : bool or int, default=False
    Show a line on the standard error stream: the recipe, the share of the fit that is done, the
    time left, the score of held-out rows.
progress_bar : bool, default=False
    Another name of ``verbose``.
callbacks : list of callables, optional
    Called with a ``fastmlp.State`` after each epoch of each recipe; ``state.val_loss`` is the score
    of held-out rows, ``state.model`` the networks in training. One that returns True ends the fit
    as Ctrl-C does: the model is fitted with what has been trained, and a warning says so. Before
    the first score Ctrl-C leaves the estimator as it was.
n_jobs : int, optional
    Threads; -1 is all. By default what the machine allows. The result does not depend on it."""


# Parameters that files of earlier versions lack: they have their defaults then.
ADDED = frozenset({"verbose", "callbacks", "recipes", *COUNTS})


def check(estimator: Any) -> None:
    """Refuse what the ranges let through: truth values as seconds, no threads, huge integers."""
    check_reals(estimator)
    of_jobs(estimator.n_jobs)
    for name in COUNTS:
        if isinstance(getattr(estimator, name), bool):
            raise ValueError(f"{name} is {getattr(estimator, name)} but a number is expected")
    if any(getattr(each, "runs_last", False) for each in estimator.callbacks or ()):
        raise ValueError(
            "callbacks has a Checkpoint but a fit of a table cannot go on from one: leave it out, "
            "and save the fitted model"
        )
    if isinstance(estimator.time_limit, bool):
        raise ValueError(
            f"time_limit is {estimator.time_limit} but a number of seconds is expected: pass for "
            "example time_limit=60, or None for no limit"
        )
