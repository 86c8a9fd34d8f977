"""The numbers of the recipe, in one place: what a preset trains, and for how long.

The recipe is RealMLP's (Holzmueller, Grinsztajn and Steinwart 2024, arXiv 2407.04491): NTK
parametrisation, a learned scale of each input, Adam with a short memory of squares, four cosine
cycles of the rate, 256 epochs; members are trained on folds and averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import (
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    Interval,
    check_count,
    check_flag,
)
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.names import ActivationName
from fastmlp._network.scheduled import Schedule
from fastmlp.tabular.clock import UNLIMITED, Clock


def _check_activation(name: str, value: Any) -> None:
    """Complain of what is neither None nor the name of an activation."""
    if value is not None and value not in tuple(ACTIVATIONS):
        names = ", ".join(ACTIVATIONS)
        raise ValueError(f"{name} is {value!r} but None or one of {names} is expected")


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "bins": partial(check_count, example=8, least=0),
    "width": partial(check_count, example=128),
    "depth": partial(check_count, example=3),
    "activation": _check_activation,
    "rate": partial(POSITIVE.check, example=1.0),
    "dropout": partial(FRACTION.check, example=0.15),
    "decay": partial(NON_NEGATIVE.check, example=0.02),
    "parametric": check_flag,
    "share": partial(Interval(0.0, 1.0, low_open=True, high_open=False).check, example=1.0),
}


@dataclass(frozen=True)
class Recipe:
    """What one group of members is.

    Attributes
    ----------
    bins : int
        Piecewise linear inputs of each number; 0 for none.
    width, depth : int
        Of the hidden layers.
    activation : str or None
        Of the hidden layers; None for the one that suits the task.
    rate : float
        Factor on the learning rate that suits the task.
    dropout, decay : float
        Constant for half of the steps, then half a cosine down to 0.
    parametric : bool
        Whether units learn how linear they are.
    share : float
        Of the epochs of the preset.
    """

    bins: int = 8
    width: int = 128
    depth: int = 3
    activation: ActivationName | None = None
    rate: float = 1.0
    dropout: float = 0.0
    decay: float = 0.0
    parametric: bool = True
    share: float = 1.0

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            check(name, getattr(self, name))

    @property
    def title(self) -> str:
        """What a recipe is called in a report.

        Examples
        --------
        >>> Recipe(bins=8, dropout=0.3, decay=0.02, share=1 / 8).title
        '8 bins, 128-128-128, dropout 0.3, decay 0.02, 0.125 of the epochs'
        """
        shape = "-".join([f"{self.width}"] * self.depth)
        parts = {
            f"{self.bins or 'no'} bins": True,
            shape: True,
            f"{self.activation}": self.activation is not None,
            "fixed activations": not self.parametric,
            f"rate x {self.rate:g}": self.rate != 1,
            f"dropout {self.dropout:g}": self.dropout > 0,
            f"decay {self.decay:g}": self.decay > 0,
            f"{self.share:.3g} of the epochs": self.share != 1,
        }
        return ", ".join(part for part, is_said in parts.items() if is_said)

    def work(self, inputs: int) -> int:
        """Return how much an epoch computes, to compare recipes: weights of the hidden layers."""
        return self.width * (inputs + (self.depth - 1) * self.width)


@dataclass(frozen=True)
class Preset:
    """What is trained.

    Attributes
    ----------
    folds, repeats : int
        In each repeat the rows are divided into folds anew, and each member of a recipe learns from
        all folds but one.
    epochs : int
        Of a fit of `FEW_ROWS` rows.
    recipes : tuple of Recipe
        In this order, as long as there is time; those that help are blended.
    first : dict of tuples of Recipe
        Before these, where "classes" or "numbers" are predicted.
    many_rows : tuple of int
        Of more rows than each of these there are half as many folds, at least 2.
    members : int, optional
        Networks of each recipe, at least: the folds are repeated for them, whatever `repeats` is.
    scaled : bool
        Whether there are fewer epochs for more rows.
    """

    folds: int
    repeats: int
    epochs: int
    recipes: tuple[Recipe, ...]
    first: Mapping[str, tuple[Recipe, ...]] = field(default_factory=dict)
    many_rows: tuple[int, ...] = (50_000,)
    members: int | None = None
    scaled: bool = True

    def of(self, kind: str, numbers: int = 0) -> tuple[Recipe, ...]:
        """Return the recipes for "classes" or "numbers", and a table of so many numeric columns.

        Examples
        --------
        >>> [recipe.bins for recipe in PRESETS["default"].of("numbers", 400)]
        [10, 8, 8, 0]
        """
        most = MOST_PIECES // max(numbers, 1)
        recipes = self.first.get(kind, ()) + self.recipes
        return tuple(
            dict.fromkeys(replace(recipe, bins=min(recipe.bins, most)) for recipe in recipes)
        )

    def folds_of(self, n: int) -> int:
        """Return the folds of n rows.

        Examples
        --------
        >>> [PRESETS["best"].folds_of(n) for n in (1_000, 10_000, 100_000)]
        [16, 8, 4]
        """
        return max(2, self.folds >> sum(n > many for many in self.many_rows))

    def repeats_of(self, folds: int) -> int:
        """Return how often the rows are divided into so many folds."""
        return self.repeats if self.members is None else math.ceil(self.members / folds)


PIECEWISE, PLAIN = Recipe(bins=8), Recipe(bins=0)
CAREFUL = Recipe(bins=8, dropout=0.15, decay=0.02)
FINE = Recipe(bins=16, rate=2.0)
# For what is noisy: an eighth of the epochs, with dropout.
SHORT = Recipe(bins=8, dropout=0.3, decay=0.02, share=1 / 8)
SHORT_PLAIN = Recipe(bins=0, dropout=0.15, decay=0.02, share=1 / 8)
USUAL = (CAREFUL, PIECEWISE, PLAIN)

PRESETS = {
    "fast": Preset(4, 2, 64, (Recipe(bins=8, width=64),)),
    "default": Preset(8, 2, 256, USUAL, {"numbers": (FINE,), "classes": (SHORT, SHORT_PLAIN)}),
    "best": Preset(
        *(16, 2, 256),
        (
            SHORT,
            *USUAL,
            FINE,
            SHORT_PLAIN,
            Recipe(bins=24, dropout=0.3, decay=0.02, share=1 / 8),
            Recipe(bins=8, depth=2),
            Recipe(bins=0, rate=2.0),
            Recipe(bins=16, rate=2.0, dropout=0.15, decay=0.02),
            Recipe(bins=8, width=256, dropout=0.15, decay=0.02),
            Recipe(bins=24, activation="silu"),
            Recipe(bins=0, activation="tanh"),
        ),
        many_rows=(5_000, 50_000),
    ),
}

# Piecewise linear inputs of all numbers: of more columns each has fewer, for time and memory.
MOST_PIECES = 4_096
FEW_ROWS = 2_000
FEWEST_EPOCHS, MOST_EPOCHS = 16, 256
# Rows up to which a batch has so many at most.
BATCHES = ((8_192, 256), (32_768, 512), (math.inf, 1_024))
MOST_LOOKS = 64  # at the score of held-out rows, of all epochs
# Looks that take the time of all that follows training, of up to 40,000 rows; measured, rounded up.
AFTER = {"numbers": 5.0, "classes": 10.0}

ACTIVATION = {"classes": "selu", "numbers": "mish"}
RATE = {"classes": 0.04, "numbers": 0.07, "gaussian": 0.02}
# A long fit that learns nothing but noise ends early: at the end of a cycle of the rate, where
# costs can be compared, they are so many times the lowest, and that was in the first half.
CYCLE_ENDS = (3 / 15, 7 / 15)
HOPELESS = 1.15
BETA_2 = 0.95
BIAS_RATE = 0.1
SCALE_RATE = 6.0
ACTIVATION_RATE = 0.1
# Where `scoring` looks at labels; for probabilities it costs more than the temperature gives back.
LABEL_SMOOTHING = 0.1
# What averaging gains from one member to two held-out ones, times this, is what it is taken to gain
# from one to all. If errors of members were exchangeable it would be 2 (1 - 1 / members), 1.875 for
# 16; less than that because the gain is measured on few rows. A likelihood has no bound: the
# cost of one member that is too sure of itself says nothing of all, and two together are judged.
AVERAGING = {"classes": 1.5, "numbers": 1.5, "gaussian": 1.0}


def adapted(
    preset: Preset,
    recipes: Sequence[Mapping[str, Any]] | None,
    folds: int | None,
    members: int | None,
    epochs: int | None,
    width: int | None,
) -> Preset:
    """Return a preset with what the user has chosen; None is the preset's.

    Parameters
    ----------
    preset : Preset
        The preset.
    recipes : sequence of dict, optional
        Fields of each `Recipe`.
    folds, members, epochs, width : int, optional
        Checked. Neither folds nor epochs then depend on the number of rows.

    Raises
    ------
    TypeError, ValueError
        If a recipe is none.

    Examples
    --------
    >>> adapted(PRESETS["fast"], [{"bins": 0}], None, 12, None, width=32).of("numbers")[0].title
    'no bins, 32-32-32'
    """
    if recipes is not None:
        own = tuple(_recipe(k, given) for k, given in enumerate(recipes))
        if not own:
            raise ValueError("recipes is empty but at least one is expected: pass [{'bins': 8}]")
        preset = replace(preset, recipes=own, first={})
    if width is not None:
        wide = {kind: _of_width(first, width) for kind, first in preset.first.items()}
        preset = replace(preset, recipes=_of_width(preset.recipes, width), first=wide)
    if folds is not None:
        preset = replace(preset, folds=folds, many_rows=())
    if epochs is not None:
        preset = replace(preset, epochs=epochs, scaled=False)
    return preset if members is None else replace(preset, members=members)


def _of_width(recipes: Sequence[Recipe], width: int) -> tuple[Recipe, ...]:
    return tuple(replace(recipe, width=width) for recipe in recipes)


def _recipe(k: int, given: Any) -> Recipe:
    """Return a recipe of the user's, or complain by its place."""
    if not isinstance(given, Mapping) or not given.keys() <= CHECKS.keys():
        raise ValueError(
            f"recipes[{k}] is {given!r} but a dict is expected, with any of {', '.join(CHECKS)}: "
            "pass for example {'bins': 16, 'width': 256}"
        )
    try:
        return Recipe(**given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"recipes[{k}]: {error}") from None


def epochs_of(preset: Preset, recipe: Recipe, n: int) -> int:
    """Return the epochs of a fit of n rows: fewer for more, the steps grow with their root."""
    if not preset.scaled:
        return max(1, round(recipe.share * preset.epochs))
    epochs = round(recipe.share * preset.epochs * math.sqrt(FEW_ROWS / n))
    return min(max(FEWEST_EPOCHS, epochs), MOST_EPOCHS)


def quick_epochs(kind: str, n: int) -> int:
    """Return the epochs of "fast" for n rows."""
    fast = PRESETS["fast"]
    return epochs_of(fast, fast.of(kind)[0], n)


def batch_of(n: int) -> int:
    """Return the rows of a step of a fit of n rows.

    Examples
    --------
    >>> batch_of(100), batch_of(1035)
    (100, 207)
    """
    return even(n, next(int(size) for rows, size in BATCHES if n <= rows))


def even(n: int, most: int) -> int:
    """Return the rows of a step, of n in as few as may be: a small last one steps as far as others.

    Examples
    --------
    >>> even(1035, most=256)
    207
    """
    return math.ceil(n / math.ceil(n / most))


@dataclass(frozen=True)
class Cycles(Schedule):
    """Four cosine cycles, each twice as long as the one before ("coslog4").

    ``rate * (1 - cos(2 pi log2(1 + 15 t))) / 2`` with t from 0 to 1, the share of the steps, or
    of a time that is too short for all of them.

    Parameters
    ----------
    rate : float, > 0
        The highest.
    n_steps : int, >= 1
        Steps from t = 0 to 1.
    clock : Clock
        Of the time that the fit may take.

    Examples
    --------
    >>> Cycles(1.0, n_steps=15)([0, 1, 3, 7, 15]).round(6).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """

    rate: float
    n_steps: int
    clock: Clock = UNLIMITED

    def __post_init__(self) -> None:
        POSITIVE.check("rate", self.rate, example=0.04)

    def _rate(self, step: NDArray[np.int64]) -> NDArray[np.float64]:
        t = np.minimum(self.clock.shares(step, self.n_steps), 1.0)
        return np.asarray(self.rate * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))))


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """A value that is kept for half of the steps, then half a cosine down to 0 ("flat_cos").

    Parameters
    ----------
    value : float, > 0
        The first.
    n_steps : int, >= 1
        Steps until 0.

    Examples
    --------
    >>> FlatCosine(1.0, n_steps=4)([0, 2, 3, 4]).round(6).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """

    value: float
    n_steps: int

    def __post_init__(self) -> None:
        POSITIVE.check("value", self.value, example=0.1)

    def _rate(self, step: NDArray[np.int64]) -> NDArray[np.float64]:
        t = np.minimum(step / self.n_steps, 1.0)
        return np.asarray(self.value * 0.5 * (1 + np.cos(np.pi * (np.maximum(1, 2 * t) - 1))))
