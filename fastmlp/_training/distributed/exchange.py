"""The messages of a fit of many processes: who has failed is heard by all, and nobody waits for it.

Every message is a sum over all ranks of arrays of one length. A control message brings from each
rank facts, which must agree, and values; it may announce a block of steps, whose messages follow:
the batches' weights, then one a step with the gradients. So every rank knows at any time what the
others wait for. One that has failed sends just that, marked; then each says in a last
message what was wrong, and all raise it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.communicators import Communicator
from fastmlp._engine.protocol import Engine
from fastmlp._network.shard import Shard

FACTS, VALUES = 32, 3  # of each rank in a control message, at most
TEXT = 1000  # bytes of what a rank says last
_NOTHING = -1  # is left after the last control message

Message = NDArray[Any]


class RankError(RuntimeError):
    """Another process of a fit with a communicator has failed, and so the fit has ended on all.

    Attributes
    ----------
    rank : int
        Of the first process that failed.
    error : str
        Its error, type and message.
    """

    rank = 0
    error = ""


class AgreedValue(NamedTuple):
    """What must be the same on all ranks.

    Attributes
    ----------
    name : str
        As users know it.
    value : object
        Two are the same if their `str` is.
    text : str
        What to say instead of it, if not all have the same.
    remedy : str
        What to do then.
    """

    name: str
    value: Any
    text: str = ""
    remedy: str = "pass the same on every rank"

    def digest(self) -> int:
        """Return 48 bits of the value: a float64 holds them."""
        return int.from_bytes(hashlib.blake2b(str(self.value).encode(), digest_size=6).digest())


class Exchange:
    """The messages of one rank in one fit.

    Parameters
    ----------
    communicator : Communicator
        That sums.
    engine : Engine
        Whose gradients it will sum.
    """

    def __init__(self, communicator: Communicator, engine: Engine) -> None:
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self._communicator = communicator
        self._summed, self._dtype = engine.n_summed, engine.spec.dtype
        self._facts: Sequence[AgreedValue] = ()
        self._steps = 0  # of the block that was announced last
        # The message under way, and how many of the block are left if it has not gone through, and
        # if it has: one object, so that an interrupt finds all or nothing of a change.
        self._now: tuple[Message | None, int, int] = None, 0, 0
        self.has_failed = self._is_over = False

    def gather(
        self,
        facts: Sequence[AgreedValue],
        values: Sequence[float] = (),
        steps: int = 0,
        is_last: bool = False,
    ) -> NDArray[np.float64]:
        """Return the values of every rank, (size, VALUES).

        Announce a block of some steps, or none, or that all is over.

        Raises
        ------
        ValueError
            If not all ranks have the same facts.
        RankError
            If another has failed.
        """
        message = self._empty(0)
        own = _by_rank(message, self.size)[self.rank]
        own[: len(facts)] = [fact.digest() for fact in facts]
        own[FACTS : FACTS + len(values)] = values
        self._facts, self._steps = facts, steps
        self._send(message, _NOTHING if is_last else steps + 1 if steps else 0)
        return _by_rank(message, self.size)[:, FACTS:]

    def add(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over ranks of one value for each step of the block that was announced."""
        message = self._empty(self._steps + 1)
        message[: self._steps] = values
        self._send(message, self._steps)
        return message[: self._steps]

    def add_up(self, gradients: Message, failed: bool) -> None:
        """Sum the gradients of a step over ranks in place, see `Shard.add_up`."""
        self.has_failed = bool(failed)
        self._send(gradients, self._now[2] - 1)

    def end_for_all(self, error: BaseException) -> None:
        """Tell all that this rank has failed, where they do not know yet."""
        if self._is_over:
            return
        message, before, after = self._now
        went_through = message is not None and message[-2] > 1
        left = before if message is not None and not went_through else after
        try:
            if not (message is not None and went_through and self._is_bad(message, before)):
                if left == _NOTHING:
                    return  # the others have ended well
                last = self._empty(left)
                last[-Shard.NOTES :] = 1
                self._communicator.allreduce(last)
            self._conclude(1, _said(error))
        except Exception as lost:  # the first error is what counts
            error.add_note(f"and the other ranks could not be told ({lost})")
        if self.size > 1:
            error.add_note(f"on rank {self.rank} of {self.size}, and so the fit has ended on all")

    def _empty(self, left: int) -> Message:
        """Return a message with which so many of its block are left; 0: a control message."""
        if left == 0:
            return np.zeros(self.size * (FACTS + VALUES) + Shard.NOTES)
        if left == self._steps + 1:
            return np.zeros(self._steps + Shard.NOTES)
        return np.zeros(self._summed, self._dtype)

    def _send(self, message: Message, after: int) -> None:
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
        """Return whether a message that went through is the last before the end."""
        return bool(message[-1] > 0) or (left == 0 and self._difference(message) is not None)

    def _difference(self, message: Message) -> tuple[int, int] | None:
        """Return the first fact, and then the first rank, that differs from rank 0."""
        facts = _by_rank(message, self.size)[:, :FACTS].T
        found = np.argwhere(facts != facts[:, :1])
        return None if len(found) == 0 else (int(found[0, 0]), int(found[0, 1]))

    def _complaint(self, message: Message) -> Exception:
        """Return what all others say about a bad message, after the last exchange."""
        at, other = (message[-1] == 0 and self._difference(message)) or (-1, 0)
        fact = self._facts[at] if at >= 0 else AgreedValue("", "")
        failed, texts = self._conclude(0, fact.text or str(fact.value))
        if at < 0 or any(failed):
            own = [f"rank {r} of {self.size}: {texts[r]}" for r in range(self.size) if failed[r]]
            error = RankError(f"the fit was ended by {'; by '.join(own) or 'another rank'}")
            error.rank = failed.index(True) if any(failed) else 0
            error.error = texts[error.rank]
            return error
        return ValueError(
            f"{fact.name} of rank {other} is {texts[other]} but {texts[0]} of rank 0: {fact.remedy}"
        )

    def _conclude(self, failed: int, text: str) -> tuple[list[bool], list[str]]:
        """Exchange the last message: who has failed, and what each has to say."""
        self._is_over = True
        table = np.zeros((self.size, 1 + TEXT))
        said = np.frombuffer(text.encode(errors="replace")[:TEXT], np.uint8)
        table[self.rank, 0], table[self.rank, 1 : 1 + len(said)] = failed, said
        self._communicator.allreduce(table.reshape(-1))
        texts = [row.astype(np.uint8).tobytes().rstrip(b"\0") for row in table[:, 1:]]
        return [bool(flag) for flag in table[:, 0]], [t.decode(errors="ignore") for t in texts]


def _said(error: BaseException) -> str:
    """Return what an error is, whatever its class makes of itself: the others wait for it."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:
        return type(error).__name__


def _by_rank(message: Message, size: int) -> Message:
    return message[: -Shard.NOTES].reshape(size, FACTS + VALUES)
