"""The messages between the ranks of a distributed fit, so that a failure on one rank ends all.

Every message is a sum over all ranks of arrays of equal length. A control message carries from each
rank facts, which must agree, and values. It may announce a block of steps; then one message with
the weights of the batches follows, and one message per step with the gradients. So every rank
knows which message the others wait for. A failed rank sends that message with a mark; then each
rank sends its error text in a last message, and all raise the error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.communicators import Communicator
from fastmlp._engine.protocol import Engine
from fastmlp._network.data import Shard

FACTS, VALUES = 32, 3  # largest number per rank in a control message
TEXT = 1000  # largest length of a rank's error text, in bytes
_NOTHING = -1  # number of steps left that marks the end of the fit

Message = NDArray[Any]


class RankError(RuntimeError):
    """The error of a fit by several processes of which another one has failed.

    The fit has ended on all processes.

    Attributes
    ----------
    rank : int
        Rank of the first process that failed.
    error : str
        Type and message of its error.

    Examples
    --------
    >>> import fastmlp
    >>> def fit_or_say(net, X, y, communicator):
    ...     try:
    ...         net.fit(X, y, communicator=communicator)
    ...     except fastmlp.RankError as error:
    ...         print(f"process {error.rank} failed: {error.error}")
    """

    rank = 0
    error = ""


class AgreedValue(NamedTuple):
    """A value that must be equal on all ranks."""

    name: str  # the user's
    value: Any  # compared by its `str`
    text: str = ""  # replaces the value in the error message
    remedy: str = "pass the same on every rank"

    def digest(self) -> int:
        """Return a 48-bit hash of the value, which a float64 represents exactly."""
        return int.from_bytes(hashlib.blake2b(str(self.value).encode(), digest_size=6).digest())


class Exchange:
    """Sends the messages of one rank during one fit."""

    def __init__(self, communicator: Communicator, engine: Engine) -> None:
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self._communicator, self._engine = communicator, engine
        self._facts: Sequence[AgreedValue] = ()
        self._steps = 0  # number of steps in the last announced block
        # The message under way, and the number of messages left in the block if it has failed and
        # if it has succeeded. One tuple, so that an interrupt sees all of a change or nothing.
        self._now: tuple[Message | None, int, int] = None, 0, 0
        self.has_failed = self._is_over = self.process_ends = False

    def gather(
        self,
        facts: Sequence[AgreedValue],
        values: Sequence[float] = (),
        steps: int = 0,
        is_last: bool = False,
    ) -> NDArray[np.float64]:
        """Return all ranks' values, (size, VALUES); raise ValueError for facts, else RankError."""
        # ``steps`` announces a block of steps, and ``is_last`` the end of the fit.
        message = self._empty(0)
        row = _by_rank(message, self.size)[self.rank]
        row[: len(facts)] = [fact.digest() for fact in facts]
        row[FACTS : FACTS + len(values)] = values
        self._facts, self._steps = facts, steps
        self._send(message, _NOTHING if is_last else steps + 1 if steps else 0)
        return _by_rank(message, self.size)[:, FACTS:]

    def add(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over ranks of one value per step of the announced block."""
        message = self._empty(self._steps + 1)
        message[: self._steps] = values
        self._send(message, self._steps)
        return message[: self._steps]

    def add_up(self, gradients: Message, failed: bool) -> None:
        """Sum the gradients of a step over ranks in place, see `Shard.add_up`."""
        self.has_failed = bool(failed)
        self._send(gradients, self._now[2] - 1)

    def end_for_all(self, error: BaseException) -> None:
        """Tell all ranks that this one has failed, unless they know already."""
        if self._is_over:
            return
        message, before, after = self._now
        went_through = message is not None and message[-2] > 1
        left = before if message is not None and not went_through else after
        try:
            if not (message is not None and went_through and self._is_bad(message, before)):
                if left == _NOTHING:
                    return  # all ranks have sent their last message
                last = self._empty(left)
                last[-Shard.NOTES :] = 1
                self._communicator.allreduce(last)
            self._conclude(1, _text_of(error))
        except Exception as lost:  # report the first error
            error.add_note(f"and the other ranks could not be told ({lost})")
        if self.size > 1:
            error.add_note(f"on rank {self.rank} of {self.size}, and so the fit has ended on all")

    def _empty(self, left: int) -> Message:
        """Return a zeroed message for a given number left in the block; 0: a control message."""
        if left == 0:
            return np.zeros(self.size * (FACTS + VALUES) + Shard.NOTES)
        if left == self._steps + 1:
            return np.zeros(self._steps + Shard.NOTES)
        return np.zeros(self._engine.n_summed, self._engine.spec.dtype)

    def _send(self, message: Message, after: int) -> None:
        if self.process_ends:
            raise RuntimeError("the process ended during the fit, which a daemon thread called")
        before = self._now[2]
        message[-Shard.NOTES :] = 1, self.has_failed
        self._now = message, before, after
        try:
            self._communicator.allreduce(message)
        except Exception as error:
            self._is_over = True
            raise RuntimeError(
                f"the communicator failed on rank {self.rank} of {self.size} "
                f"({type(error).__name__}: {error}): another rank may have died, start all again"
            ) from error
        if message[-Shard.NOTES] != self.size:
            self._is_over = True
            raise RuntimeError(
                f"the communicator made {message[-Shard.NOTES]:g} of a one from each of "
                f"{self.size} ranks but {self.size} is expected: its allreduce must replace the "
                "array itself by the sum over all ranks"
            )
        if not self._is_bad(message, before):
            self._now = None, after, after
        elif not self.has_failed:
            raise self._complaint(message)

    def _is_bad(self, message: Message, left: int) -> bool:
        """Return whether a delivered message ends the fit: a failure, or facts that differ."""
        return bool(message[-1] > 0) or (left == 0 and self._difference(message) is not None)

    def _difference(self, message: Message) -> tuple[int, int] | None:
        """Return the index of the first differing fact and the rank that differs from rank 0."""
        facts = _by_rank(message, self.size)[:, :FACTS].T
        different = np.argwhere(facts != facts[:, :1])
        return None if len(different) == 0 else (int(different[0, 0]), int(different[0, 1]))

    def _complaint(self, message: Message) -> Exception:
        """Return the error for a bad message, after exchanging the texts of all ranks."""
        at, other = (message[-1] == 0 and self._difference(message)) or (-1, 0)
        fact = self._facts[at] if at >= 0 else AgreedValue("", "")
        failed, texts = self._conclude(0, fact.text or str(fact.value))
        if at < 0 or any(failed):
            errors = [f"rank {r} of {self.size}: {texts[r]}" for r in range(self.size) if failed[r]]
            error = RankError(f"the fit was ended by {'; by '.join(errors) or 'another rank'}")
            error.rank = failed.index(True) if any(failed) else 0
            error.error = texts[error.rank]
            return error
        return ValueError(
            f"{fact.name} of rank {other} is {texts[other]} but {texts[0]} of rank 0: {fact.remedy}"
        )

    def _conclude(self, failed: int, text: str) -> tuple[list[bool], list[str]]:
        """Exchange the last message: whether each rank has failed, and its text."""
        self._is_over = True
        table = np.zeros((self.size, 1 + TEXT))
        characters = np.frombuffer(text.encode(errors="replace")[:TEXT], np.uint8)
        table[self.rank, 0], table[self.rank, 1 : 1 + len(characters)] = failed, characters
        self._communicator.allreduce(table.reshape(-1))
        texts = [row.astype(np.uint8).tobytes().rstrip(b"\0") for row in table[:, 1:]]
        return [bool(flag) for flag in table[:, 0]], [t.decode(errors="ignore") for t in texts]


def _text_of(error: BaseException) -> str:
    """Return an error as text; must not fail itself, because the other ranks wait."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:
        return type(error).__name__


def _by_rank(message: Message, size: int) -> Message:
    return message[: -Shard.NOTES].reshape(size, FACTS + VALUES)
