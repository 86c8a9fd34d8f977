"""The constructor parameters that both estimators of tables have: ranges, and what they mean."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp.sklearn.parameters import check_reals
from fastmlp.tabular.presets import PRESETS
from fastmlp.threads import of_jobs

CONSTRAINTS: dict[str, list[Any]] = {
    "preset": [StrOptions(set(PRESETS))],
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
    How much is trained: the numbers are in ``fastmlp.tabular.presets``.
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
ADDED = frozenset({"verbose", "callbacks"})


def check(estimator: Any) -> None:
    """Refuse what the ranges let through: truth values as seconds, no threads, huge integers."""
    check_reals(estimator)
    of_jobs(estimator.n_jobs)
    if isinstance(estimator.time_limit, bool):
        raise ValueError(
            f"time_limit is {estimator.time_limit} but a number of seconds is expected: pass for "
            "example time_limit=60, or None for no limit"
        )
