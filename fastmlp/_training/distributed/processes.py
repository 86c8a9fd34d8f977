"""Distributed fits: checks that all processes agree, and sums of results over processes.

The same program runs on all ranks, each with its own rows. All ranks have the same model and take
the same steps along the sum of their gradients; both are verified.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import hashlib
import itertools
import math
import re
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core import communicators
from fastmlp._core.history import Batch, DivergenceError, ResumeState, State
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Engine
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data, Shard, WeightSum
from fastmlp._training import callback_state, loop
from fastmlp._training.callback_list import CallbackList
from fastmlp._training.distributed.exchange import AgreedValue, Exchange, RankError
from fastmlp._training.loop import Evaluator, Measured, Strategy

# Distance between the seeds of two ranks: 2**64 over the golden ratio, far from the small numbers
# added for blocks.
_STRIDE = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
EXIT_SECONDS = 30.0  # longest wait of an ending process for the next message of a fit
# Fields of a plan that change during the fit or may differ between ranks.
SCHEDULED = ("learning_rates", "weight_decays", "dropouts")
_PER_RANK = {"batch_size", "order", "step", "seed", "team", "sums", "share", *SCHEDULED}
_ROWS = "give the source of every rank the same number of steps a block"
_LAYOUT = "use CPUs with the same bfloat16 unit (fastmlp.show_config), or leave compute out"
_OPTIONS = "call fit with the same options on every rank, resume among them"
_CALLBACKS = "use the same callbacks on every rank, but for those that only look"


@contextlib.contextmanager
def joined(communicator: Any, engine: Engine) -> Iterator[DistributedFit]:
    """Join a distributed fit; an error ends it on all ranks."""
    exchange = Exchange(communicators.resolve(communicator), engine)
    with _ended_at_exit(exchange):
        try:
            yield DistributedFit(exchange, engine)
            exchange.gather([next_message("the end of the fit"), weights_of(engine)], is_last=True)
        except BaseException as error:
            exchange.end_for_all(error)
            raise


@contextlib.contextmanager
def _ended_at_exit(exchange: Exchange) -> Iterator[None]:
    """Let the end of the process end the fit of a daemon thread, not stop it within a step."""
    if not threading.current_thread().daemon:
        yield
        return
    ended = threading.Event()

    def leave() -> None:
        exchange.process_ends = True
        ended.wait(EXIT_SECONDS)

    atexit.register(leave)
    try:
        yield
    finally:
        atexit.unregister(leave)
        ended.set()


class DistributedFit:
    """One process of a distributed fit, whose rows are divided over the ranks."""

    def __init__(self, exchange: Exchange, engine: Engine) -> None:
        self.exchange, self.engine, self.rank = exchange, engine, exchange.rank
        self._epoch = -1  # last epoch in which weights were compared
        self._row = 0  # index in the global batch of this rank's first row

    def agree(
        self,
        fit: Any,
        reporter: CallbackList,
        evaluator: Evaluator,
        states: Sequence[ResumeState] | None,
    ) -> tuple[CallbackList, Evaluator]:
        """Return what calls the callbacks and evaluates on all ranks.

        Raises ValueError if options, data and models do not agree on all ranks.
        """
        spec, level, plan = self.engine.spec, self.engine.level, fit.plans[0]
        facts = [AgreedValue("CPU level", level, remedy="set FASTMLP_CPU on every rank")]
        for thing, left_out in ((spec, set()), (plan, _PER_RANK)):
            fields = dataclasses.fields(thing)
            names = [field.name for field in fields if field.name not in left_out]
            facts += [AgreedValue(name, described(getattr(thing, name))) for name in names]
        options = ("epochs", "batch_size", "shuffle", "averaging")
        facts += [AgreedValue(name, getattr(fit.options, name)) for name in options]
        facts.append(AgreedValue("validation_data", fit.has_validation))
        n_summed = self.engine.n_summed
        facts.append(AgreedValue("number of summed values", n_summed, remedy=_LAYOUT))
        resumed = states or ()
        common: dict[str, Any] = {"rows": 0, "batch_size": 0, "callbacks": (), "averaged": None}
        text = f"after {resumed[0].epochs} epochs" if resumed else "False"
        facts.append(AgreedValue("resume", [state._replace(**common) for state in resumed], text))
        draws = [repr(member.rng.bit_generator.state).encode() for member in fit.network.members]
        arrays = [*self.engine.state(optimizer=bool(resumed)).values()]
        for averaged in [state.averaged for state in resumed if state.averaged]:
            arrays += itertools.chain(*averaged.raw, *averaged.mean)
        facts.append(AgreedValue("rng", checksum(draws), remedy="pass the same seed on every rank"))
        facts.append(AgreedValue("the state of the model", checksum(arrays)))
        here = [reporter.sees_batches, reporter.has_checkpoint, plan.batch_size]
        moment = next_message("the start of the fit")
        ranks = self.exchange.gather([moment, *facts], here)
        self._row = int(ranks[: self.rank, 2].sum()) % 2**31
        sees_batches, has_checkpoint = bool(ranks[:, 0].any()), bool(ranks[:, 1].any())
        joint = DistributedCallbackList(reporter, self.exchange, sees_batches, has_checkpoint)
        return joint, DistributedEvaluator(self.engine, evaluator.validation, self.exchange)

    def distributed(self, strategy: Strategy, state: State) -> Distributed:
        """Return a strategy that trains in step with all ranks."""
        return Distributed(strategy, self, state)

    def padded(self, data: Measured, plan: Plan) -> Measured:
        """Return the data of a rank, with as many steps an epoch as on the rank with most of them.

        The missing steps have a further row, of weight 0. Sources are returned as they are.
        """
        steps = plan.n_steps(data.rows) if isinstance(data, Data) else 0
        ranks = self.exchange.gather([next_message("the number of steps")], [steps])
        most = int(ranks[:, 0].max())
        if not isinstance(data, Data) or steps == most:
            return data
        plan.order = np.minimum(np.arange((most - 1) * plan.batch_size + 1), data.rows)
        weights = np.zeros(1, self.engine.spec.dtype)
        row = dataclasses.replace(data.part(slice(1)), weights=weights)
        return dataclasses.replace(Data.joined([data, row]), flat_y=data.flat_y)

    def fingerprint(self, *datas: Any) -> int:
        """Return a 64-bit hash of the data of all ranks, see `callback_state.fingerprint`."""
        local = callback_state.fingerprint(*datas)
        halves = [local >> 32, local & 0xFFFFFFFF]
        ranks = self.exchange.gather([next_message("a fingerprint of the data")], halves)
        total = int.from_bytes(hashlib.sha256(ranks.tobytes()).digest()[:8], "little")
        return total if ranks.any(axis=1).all() else 0

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place, differently on each rank."""
        self.engine.shuffle(order, (seed + self.rank * _STRIDE) & _MASK)

    def train(self, block: Data, plan: Plan, strategy: Strategy, state: State) -> float:
        """Train on a block, in step with all ranks; return the objective over all rows."""
        epoch, rows = state.epoch + 1, block.rows if plan.order is None else len(plan.order)
        n_steps = plan.n_steps(rows)
        facts = [
            next_message("a block of rows"),
            AgreedValue("number of steps", n_steps, f"{n_steps} (with {rows} rows)", _ROWS),
            *(scheduled(name, getattr(plan, name)) for name in SCHEDULED),
        ]
        if self._epoch != epoch:  # callbacks may have assigned weights
            facts.append(weights_of(strategy.engines[0]))
        self._epoch = epoch
        weight_sum = plan.weight_sum or block.weight_sum(plan.order)
        ranks = self.exchange.gather(facts, weight_sum, steps=n_steps)
        totals = self.exchange.add(_counts(block, plan, rows))
        totals *= WeightSum(*ranks.sum(axis=0).tolist()[:2]).mean
        loss_sum, weight = plan.sums or (0.0, 0.0)
        plan.sums = [loss_sum if self.rank == 0 else 0.0, weight]  # added once, by rank 0
        plan.share = Shard(totals, self._row, self.rank == 0, self.exchange.add_up)
        try:
            loss = strategy.epoch(block, plan)
        except RankError as error:
            if not error.error.startswith(DivergenceError.__name__):
                raise
            caller = f"training on rank {error.rank}"
            raise loop.diverged(math.nan, plan, epoch, state.history, caller) from None
        if not math.isfinite(loss):
            caller = f"training on rank {self.rank}" if self.exchange.has_failed else "training"
            raise loop.diverged(loss, plan, epoch, state.history, caller)
        local, weight = plan.sums
        ranks = self.exchange.gather([next_message("the loss of a block")], [local])
        plan.sums = [float(ranks[:, 0].sum()), weight]
        return plan.sums[0] / weight if weight else 0.0


class Distributed:
    """Trains one network by another strategy, in step with the other processes of a fit."""

    def __init__(self, strategy: Strategy, ranks: DistributedFit, state: State) -> None:
        self.strategy, self.ranks, self.state = strategy, ranks, state
        self.engines = strategy.engines

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train on a block; return the objective over the rows of all processes."""
        return self.ranks.train(data, plan, self.strategy, self.state)

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place, differently on each rank."""
        self.ranks.shuffle(order, seed)

    def publish(self, epoch: int) -> None:
        """Give the model what an epoch has learned."""
        self.strategy.publish(epoch)


class DistributedEvaluator(Evaluator):
    """Computes the validation loss over the validation data of all ranks."""

    def __init__(self, engine: Engine, validation: Measured | None, exchange: Exchange) -> None:
        super().__init__(engine, validation)
        self.exchange = exchange

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the weighted mean loss over all ranks; NaN without validation data."""
        local, data = super().measure(loss, team), self.validation
        if data is None:
            return local
        weight, moment = data.total_weight, next_message("the validation loss")
        ranks = self.exchange.gather([moment], [local * weight, weight])
        total, weights, *_ = ranks.sum(axis=0).tolist()
        return float(total / weights)


class DistributedCallbackList(CallbackList):
    """Calls the callbacks of this rank; if one on any rank wants to stop, all ranks stop."""

    def __init__(
        self, here: CallbackList, exchange: Exchange, sees_batches: bool, has_checkpoint: bool
    ) -> None:
        super().__init__(here.state, here.callbacks, here.recorded)
        self.exchange = exchange
        self.sees_batches, self.has_checkpoint = sees_batches, has_checkpoint  # any rank counts

    def epoch_ended(self) -> bool:
        """Call every callback of this rank; return True if one on any rank wants to stop."""
        return self._of_all(super().epoch_ended(), "the end of an epoch")

    def batch_ended(self, batch: Batch) -> bool:
        """Call ``on_batch`` of this rank; return True if one on any rank wants to stop."""
        return self._of_all(super().batch_ended(batch), "the end of a batch")

    def _of_all(self, stop: bool, what: str) -> bool:
        stops = self.exchange.gather([next_message(what)], [stop])[:, 0]
        if stops.any() and not stop:
            self.state.history.stop_reason = f"a callback of rank {int(stops.argmax())}"
        return bool(stops.any())


def next_message(what: str) -> AgreedValue:
    """Return the kind of a message, which tells ranks apart that do different things."""
    return AgreedValue("the next message", what, remedy=f"{_OPTIONS}, and {_ROWS}")


def described(value: Any) -> str:
    """Return an option as text, without memory addresses."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x", str(value))


def checksum(parts: Iterable[Any]) -> str:
    """Return a hash of the bytes of some arrays, in their order."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, total)
    return f"{total:08x}"


def scheduled(name: str, values: NDArray[np.float64] | None) -> AgreedValue:
    """Return the values of a schedule, of which an error shows the ends."""
    if values is None:
        return AgreedValue(name, None)
    text = f"{values.flat[0]:g} to {values.flat[-1]:g} in {len(values)} steps"
    return AgreedValue(name, checksum([values]), text, f"{_CALLBACKS}; the same schedules, too")


def weights_of(engine: Engine) -> AgreedValue:
    """Return a checksum of the parameters."""
    arrays = [array for kind in engine.parameters() for array in kind]
    return AgreedValue("checksum of the weights", checksum(arrays), remedy=_CALLBACKS)


def _counts(block: Data, plan: Plan, rows: int) -> NDArray[np.float64]:
    """Return the number of rows whose weight is not 0 in each batch of this rank."""
    batches, weights = np.arange(rows) // plan.batch_size, block.weights
    if weights is not None:
        weights = (weights if plan.order is None else weights[plan.order]) != 0
    return np.bincount(batches, weights).astype(np.float64)
