"""From the arguments of a call to what a fit is made of: data, optimizer, plan, evaluator.

All is checked here and nothing is changed; only `set_lengths` completes plans, when it is known
how many epochs there are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastmlp._core.history import ResumeState, State
from fastmlp._core.intervals import NON_NEGATIVE, POSITIVE, check_count
from fastmlp._engine.plan import NO_RATES, Plan
from fastmlp._network.data import Data
from fastmlp._network.groups import PLAIN
from fastmlp._network.layer_options import dropouts_of_fit, is_sequence
from fastmlp._network.optimizers import LBFGS
from fastmlp._network.scheduled import length_of, of_length
from fastmlp._network.spec import Spec
from fastmlp._training.callback_list import NOTHING
from fastmlp._training.loop import Evaluator
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

if TYPE_CHECKING:
    from fastmlp._core.communicators import Communicator
    from fastmlp._engine.protocol import Engine
    from fastmlp._training.distributed.processes import DistributedFit
    from fastmlp._training.metrics import Metrics
    from fastmlp._training.sources import BlockStream

EPOCHS = 20  # a fit with an optimizer alone has these

SCHEDULED = ("learning_rate", "weight_decay")  # options of optimizers that may be schedules


class StepOptions(NamedTuple):
    """What a user's call says of the steps of a fit, unchecked; see ``MLP.fit``."""

    optimizer: Any
    l1: Any
    l2: Any
    clip_norm: Any
    groups: Any
    dropout: Any


class GivenRows(NamedTuple):
    """The rows that a user's call gives, unchecked: arrays, or in X alone a source of blocks."""

    X: Any
    y: Any
    sample_weight: Any
    dy: Any = None
    dy_weight: Any = 1.0


class Shuffling(NamedTuple):
    """What a user's call says of the order of the rows, unchecked."""

    shuffle: Any = True
    buffer: Any = None
    folder: Any = None


IN_ORDER = Shuffling()  # calls that shuffle no source have it


def data(
    given: GivenRows,
    spec: Spec,
    shuffling: Shuffling = IN_ORDER,
    is_once: bool = False,
    is_first: bool = False,
) -> Data | BlockStream:
    """Return the checked data of a call: arrays, or without y the stream of a source.

    A call that reads a source once takes an iterator as well. The first fit of a network warns of
    arrays that do not suit it.
    """
    x, y, sample_weight, dy, dy_weight = given
    shuffle, buffer, folder = shuffling
    rows = 0 if buffer is None else check_count("shuffle_buffer", buffer, example=131_072)
    option = "shuffle_folder" if folder is not None else "shuffle_buffer" if rows else ""
    if option and not shuffle:
        raise refusal("shuffle_buffer", "shuffle=False", name=option)
    is_source = type(x) is not np.ndarray and check.is_source(x)
    if y is not None:
        if is_source and not hasattr(x, "__len__"):
            raise refusal("source", "y", kind=type(x).__name__)
        if option:
            raise refusal("shuffle_buffer", "arrays", name=option)
        samples = check.data(x, y, sample_weight, spec, dy, dy_weight)
        if is_first:
            from fastmlp._training import scales

            scales.warn_of_arrays(x, y, samples, spec)
        return samples
    if not is_source and dy is not None:
        raise TypeError("y is None but dy has derivatives of it: pass y, all NaN to learn dy alone")
    if not is_source:
        raise TypeError(
            f"y is None, but targets are expected beside an X of the type {type(x).__name__}: pass "
            "X and y, or as X alone a callable or an object that yields blocks (X, y), "
            "(X, y, sample_weight) or (X, y, sample_weight, dy)"
        )
    for name, value in {"sample_weight": sample_weight, "dy": dy}.items():
        if value is not None:
            raise refusal("source", "sample_weight, dy", name=name)
    from fastmlp._training.sources import BlockStream

    return BlockStream(x, spec, rows, folder, is_once=is_once, dy_weight=dy_weight)


def validation(value: Any, spec: Spec, dy_weight: Any) -> Data | BlockStream | None:
    """Return the checked validation data that a fit was given."""
    if not check.is_source(value):
        return check.validation(value, spec, dy_weight)
    from fastmlp._training.sources import BlockStream

    return BlockStream(value, spec, name="validation_data", dy_weight=dy_weight)


def evaluator_maker(
    engine: Engine,
    data: Data | BlockStream,
    validation: Data | BlockStream | None,
    metrics: Metrics,
    ranks: DistributedFit | None,
) -> Callable[[State], Evaluator]:
    """Return the maker of a fit's evaluator: of losses, and of metrics if there are any."""
    if not (isinstance(metrics, tuple) and not metrics):
        from fastmlp._training.metrics import MetricEvaluator, resolve

        functions = resolve(metrics)
        measured: Any = data if validation is None else validation
        if functions and not isinstance(measured, Data):
            name = "X" if validation is None else "validation_data"
            raise refusal("metrics", "source", name=name)
        if functions and ranks:
            raise refusal("metrics", "communicator")
        if functions:
            return lambda s: MetricEvaluator(engine, validation, measured, functions, s.history)
    return lambda state: Evaluator(engine, validation)


def epochs_and_optimizer(
    epochs: Any,
    optimizer: Any,
    data: Data | BlockStream,
    batch_size: int,
    spec: Spec,
    ranks: DistributedFit | None,
) -> tuple[Any, Any]:
    """Return epochs and optimizer of a fit; without both, those that suit rows and network."""
    if isinstance(optimizer, str) and optimizer == "lbfgs":
        optimizer = LBFGS()
    chooses = epochs is None and optimizer is None and ranks is None
    if not (chooses and isinstance(data, Data)):
        return EPOCHS if epochs is None else epochs, optimizer
    from fastmlp._training import default_training

    rows = check_count("batch_size", batch_size, example=64)
    return default_training.chosen(data, rows, spec)


def plan(spec: Spec, n: int | None, batch_size: int, options: StepOptions) -> Plan:
    """Return the plan of a fit of n rows, without values per epoch; a source may not know n."""
    optimizer, l1, l2, clip_norm, groups, dropout = options
    rows = check_count("batch_size", batch_size, example=64)
    chosen, n_hidden = check.optimizer(optimizer), len(spec.activations)
    dropouts = None if dropout is None else dropouts_of_fit(dropout, n_hidden)
    decay = getattr(chosen, "weight_decay", None)
    factors = NON_NEGATIVE.check_all(l1=(l1, 1e-5), l2=(l2, 1e-4))
    return Plan(
        optimizer=chosen,
        batch_size=rows if n is None else min(rows, n),
        learning_rates=NO_RATES,
        l1=factors[0],
        l2=factors[1],
        clip_norm=0.0 if clip_norm is None else POSITIVE.check("clip_norm", clip_norm, 1.0),
        groups=PLAIN if groups is None else check.groups(groups, spec),
        dropout=dropouts,
        is_scheduled=callable(chosen.learning_rate) or callable(decay) or dropouts is not None,
    )


def set_lengths(
    plans: Sequence[Plan], data: Sequence[Any], epochs: int, states: Sequence[ResumeState] | None
) -> None:
    """Give schedules without `n_steps` the length of the fit; warn about one that ends early."""
    # Members mostly share their schedules, and their number of steps; the objects keep their ids.
    made: dict[tuple[int, int, int], tuple[Any, ...]] = {}
    for k, (plan, samples) in enumerate(zip(plans, data, strict=True)):
        if isinstance(samples, Data):
            n_steps = epochs * plan.steps_of(samples)
        else:
            n = states[k].rows if states else samples.length()
            if n is None:  # unknown before the first epoch, in which such schedules raise an error
                return
            n_steps = epochs * plan.n_steps(n)
        optimizer, dropout = plan.optimizer, plan.dropout
        key = id(optimizer), id(dropout), n_steps
        if key not in made:
            made[key] = optimizer, dropout, *_lengthened(optimizer, dropout, n_steps)
        *_, plan.optimizer, plan.dropout = made[key]
        if not k:
            warn_of_short_schedule(plan.optimizer.learning_rate, n_steps)


def _lengthened(optimizer: Any, dropout: Any, n_steps: int) -> tuple[Any, Any]:
    """Return an optimizer and factors of dropout whose schedules have the length of a fit."""
    options = {name: getattr(optimizer, name) for name in SCHEDULED if hasattr(optimizer, name)}
    lengths = {name: of_length(value, n_steps) for name, value in options.items()}
    if any(map(operator.is_not, lengths.values(), options.values())):
        optimizer = replace(optimizer, **lengths)
    if dropout is not None:
        dropout = tuple([of_length(value, n_steps) for value in dropout])
    return optimizer, dropout


def warn_of_short_schedule(learning_rate: Any, n_steps: int) -> None:
    """Warn if the learning rate stays the same for more than half of a fit of so many steps."""
    length = length_of(learning_rate)
    if length is not None and 2 * length < n_steps:
        from fastmlp._core.user_warnings import warn

        warn(
            f"the learning rate {learning_rate!r} stays at {float(learning_rate(length)):g} from "
            f"step {length} of {n_steps} on: leave n_steps out, for all steps of the fit"
        )


class PlanCache:
    """The last plan of a network, whose checks hold for calls with the same objects."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.sizes: tuple[Any, ...] = ()
        self.options: StepOptions | tuple[()] = ()
        self.last: Plan | None = None

    def plan(self, data: Data | BlockStream, batch_size: int, options: StepOptions) -> Plan:
        """Return a new plan, see `plan`."""
        # Only integers are compared: == of other objects may be anything, or raise an error.
        if type(batch_size) is not int:
            batch_size = check_count("batch_size", batch_size, example=64)
        n, made = data.rows, self.last
        sizes = n, batch_size
        if made is None or sizes != self.sizes or not all(map(operator.is_, options, self.options)):
            made = plan(self.spec, n, batch_size, options)
            # A list of dropouts may change.
            if options.dropout is None or not is_sequence(options.dropout):
                self.sizes, self.options, self.last = sizes, options, made
        return made.again()


def joined(
    communicator: Communicator | Any, engine: Engine
) -> AbstractContextManager[DistributedFit | None]:
    """Take part in a fit of many processes, if there is a communicator."""
    if communicator is None:
        return NOTHING
    from fastmlp._training.distributed import processes

    return processes.joined(communicator, engine)
