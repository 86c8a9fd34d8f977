"""The engine in NumPy: computes the same as the native engine, for tests to compare with.

Each function is the textbook formula for a whole batch, in the dtype of the network, not optimised.
`fastmlp.reference` explains the core of it. Axes: N rows, I fan-in, O fan-out.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp._engine import optimizer_state
from fastmlp._engine.numpy import random
from fastmlp._engine.numpy.forward_pass import ForwardPass
from fastmlp._engine.numpy.layers import Parameters
from fastmlp._engine.numpy.penalties import add_up, clip, flat, penalized
from fastmlp._engine.numpy.predictor import Predictor
from fastmlp._engine.numpy.random import Masks
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs, Held
from fastmlp._engine.thread_pool import Team
from fastmlp._network.activations import Array
from fastmlp._network.data import Data, Shard
from fastmlp._network.groups import PLAIN, Factors
from fastmlp._network.losses import Linear
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec

LINEAR = Linear()
SAMPLE_BYTES = 2**24  # one call of NumPy makes at most these gradients


def losses_of_rows(
    spec: Spec, z: Array, data: Data, rows: Array | slice = slice(None)
) -> tuple[Array, Array]:
    """Return the losses of some rows and their gradients with respect to z, not yet weighted."""
    arguments = [z[rows], data.targets[rows]]
    if data.output_weights is not None:
        arguments.append(data.output_weights[rows])
    of_data = LINEAR if data.is_gradient else spec.loss
    return of_data.value_and_gradient(*arguments)


def loss(spec: Spec, z: Array, data: Data, total: float | None = None) -> tuple[float, Array]:
    """Return sum(weight * loss) / total, in float64, and its gradient (N, O) with respect to z.

    The default total is the sum of the weights; if that is 0, value and gradient are 0.
    """
    sample_weight = _sample_weight(data)
    total = 1.0 if data.is_gradient else total
    total = float(np.sum(sample_weight, dtype=np.float64)) if total is None else total
    if total == 0:
        return 0.0, np.zeros_like(z)
    used = sample_weight != 0  # an overflow in another row must not reach the sum
    values, dz = np.zeros(len(z), z.dtype), np.zeros_like(z)
    values[used], dz[used] = losses_of_rows(spec, z, data, used)
    share = (sample_weight / total).astype(z.dtype)
    return float(np.sum(share * values, dtype=np.float64)), share[:, np.newaxis] * dz


def objective(
    spec: Spec,
    parameters: Parameters,
    data: Data,
    l2: float,
    masks: Masks | None = None,
    factors: Sequence[Factors] | None = None,
    l1: float = 0.0,
    total: float | None = None,
) -> tuple[Any, ...]:
    """Return the objective of one batch and its gradient, (objective, [dW], [db], ...).

    ``factors`` are those on the penalties of each tensor; ``total`` is the divisor of `loss`.
    """
    factors = PLAIN.factors(spec.tensors, 0) if factors is None else factors
    used = _sample_weight(data) != 0  # 0 times an overflow in another row would be NaN
    data = data.part(used)
    masks = masks and [m if m is None else m[used] for m in masks]
    forward = ForwardPass(spec, parameters, data.x, masks, training=True)
    value, dz = loss(spec, forward.outputs[-1], data, total)
    if data.jacobians is None:
        gradients = forward.gradient(dz)
    else:
        more, gradients = with_jacobians(forward, data, dz, total)
        value += more
    value = penalized(value, flat(parameters), flat(gradients), factors, l1, l2)
    return value, *gradients


def with_jacobians(
    forward: ForwardPass, data: Data, dz: Array, total: float | None
) -> tuple[float, Parameters]:
    """Return the loss of the derivatives by the inputs, and the gradient of it and of dz.

    The derivative of half the square of a residual r = dz_o/dx - jacobian_o by the parameters is
    that of the derivative of z_o in the direction r, which stays the same (docs/derivatives.md).
    """
    assert data.jacobians is not None
    weights = _sample_weight(data)
    total = float(np.sum(weights, dtype=np.float64)) if total is None else total
    share = (data.jacobian_weight * weights / total).astype(dz.dtype)[:, np.newaxis]
    value, results, bends = 0.0, [], []
    for o, p in enumerate(forward.units(dz.shape[1])):
        measured = data.jacobians[:, o]
        residual = np.where(np.isnan(measured), 0, forward.differentiate(q=p) - measured)
        value += 0.5 * float(np.sum(share * residual**2, dtype=np.float64))
        tangents = forward.tangents(share * residual)
        bends.append(forward.bends(tangents, p))
        results.append(forward.gradient(p, tangents=tangents))
    results.append(forward.gradient(dz, bends=_added(bends)))
    return value, tuple(_added(results))


def _added(parts: Sequence[Sequence[Sequence[Array]]]) -> list[list[Array]]:
    """Return the sums of the arrays at the same places."""
    places = [zip(*lists, strict=True) for lists in zip(*parts, strict=True)]
    return [[sum(arrays[1:], arrays[0]) for arrays in place] for place in places]


def sample_gradients(spec: Spec, parameters: Parameters, data: Data) -> tuple[Any, ...]:
    """Return the losses (N,) and the gradient of each, arrays (N, ...) in lists by kind."""
    rows = max(1, SAMPLE_BYTES // sum(p.nbytes for p in flat(parameters)))
    if data.rows <= rows:
        return _sample_gradients(spec, parameters, data)
    values: Array = np.empty(data.rows, spec.dtype)
    gradients: Parameters = tuple(
        [np.empty((data.rows, *p.shape), p.dtype) for p in kind] for kind in parameters
    )
    for first in range(0, data.rows, rows):
        block = slice(first, first + rows)
        values[block], *of_block = _sample_gradients(spec, parameters, data.part(block))
        for whole, part in zip(flat(gradients), flat(of_block), strict=True):
            whole[block] = part
    return values, *gradients


def _sample_gradients(spec: Spec, parameters: Parameters, data: Data) -> tuple[Any, ...]:
    """Return the same of a few rows, by calls of NumPy that no signal interrupts."""
    with np.errstate(over="ignore", invalid="ignore"):
        forward = ForwardPass(spec, parameters, np.asarray(data.x))  # sparse rows become dense
        values, dz = losses_of_rows(spec, forward.outputs[-1], data)
        if data.weights is not None:  # rows with missing targets have them
            values, dz = values * data.weights, dz * data.weights[:, np.newaxis]
        return values, *forward.gradient(dz, per_sample=True)


class Engine:
    """The methods of `protocol.Engine` in NumPy; `team` has no effect.

    Parameters are replaced and never written to, so other threads always read a consistent state.
    """

    level = "numpy"

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        kinds = spec.tensors.values()
        self._parameters = tuple([np.zeros(s, spec.dtype) for s in shapes] for shapes in kinds)
        self._steps: optimizer_state.OptimizerProgress | None = None
        self._bounds: list[tuple[Array, Array]] = []  # one pair a tensor; empty: there are none

    def parameters(self) -> Parameters:
        """Return copies of the weights (I, O), biases (O,) and other kinds of `Spec.tensors`."""
        return copy.deepcopy(self._parameters)

    def set_parameters(self, *kinds: Sequence[Array]) -> None:
        """Copy arrays like those of `parameters` in."""
        dtype = self.spec.dtype
        self._parameters = tuple([np.array(p, dtype, order="C") for p in kind] for kind in kinds)

    def set_bounds(
        self, lower: Sequence[Sequence[Array]], upper: Sequence[Sequence[Array]]
    ) -> None:
        """Keep every parameter between two numbers after each step; `shadow` has no bounds."""
        self._bounds = list(zip(flat(lower), flat(upper), strict=True))

    def snapshot(self) -> Any:
        """Return the current parameters for `restore`."""
        return self.parameters()

    def restore(self, snapshot: Any) -> None:
        """Go back to the parameters of a snapshot."""
        self.set_parameters(*snapshot)

    def finite(self) -> bool:
        """Return whether every parameter is finite."""
        return all(np.isfinite(p).all() for p in flat(self._parameters))

    def shuffle(self, order: npt.NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place; the seed alone determines the result."""
        random.shuffle(order, seed)

    def start(self, optimizer: Optimizer) -> None:
        """Prepare an optimizer for the next epochs, with a state of 0."""
        self._steps = optimizer_state.OptimizerProgress(
            optimizer_state.start(optimizer, self.parameters())
        )

    def optimizer_state(self) -> Any:
        """Return the optimizer's state, which later epochs change; None before the start."""
        return self._steps

    def set_optimizer_state(self, state: Any) -> None:
        """Continue with a result of `optimizer_state`."""
        self._steps = state

    def can_go_on(self, step: int) -> bool:
        """Return whether the state belongs to a complete epoch that ended after `step` steps."""
        steps = self._steps
        return bool(steps and steps.is_whole and steps.optimizer_state.step == step)

    def state(self, optimizer: bool = True) -> dict[str, Array]:
        """Return the parameters, and the optimizer's state if it can be continued."""
        steps = self._steps if optimizer and self._steps and self._steps.is_whole else None
        copied = copy.deepcopy(steps.optimizer_state) if steps else None
        return optimizer_state.to_arrays(self.spec, self.parameters(), copied)

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Continue with a state of either engine."""
        parameters, optimizer = optimizer_state.from_arrays(state, self.spec)
        self.set_parameters(*parameters)
        self._steps = None
        if optimizer:
            copied = copy.deepcopy(optimizer)  # its arrays belong to the caller
            restored = optimizer_state.in_units(copied, optimizer_state.textbook)
            self._steps = optimizer_state.OptimizerProgress(restored)

    @np.errstate(over="ignore", invalid="ignore")  # the compiled engine does not warn either
    def predict(self, x: Array, team: object = None, linked: bool = True) -> Array:
        """Return the predictions (n, heads * m); if not linked, the outputs before the link."""
        del team
        z = self._forward(x).outputs[-1]
        return self.spec.loss.link(z) if linked else z

    def _forward(self, x: Array) -> ForwardPass:
        return ForwardPass(self.spec, self._parameters, x)

    def predict_row(self, x: Any, flat: bool = False) -> None:
        """Return None: this engine has no fast path around the checks."""

    @np.errstate(over="ignore", invalid="ignore")
    def evaluate(self, data: Data, team: object = None) -> float:
        """Return the weighted mean loss, without penalty."""
        if data.jacobians is not None:
            return float(self.gradients(data, team=team)[0])
        del team
        return loss(self.spec, self._forward(data.x).outputs[-1], data)[0]

    def gradients(
        self,
        data: Data,
        l2: float = 0.0,
        team: object = None,
        l1: float = 0.0,
    ) -> tuple[Any, ...]:
        """Return (objective, [dW], [db], ...) of all rows as one batch."""
        del team
        return objective(self.spec, self._parameters, data, l2, l1=l1)

    def frozen(self) -> Engine:
        """Return an engine with a copy of the parameters, which rounds nothing to bfloat16."""
        engine = Engine(dataclasses.replace(self.spec, compute=None))
        engine.set_parameters(*self._parameters)
        return engine

    def jacobian(self, x: Array) -> Array:
        """Return the derivatives of the predictions with respect to x, (n, heads * m, fan_in)."""
        forward, loss = self._forward(x), self.spec.loss
        p = loss.link(forward.outputs[-1])
        return forward.jacobian([loss.link_row.product(p, q) for q in forward.units(p.shape[1])])

    def differentiate(
        self,
        x: Array,
        v: Array | None = None,
        p: Array | None = None,
        q: Array | None = None,
        team: object = None,
    ) -> Array:
        """Return s (n, heads * m) or a gradient by x (n, I), see `ForwardPass.differentiate`."""
        del team
        return self._forward(x).differentiate(v, p, q)

    def derivatives(self, x: Array, team: object = None) -> tuple[Array, Array, Array]:
        """Return the outputs before the link, (n, heads * m), their jacobians and hessians."""
        del team
        forward = self._forward(x)
        return forward.outputs[-1], forward.jacobian(), forward.hessian()

    def shadow(self) -> Engine:
        """Return another engine for the same network; both can restore the same snapshots."""
        return Engine(self.spec)

    def predictor(
        self,
        n_threads: int | None = None,
        weight_type: str | None = None,
        parameters: Sequence[Any] | None = None,
    ) -> Predictor:
        """Return a frozen copy of the network."""
        frozen = self.shadow()
        frozen.set_parameters(*(self._parameters if parameters is None else parameters))
        return Predictor(frozen, n_threads, weight_type)

    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[npt.NDArray[np.uint64]] | None = None,
        held: Held | None = None,
        stores: bool = False,
    ) -> Epochs:
        """Train the engines one after the other."""
        del team
        before = [engine.snapshot() for engine in engines]
        losses = np.full((epochs, len(engines)), np.nan)
        results = Epochs(losses, np.zeros_like(losses), [])
        snapshots: list[list[Any]] = []
        try:
            for k, (engine, data, plan) in enumerate(zip(engines, datas, plans, strict=True)):
                predictions = []
                snapshots.append([])
                for epoch, part in enumerate(_each_epoch(plan, data, epochs)):
                    if seeds is not None:
                        engine.shuffle(plan.order, int(seeds[k][epoch]))
                    losses[epoch, k] = engine.epoch(data, part)
                    snapshots[k] += [engine.snapshot()] if stores else []
                    if held is not None:
                        rows = held.rows[k]
                        predictions.append(engine.predict(rows.x, None, held.linked))
                        results.held_losses[epoch, k] = engine.evaluate(rows)
                if held is not None:
                    results.predictions.append(np.stack(predictions))
        finally:
            if not np.isfinite(losses).all():
                for engine, parameters in zip(engines, before, strict=True):
                    engine.restore(parameters)
        return results._replace(snapshots=list(zip(*snapshots, strict=True)))

    def _step(self, plan: Plan, batch: int, factors: list[Factors], gradients: list[Array]) -> None:
        """Update every parameter that is not frozen."""
        assert self._steps is not None
        last = self._steps.optimizer_state
        self._steps.optimizer_state = state = last._replace(step=last.step + 1)
        optimizer, rate = plan.optimizer_of(batch), float(plan.learning_rates[batch])
        moved = [k for k, tensor in enumerate(factors) if tensor.rate]
        parameters = flat(self._parameters)
        norm, counts = float(plan.clip_norm) or math.inf, [factors[k].norm for k in moved]
        for k, g in zip(moved, clip([gradients[k] for k in moved], norm, counts), strict=True):
            factor, slots = factors[k], [flat(slot)[k] for slot in state.slots]
            step_rate = rate * factor.rate
            optimizer.step(
                parameters[k], g, slots, step_rate, state.step, factor.decay, factor.epsilon
            )
            if self._bounds:
                np.clip(parameters[k], *self._bounds[k], out=parameters[k])

    @property
    def n_summed(self) -> int:
        """Number of elements that `epoch` passes to `Shard.add_up`."""
        return self.spec.n_parameters + Shard.NOTES

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train on every batch once and return the mean objective, or one that is not finite."""
        if self._steps is None:
            raise RuntimeError("no optimizer was started")
        self._steps.is_whole = False
        learning = Engine(self.spec)  # other threads see the old parameters meanwhile
        learning.set_parameters(*self._parameters)
        learning.set_optimizer_state(self._steps)
        learning._bounds = self._bounds
        value = learning._batches(data, plan)
        if math.isfinite(value):
            self._parameters, self._steps.is_whole = learning._parameters, True
        return value

    def _batches(self, data: Data, plan: Plan) -> float:
        factors = plan.groups.factors(self.spec.tensors, plan.optimizer.degree)
        order = np.arange(len(data.x)) if plan.order is None else plan.order
        order = order[: plan.rows(len(order))]
        sum_objective, sum_weight = plan.sums or (0.0, 0.0)
        share, mean_weight = plan.share, plan.weights_of(data).mean
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for k, first in enumerate(range(0, len(order), plan.batch_size)):
                rows = order[first : first + plan.batch_size]
                batch = data.part(rows)
                weight = batch.total_weight
                if batch.is_gradient:
                    weight = 1.0
                elif not plan.per_batch:
                    weight = np.count_nonzero(_sample_weight(batch)) * mean_weight
                l1, l2, at = float(plan.l1), float(plan.l2), 0
                if share is not None:
                    weight, at = float(share.totals[k]), share.row
                    if not share.is_first:
                        l1 = l2 = 0.0
                if plan.per_batch:
                    l2 = l2 / weight if weight else 0.0
                spec = plan.network_of(k, self.spec)
                masks = random.dropout_masks(spec, plan.seed, plan.step + k, len(rows), at)
                value, *gradients = objective(
                    spec, self._parameters, batch, l2, masks, factors, l1, weight
                )
                if share is not None:
                    add_up(share, flat(gradients), not math.isfinite(value))
                if not math.isfinite(value):
                    return float(value)
                self._step(plan, k, factors, flat(gradients))
                if not self.finite():
                    return math.nan
                sum_objective += weight * value
                sum_weight += weight
        if plan.sums is not None:
            plan.sums = [sum_objective, sum_weight]
        return sum_objective / sum_weight if sum_weight else 0.0


def _sample_weight(data: Data) -> Array:
    return np.ones(len(data.x), data.x.dtype) if data.weights is None else data.weights


def _each_epoch(plan: Plan, data: Data, epochs: int) -> list[Plan]:
    """Split a plan of several epochs into one plan for each."""
    n = plan.steps_of(data)
    parts = []
    for first in range(0, epochs * n, n):
        steps, decays, dropouts = slice(first, first + n), plan.weight_decays, plan.dropouts
        part = replace(
            plan,
            step=plan.step + first,
            learning_rates=plan.learning_rates[steps],
            weight_decays=None if decays is None else decays[steps],
            dropouts=None if dropouts is None else dropouts[steps],
        )
        parts.append(part)
    return parts
