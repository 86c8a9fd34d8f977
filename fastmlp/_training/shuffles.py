"""The seeds of the shuffles of a fit, drawn from the generators of its members."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, repeat, zip_longest

import numpy as np
from numpy.typing import NDArray


class SharedGenerator:
    """Random numbers of one generator, given in turn to the members that share it."""

    def __init__(self, source: np.random.BitGenerator) -> None:
        self.source, self.members = source, 0
        self.drawn: array[int] = array("Q")
        # Each step draws a seed, 64 raw bits that are the same in every NumPy, and stores it: one
        # call, so that no interrupt can come between.
        self.draw = map(self.drawn.append, map(source.random_raw, repeat(None)))

    def join(self) -> int:
        """Add a member; return its place among those that take turns."""
        self.members += 1
        return self.members - 1


class Shuffles:
    """Seeds of the members' shuffles; ``used`` counts those of each member that were used."""

    def __init__(self, generators: Iterable[np.random.Generator]) -> None:
        self.used = 0
        self._streams: dict[int, SharedGenerator] = {}
        self._places: list[tuple[SharedGenerator, int]] = []  # one a member
        for rng in generators:
            source = rng.bit_generator
            stream = self._streams.setdefault(id(source), SharedGenerator(source))
            self._places.append((stream, stream.join()))

    def resume(self, drawn: Sequence[Sequence[int]], used: int) -> None:
        """Continue with the seeds drawn before."""
        self.used = used
        for stream in self._streams.values():
            places = zip(drawn, self._places, strict=True)
            turns = zip_longest(*(seeds for seeds, (its, _) in places if its is stream))
            stream.drawn.extend(seed for turn in turns for seed in turn if seed is not None)

    def drawn(self, k: int) -> Sequence[int]:
        """Return a member's seeds: the used ones, and perhaps more."""
        stream, place = self._places[k]
        return stream.drawn if stream.members == 1 else stream.drawn[place :: stream.members]

    def next_seed(self) -> int:
        """Return the seed of the next epoch of a single member."""
        stream = self._places[0][0]
        self.used += 1
        if len(stream.drawn) < self.used:
            next(stream.draw)
        return stream.drawn[self.used - 1]

    def take(self, n: int) -> list[NDArray[np.uint64]]:
        """Return the seeds of the next n epochs of each member."""
        first, end = self.used, self.used + n
        for stream in self._streams.values():
            any(islice(stream.draw, max(0, end * stream.members - len(stream.drawn))))
        self.used = end
        drawn = [
            stream.drawn[first * stream.members + place : end * stream.members : stream.members]
            for stream, place in self._places
        ]
        return [np.frombuffer(seeds, np.uint64) for seeds in drawn]

    def undo(self) -> Callable[[], None]:
        """Return a function that restores the generators and the numbers of seeds."""
        used, streams = self.used, self._streams.values()
        drawn = [(stream, stream.source.state, len(stream.drawn)) for stream in streams]

        def undo() -> None:
            self.used = used
            for stream, state, n in drawn:
                stream.source.state = state
                del stream.drawn[n:]

        return undo
