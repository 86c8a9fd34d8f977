"""The constructor parameters that both estimators of tables share: ranges and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from fastmlp._training.callbacks import EarlyStopping, ReduceOnPlateau
from fastmlp.tabular.presets import PRESETS

# Smallest and largest values of parameters that replace numbers of a preset.
COUNTS = {"folds": (2, 1_000), "members": (1, 10_000), "epochs": (1, 10**6), "width": (1, 10**5)}

CONSTRAINTS: dict[str, list[Any]] = {
    "preset": [StrOptions(set(PRESETS))],
    "recipes": [list, tuple, None],
    **{name: [Interval(Integral, *ends, closed="both"), None] for name, ends in COUNTS.items()},
    "folds": [Interval(Integral, *COUNTS["folds"], closed="both"), HasMethods("split"), None],
    "validation": [StrOptions({"choose"}), None],
    "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
    "monotone": [dict, None],
    "scoring": [str, callable, None],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "max_memory": [Interval(Real, 0, None, closed="neither"), str, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "callbacks": [list, tuple, None],
    "n_jobs": [Integral, None],
}

TEXT = """\
preset : {"fast", "default", "best"}, default="default"
    Amount of training; see ``fastmlp.tabular.presets`` for the numbers. Each of the next five
    parameters replaces a part of the preset.
recipes : list of dict, optional
    Recipes to train one after the other and to blend if that helps. Each may have bins (piecewise
    linear inputs per number), width and depth (hidden layers), activation, rate (factor on the
    learning rate), dropout, decay (of weights), parametric (whether units learn a blend of their
    activation and the identity), share (of the epochs) and embedding (units of a first layer in
    which columns do not meet); see ``fastmlp.tabular.presets.Recipe``.
folds : int from 2 to 1000, or splitter, optional
    Number of parts of the rows; each network is trained on all parts but one. Or a splitter of
    scikit-learn, such as ``GroupKFold``, whose folds all stages use; files do not contain it. See
    also ``folds`` of ``fit``.
members : int from 1 to 10000, optional
    Number of networks per recipe, rounded up to a multiple of the folds.
validation : "choose" or None, default=None
    With "choose", ``X_val`` and ``y_val`` of ``fit`` choose epochs and weights instead of rows that
    folds hold out.
epochs : int from 1 to 1000000, optional
    Number of epochs of a recipe with share 1, whatever the number of rows. With ``recipes`` or
    ``epochs``, the default preset trains in one stage and ends no recipe early for little gain.
width : int from 1 to 100000, optional
    Units of each hidden layer, in all recipes.
categorical_features : "from_dtype", array-like or None, default="from_dtype"
    Text, booleans and category dtypes are categories. A list selects further numeric columns: by
    names (text), indices (integers from 0) or one boolean per column. For frames with integer
    names that differ from the indices, integers are rejected: pass such a name as text, ``"10"``.
    With None, numeric category dtypes are numbers.
monotone : dict, optional
    Columns of numbers, by name or place from 0, in which predictions must not fall (1) or not rise
    (-1) while all other columns stay the same. Needs squared errors, or two classes: then it is the
    probability of the second.
scoring : str, callable or None, default=None
    Score that selects the epoch, on out-of-fold predictions: the loss by default, or any scorer of
    scikit-learn.
time_limit : float, optional
    Approximate limit of the fit in seconds, except that one epoch always runs; the learning rate
    schedule is adapted to it. If there is time for fewer than about 8 epochs of all rows, a random
    sample of them is used, at least 5,000; see ``rows_``. The result then depends on the speed of
    the machine.
max_memory : float or str, optional
    Memory in bytes, or as text such as "4GB" or "500 MiB", that the fit may take beside the data
    given. A fit that would take more by an estimate has fewer networks, even than ``members``,
    or uses a random sample of the rows; the report has a note. By default 80 % of the memory that
    is free in the machine or the control group.
random_state : int, RandomState or None, default=None
    Seed or generator of folds, initial weights and order of samples.
verbose : bool or int, default=False
    Show progress on standard error: the recipe, the completed share of the fit, the time left and
    the score of held-out rows.
callbacks : list of callables, optional
    Called with a ``fastmlp.State`` after each epoch of each recipe; ``state.val_loss`` is the score
    of held-out rows, ``state.model`` the networks in training. Returning True ends the fit like
    Ctrl-C: the estimator keeps the networks trained so far and warns. Ctrl-C before the first
    score leaves the estimator unchanged. ``EarlyStopping`` and ``ReduceOnPlateau`` of val_loss are
    rejected, because a fit selects the best epoch itself.
n_jobs : int, optional
    Number of threads; -1 uses all. By default all that are available. The result does not depend on
    it."""

ATTRIBUTES = """\
best_epoch_, n_iter_ : int
    Selected epoch, counted from 1, and number of epochs run.
rows_ : array of int64, or None
    Rows of the fit, in ascending order, if ``time_limit`` or ``max_memory`` allowed only a sample;
    results of the fit, such as ``oof_prediction_``, are those of these rows.
history_ : fastmlp.History
    History of the members' mean loss.
n_features_in_, n_outputs_ : int
    Number of columns of X, and of columns of y or of probabilities.
feature_importances_ : array of float64, shape (n_features_in_,)
    Share of each column in ``importance()``, computed on first access.
feature_names_in_ : array of str
    Names of the columns; only if X has names.

Notes
-----
The method is RealMLP (Holzmueller, Grinsztajn and Steinwart 2024, arXiv 2407.04491) with piecewise
linear inputs (Gorishniy, Rubachev and Babenko 2022) and an ensemble over folds."""


def check(parameters: Mapping[str, Any]) -> None:
    """Reject values within the ranges: bool as a number, callbacks that a fit cannot serve."""
    examples = {name: least for name, (least, _) in COUNTS.items()}
    for name, example in {**examples, "time_limit": 60, "max_memory": "4GB"}.items():
        if isinstance(value := parameters[name], bool):
            raise ValueError(
                f"{name} is {value} but a number is expected: pass for example {name}={example!r}, "
                "or None"
            )
    for callback in parameters["callbacks"] or ():
        if getattr(callback, "runs_last", False):
            raise ValueError(
                "callbacks has a Checkpoint but a fit of a table cannot go on from one: leave it "
                "out, and save the fitted model"
            )
        if isinstance(callback, EarlyStopping | ReduceOnPlateau) and callback.monitor != "loss":
            raise ValueError(
                f"callbacks has {type(callback).__name__} of val_loss but a fit of a table has its "
                "own learning rates, and keeps the epoch with the best score of held-out rows: "
                "leave it out; epochs= or time_limit= make the fit shorter"
            )
