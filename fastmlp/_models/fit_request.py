"""What a fit is asked to do: the one argument of `Runner` and `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastmlp._core.history import State
from fastmlp._core.intervals import check_count, check_flag, check_verbose
from fastmlp._training.loop import Evaluator
from fastmlp._validation import check

if TYPE_CHECKING:
    from fastmlp._engine.plan import Plan
    from fastmlp._network.averaging import Averaging


@dataclass(eq=False)
class FitRequest:
    """What a fit is asked to do: models, their checked data and plans, and the user's options."""

    owner: Any  # the MLP or the ensemble whose method was called
    members: Sequence[Any]  # the networks to train
    engine: Any  # that of the MLP, or those of all members as one
    data: Sequence[Any]  # of each network
    plans: Sequence[Plan]  # of each network
    fingerprint_data: Sequence[Sequence[Any]]  # of each network, to recognise it when resuming
    evaluator: Callable[[State], Evaluator]
    has_validation: bool
    team: AbstractContextManager[Any]
    epochs: Any
    batch_size: Any  # as the user gave it, to compare between processes
    shuffle: Any
    verbose: Any
    averaging: Averaging | None
    callbacks: Any
    resume: Any
    ranks: Any = None  # the processes of a distributed fit

    def __post_init__(self) -> None:
        self.epochs = check_count("epochs", self.epochs, example=20)
        self.shuffle = check_flag("shuffle", self.shuffle)
        self.verbose = check_verbose(self.verbose)
        if self.averaging is not None:
            check.averaging(self.averaging, self.epochs)
        self.is_joint = self.owner is not self.members[0]  # an ensemble's, which has no batches
        self.callbacks = check.callbacks(self.callbacks, "Ensemble" if self.is_joint else "")
        self.path = None  # of the checkpoint to resume
        if self.resume is not False:
            self.resume, self.path = check.resume(self.resume)
