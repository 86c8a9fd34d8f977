"""All numbers of the training method: the recipes and epochs of each preset.

The method is RealMLP (Holzmueller, Grinsztajn and Steinwart 2024, arXiv 2407.04491): NTK
parametrisation, a learned scale per input, Adam with a short memory of squares, four cosine cycles
of the rate, 256 epochs. Members are trained on folds and averaged. A preset with stages trains all
recipes shortly and, where that pays, the best ones longer: each cycle of the rate is twice as long
as the one before, and its end is a place to stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastmlp._core import intervals
from fastmlp._core.intervals import Interval, check_count
from fastmlp._core.keywords import check_choice
from fastmlp._network.activations import ACTIVATIONS, ActivationName
from fastmlp._network.scheduled import Schedule
from fastmlp.tabular.plan.progress import UNLIMITED, Clock
from fastmlp.tabular.table.columns import Columns


@dataclass(frozen=True)
class Recipe(intervals.Options):
    """Architecture and training options of one group of members.

    Attributes
    ----------
    bins : int
        Piecewise linear inputs per numeric column; 0 for none.
    width, depth : int
        Width and number of the hidden layers.
    embedding : int
        Units of a layer before these, each of which sees the inputs of one column alone, so that
        functions of columns are learned before columns meet; 0 for none. It is left out if it has
        fewer than two units for each column, of which a date counts as several, and with
        ``monotone``.
    activation : str or None
        Activation of the hidden layers; None for the default of the task.
    rate : float
        Factor on the default learning rate of the task.
    dropout, decay : float
        Dropout and weight decay, constant for half of the steps, then falling to 0 as half a
        cosine.
    parametric : bool
        Whether units learn a blend of their activation and the identity.
    share : float
        Share of the preset's epochs.
    is_precise : bool
        Whether it is tried only if others show that a relation is nearly exact, and trained longer
        only if its gain is steep.
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
    embedding: int = 0
    is_precise: bool = False

    _checks: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "bins": (check_count, 8, 0),
        "width": (check_count, 128),
        "depth": (check_count, 3),
        "activation": (
            lambda name, value, *choices: value is None or check_choice(name, value, *choices),
            ACTIVATIONS,
            " or None",
        ),
        "rate": (intervals.POSITIVE.check, 1.0),
        "dropout": (intervals.FRACTION.check, 0.15),
        "decay": (intervals.NON_NEGATIVE.check, 0.02),
        "parametric": (intervals.check_flag,),
        "share": (Interval(0.0, 1.0, low_open=True, high_open=False).check, 1.0),
        "embedding": (check_count, 64, 0),
    }

    @property
    def title(self) -> str:
        """The description of the recipe in reports."""
        shape = "-".join([f"{self.width}"] * self.depth)
        parts = {
            f"{self.bins or 'no'} bins": True,
            f"{self.embedding} units by column": self.embedding > 0,
            shape: True,
            f"{self.activation}": self.activation is not None,
            "fixed activations": not self.parametric,
            f"rate x {self.rate:g}": self.rate != 1,
            f"dropout {self.dropout:g}": self.dropout > 0,
            f"decay {self.decay:g}": self.decay > 0,
            f"{self.share:.3g} of the epochs": self.share != 1,
        }
        return ", ".join(part for part, is_shown in parts.items() if is_shown)

    def sizes(self, inputs: int) -> list[int]:
        """Return the number of inputs, and the widths of the hidden layers."""
        embedding = [self.embedding] if self.embedding else []
        return [inputs, *embedding, *[self.width] * self.depth]

    def work(self, inputs: int) -> int:
        """Return the work per epoch for comparisons: the number of weights of the hidden layers."""
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.sizes(inputs)))


@dataclass(frozen=True)
class Preset:
    """The recipes of a fit, and the numbers of folds and epochs."""

    folds: int  # parts of the rows; each member of a recipe is trained on all of them but one
    repeats: int  # divisions into folds
    epochs: int  # a fit of `FEW_ROWS` rows has these in the first four of ``cycles``
    recipes: tuple[Recipe, ...]
    # First recipes by the kind of target, "classes" or "numbers"; those of a table without numbers
    # may be others, "classes by categories".
    first: Mapping[str, tuple[Recipe, ...]] = field(default_factory=dict)
    many_rows: tuple[int, ...] = (50_000,)  # more rows than each of these halve the number of folds
    members: int | None = None  # least number of networks per recipe; folds are repeated for it
    scaled: bool = True  # whether more rows have fewer epochs
    cycles: int = 4  # the rate has these
    first_cycle: int = 1  # number of these cycles that are one, the first
    # Folds of the first of two stages, see `trial` and `longer`; 0 for one stage. With two, each
    # recipe ends with the first cycle that gains less than its noise.
    trial_folds: int = 0
    selects: bool = False  # whether columns that say nothing are left out, see `selection`
    has_line: bool = False  # whether numbers have a linear part beside the networks, see `linear`
    # What is other for hazards: their networks overfit early, and have a linear part beside them.
    of_hazards: Mapping[str, Any] = field(default_factory=dict)
    begin: Preset | None = None  # what a fit with a time limit begins with, None for the preset

    def with_change(self, change: Callable[[Preset], Preset]) -> Preset:
        """Return the preset after a change that also holds for what it begins with."""
        return replace(change(self), begin=self.begin and change(self.begin))

    @property
    def trial(self) -> Preset:
        """The first stage: all recipes, on few folds, with the epochs of "fast"."""
        return replace(self, folds=self.trial_folds, epochs=PRESETS["fast"].epochs)

    def longer(self, recipes: tuple[Recipe, ...]) -> Preset:
        """Return the second stage: some of the recipes, on all folds, with further cycles."""
        epochs = PRESETS["fast"].epochs
        return replace(self, recipes=recipes, first={}, epochs=epochs, cycles=MOST_CYCLES)

    def longest(self, recipes: tuple[Recipe, ...]) -> Preset:
        """Return the second stage of the first recipe alone, in a single cycle of the rate.

        It is as long as all cycles, and twice as long in place of other recipes.
        """
        cycles = MOST_CYCLES + (len(recipes) > 1)
        return replace(self.longer(recipes[:1]), cycles=cycles, first_cycle=cycles)

    def recipes_for(self, kind: str, columns: Columns) -> tuple[Recipe, ...]:
        """Return the recipes for "classes" or "numbers", with what these columns can have."""
        numbers, few = columns.n_numbers, _least_units(columns)
        most = MOST_PIECES // numbers if numbers else 0
        limited = [
            replace(r, bins=min(r.bins, most), embedding=r.embedding if few <= r.embedding else 0)
            for r in self._of_kind(kind, columns)
        ]
        return tuple(dict.fromkeys(limited))

    def _of_kind(self, kind: str, columns: Columns) -> tuple[Recipe, ...]:
        """Return the recipes for a kind of target, and for tables of categories alone."""
        first = self.first.get(kind, ())
        if not columns.n_numbers:
            first = self.first.get(f"{kind} by categories", first)
        return first + self.recipes

    def left_out(self, kind: str, columns: Columns) -> list[str]:
        """Return notes on embeddings that these columns cannot have."""
        least = _least_units(columns)
        sizes = {r.embedding for r in self._of_kind(kind, columns) if 0 < r.embedding < least}
        return [
            f"no embedding of columns in {units} units: {least} are needed, {LEAST_UNITS} for each "
            "column"
            for units in sorted(sizes)
        ]

    def with_folds(self, folds: int) -> Preset:
        """Return the preset with a fixed number of folds in all stages, for any number of rows."""

        def change(preset: Preset) -> Preset:
            trial_folds = folds if preset.trial_folds else 0
            return replace(preset, folds=folds, many_rows=(), trial_folds=trial_folds)

        return self.with_change(change)

    def with_one_fold(self) -> Preset:
        """Return the preset with one fold, and as many networks as it has in all folds."""

        def change(preset: Preset) -> Preset:
            return replace(preset, members=preset.members or preset.folds * preset.repeats)

        return self.with_change(change).with_folds(1)

    def with_recipes(self, changed: Callable[[Recipe], Recipe]) -> Preset:
        """Return the preset with a change of all of its recipes."""

        def change(preset: Preset) -> Preset:
            first = {kind: tuple(map(changed, each)) for kind, each in preset.first.items()}
            return replace(preset, recipes=tuple(map(changed, preset.recipes)), first=first)

        return self.with_change(change)

    def folds_of(self, n: int) -> int:
        """Return the number of folds for n rows."""
        return max(min(self.folds, 2), self.folds >> sum(n > many for many in self.many_rows))

    def networks_of(self, n: int) -> int:
        """Return the number of networks of each recipe in the first stage, for n rows."""
        stage = self.trial if self.trial_folds else self
        folds = stage.folds_of(n)
        return folds * stage.repeats_of(folds)

    def repeats_of(self, folds: int) -> int:
        """Return the number of repeats with this many folds."""
        return self.repeats if self.members is None else math.ceil(self.members / folds)


CAREFUL: dict[str, Any] = {"dropout": 0.15, "decay": 0.02}
SHORT: dict[str, Any] = {"dropout": 0.3, "decay": 0.02, "share": 1 / 8}  # noisy data need it
# For the first stage: narrow, and different from each other. Noisy tables train the first two
# alone; for classes one of these has one hidden layer, which is enough for many of them.
NARROW = {
    "numbers": (
        Recipe(16, 64, rate=2.0),
        Recipe(0, 64),
        Recipe(16, 64, embedding=64),
        Recipe(8, 64, is_precise=True),
    ),
    "classes": (
        Recipe(16, 64, depth=1, **CAREFUL),
        Recipe(16, 64, **CAREFUL),
        Recipe(0, 64, depth=1, **CAREFUL),
        Recipe(16, 64, embedding=64, **CAREFUL),
        Recipe(0, 64),
    ),
    "numbers by categories": (Recipe(0, 64, rate=2.0), Recipe(0, 64)),
    "classes by categories": (
        Recipe(0, 64, dropout=0.15, decay=0.5),
        Recipe(0, 64),
        Recipe(0, 64, **CAREFUL),
    ),
}

# Short ones first: a time limit may leave no time for all.
BEST = (
    Recipe(bins=8, **SHORT),
    Recipe(bins=0, share=1 / 8, **CAREFUL),
    Recipe(bins=24, **SHORT),
    Recipe(bins=8, **CAREFUL),
    Recipe(bins=8),
    Recipe(bins=0),
    Recipe(bins=16, rate=2.0),
    Recipe(bins=8, depth=2),
    Recipe(bins=0, rate=2.0),
    Recipe(bins=16, rate=2.0, **CAREFUL),
    Recipe(bins=16, rate=2.0, embedding=64),
    Recipe(bins=8, width=256, **CAREFUL),
    Recipe(bins=24, activation="silu"),
    Recipe(bins=0, activation="tanh"),
)

DEFAULT = Preset(8, 2, 256, (), NARROW, trial_folds=4, selects=True, has_line=True)
PRESETS = {
    "fast": Preset(
        4,
        2,
        64,
        (Recipe(bins=8, width=64),),
        has_line=True,
        of_hazards={"epochs": 32, "repeats": 1},
    ),
    "default": DEFAULT,
    "best": Preset(
        16,
        2,
        256,
        BEST,
        many_rows=(5_000, 50_000),
        selects=True,
        has_line=True,
        begin=DEFAULT,
    ),
}

REPLACED = ("recipes", "folds", "members", "epochs", "width")  # parameters that replace its parts

# Most piecewise linear inputs of all columns together, to limit time and memory.
MOST_PIECES = 4_096
LEAST_UNITS = 2  # an embedding has these for each column
FEW_ROWS = 2_000
FEWEST_EPOCHS, MOST_EPOCHS = 16, 256
# Largest batch up to a number of rows.
BATCHES = ((8_192, 256), (32_768, 512), (math.inf, 1_024))
MAX_EVALUATIONS = 64  # evaluations of held-out rows per fit
EVALUATION_SHARE = 0.1  # largest share of evaluations in the time of a fit, about
TRAINING_WORK = 3  # work of training with a row, in predictions of a row
FORWARD_SHARE = 0.4  # folds that go forward take it of a limit: then all rows are trained on
LINEAR_SHARE = 0.1  # a linear part may take it of a limit
# Time needed after training, in evaluations, for up to 40,000 rows; measured and rounded up.
TIME_AFTER = {"numbers": 5.0, "classes": 10.0}

ACTIVATION: dict[str, ActivationName] = {"classes": "selu", "numbers": "mish"}
# With stages, a recipe is trained for one more cycle if the last one has reduced the cost of the
# rows held out by more than NOISE standard errors of this reduction, and by more than a share of
# the cost, which LEAST_GAINS has for the third, the fourth and the fifth cycle. Each cycle takes
# twice the time of the one before, and gains less as a rule.
NOISE, LEAST_GAINS = 2.0, (0.02, 0.05, 0.12)
# Of a nearly exact relation, which explains more than this share, few rows have most of the costs,
# so that gains are seen less clearly than they are real: one standard error has to do.
NEARLY_EXACT, NOISE_OF_EXACT = 0.97, 1.0
# A relation is also nearly exact where the last cycle of the first stage has reduced the cost to
# less than 1 / (1 + STEEP_GAIN) of what it was; then the length of the last cycle decides.
STEEP_GAIN = 3.0
# Two stages are compared by the mean difference of the costs of rows, without this share of the
# rows at each end: where a relation is exact, a few rows would decide the mean.
TRIMMED = 0.02
MOST_CYCLES = 6
# The trial of a preset with stages ends after so many recipes if more training helped none of them.
TRIED_RECIPES = 2
# Recipes take part in the second stage if their weight in the blend of the first stage is at least
# this share of the largest, and no more than so many. Of nearly exact relations the smaller share
# has to do: a second recipe, trained for long, is worth more there than it shows in short training.
LEAST_SHARE, LEAST_SHARE_OF_EXACT, MOST_LONGER = 1 / 2, 1 / 3, 2
BETA_2 = 0.95
BIAS_RATE = 0.1
SCALE_RATE = 6.0
ACTIVATION_RATE = 0.1


def _least_units(columns: Columns) -> int:
    """Return the least number of units of an embedding of columns."""
    return LEAST_UNITS * (columns.n_numbers + len(columns.categories))


def adapted(preset: Preset, parameters: Mapping[str, Any], are_hazards: bool) -> Preset:
    """Return a preset for hazards or not, with the user's choices; None keeps the preset's value.

    A number of ``folds`` counts; others are known when the rows are read.
    """
    recipes, folds, members, epochs, width = (parameters[name] for name in REPLACED)
    if are_hazards and preset.of_hazards:
        preset = replace(preset, **preset.of_hazards)
    if recipes is not None or epochs is not None:  # networks are then trained as the user says
        preset = replace(preset, trial_folds=0, selects=False, has_line=False, begin=None)
    if recipes is not None:
        chosen = tuple(_recipe(k, options) for k, options in enumerate(recipes))
        if not chosen:
            raise ValueError("recipes is empty but at least one is expected: pass [{'bins': 8}]")
        preset = replace(preset, recipes=chosen, first={})
    if width is not None:
        preset = preset.with_recipes(lambda recipe: replace(recipe, width=width))
    if isinstance(folds, Integral):
        preset = preset.with_folds(int(folds))
    if epochs is not None:
        preset = replace(preset, epochs=epochs, scaled=False)
    if members is not None:
        preset = preset.with_change(lambda each: replace(each, members=members))
    return preset


def _recipe(k: int, options: Any) -> Recipe:
    """Return a recipe from a user's dict; errors name its index."""
    if not isinstance(options, Mapping) or not options.keys() <= Recipe._checks.keys():
        raise ValueError(
            f"recipes[{k}] is {options!r} but a dict is expected, with any of "
            f"{', '.join(Recipe._checks)}: pass for example {{'bins': 16, 'width': 256}}"
        )
    try:
        return Recipe(**options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"recipes[{k}]: {error}") from None


def beginning(preset: Preset, is_limited: bool) -> Preset:
    """Return the first preset of a fit: within a time limit "best" begins like "default"."""
    return preset.begin if preset.begin and is_limited else preset


def epochs_of(preset: Preset, recipe: Recipe, n: int) -> int:
    """Return the number of epochs for n rows; steps grow with the square root of n."""
    if not preset.scaled:
        return max(1, round(recipe.share * preset.epochs))
    epochs = round(recipe.share * preset.epochs * math.sqrt(FEW_ROWS / n))
    epochs = min(max(FEWEST_EPOCHS, epochs), MOST_EPOCHS)
    return round(epochs * cycle_end(preset.cycles, 4))


def cycle_end(cycle: int, cycles: int) -> float:
    """Return the end of a cycle of the rate as a share of the length of ``cycles`` cycles."""
    return float((2**cycle - 1) / (2**cycles - 1))


def quick_epochs(n: int) -> int:
    """Return the number of epochs of "fast" for n rows."""
    fast = PRESETS["fast"]
    return epochs_of(fast, fast.recipes[0], n)


def batch_of(n: int) -> int:
    """Return the batch size for n rows."""
    return even(n, next(int(size) for rows, size in BATCHES if n <= rows))


def even(n: int, most: int) -> int:
    """Return the batch size that divides n rows evenly into batches of at most ``most``."""
    return math.ceil(n / math.ceil(n / most))


@dataclass(frozen=True)
class Cycles(Schedule):
    """Cosine cycles, each twice as long as the one before; four are "coslog4".

    The rate is ``rate * (1 - cos(2 pi log2(1 + (2**cycles - 1) t))) / 2``, with t from 0 to 1 over
    ``n_steps`` steps, or over the time if it is too short for them. The first ``first`` cycles may
    be one: the logarithm is divided by ``first`` until their end.
    """

    rate: float
    n_steps: int = 0  # 0 for all steps of a member's fit
    clock: Clock = UNLIMITED
    cycles: int = 4
    first: int = 1

    def _of_length(self, n_steps: int) -> Cycles:
        return self if self.n_steps else replace(self, n_steps=n_steps)

    def _rate(self, step: NDArray[np.int64]) -> NDArray[np.float64]:
        t = np.minimum(self.clock.shares(step, self.n_steps), 1.0)
        cycle = np.log2(1 + (2**self.cycles - 1) * t)
        cycle = np.where(cycle < self.first, cycle / self.first, cycle)
        return np.asarray(self.rate * 0.5 * (1 - np.cos(2 * np.pi * cycle)))


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """RealMLP's "flat_cos": constant for half of the steps, then falling to 0 as half a cosine."""

    value: float
    n_steps: int = 0  # 0 for all steps of a member's fit

    def _of_length(self, n_steps: int) -> FlatCosine:
        return self if self.n_steps else replace(self, n_steps=n_steps)

    def _rate(self, step: NDArray[np.int64]) -> NDArray[np.float64]:
        t = np.minimum(step / self.n_steps, 1.0)
        return np.asarray(self.value * 0.5 * (1 + np.cos(np.pi * (np.maximum(1, 2 * t) - 1))))
