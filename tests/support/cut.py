"""Saves that are cut short: killed at random times and at each system call, on full disks.

Whatever happens to a process that saves, the file is the old model or the new one, whole.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import stored
import trials

import fastmlp
from fastmlp._core import atomic_files

KILLS = int(os.environ.get("FASTMLP_KILLS", "30"))  # a turn of the trial
LONGEST_WAIT = 0.01  # seconds before a kill: some saves
OLD, NEW = [3, 60, 2], [5, 300, 300, 1]

Hook = Callable[[int, str], None]  # is given the number and the name of a system call

# The system calls of a save, in which it may end or fail.
CALLS = ("open", "fchmod", "write", "fsync", "replace", "close")


def model(sizes: list[int]) -> fastmlp.MLP:
    return fastmlp.MLP(sizes, rng=0)


@contextlib.contextmanager
def saved() -> Iterator[Path]:
    """Give the path of the old model, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        model(OLD).save(path)
        yield path


def whole(path: Path) -> list[int]:
    """Return the sizes of the model in a file; fail if it is not whole or has other files near."""
    sizes = list(fastmlp.load(path).layer_sizes)
    left = {each.name for each in path.parent.iterdir()} - {path.name}
    assert all(each.startswith(atomic_files.TEMPORARY.format(path.name)) for each in left), left
    assert sizes in (OLD, NEW)
    return sizes


def intercept(before: Hook, after: Hook) -> None:
    """Have functions called around each system call of this process, which are counted."""
    count = 0

    def around(name: str, call: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        now = count
        before(now, name)
        result = call(*arguments, **options)
        after(now, name)
        return result

    for name in CALLS:
        setattr(os, name, functools.partial(around, name, getattr(os, name)))


def nothing(at: int, name: str) -> None:
    """Stand where something else could happen."""


def calls_of_a_save() -> list[str]:
    """Return the system calls of a save over an old file."""
    with saved() as path, tempfile.TemporaryFile("w+") as told:

        def tell() -> None:
            new = model(NEW)
            intercept(lambda at, name: told.write(f"{name} "), nothing)
            new.save(path)
            told.flush()

        trials.forked(tell)
        told.seek(0)
        return told.read().split()


def ended(work: Callable[[], Any], kill_after: float | None = None) -> int:
    """Do work in a child, perhaps killed after some seconds; return its status, 1 of an error."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_after(work: Callable[[], Any], seconds: float) -> bool:
    """Do work in a child, and kill it after some time; return whether it was still at work."""
    status = ended(work, seconds)
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def killed(rng: np.random.Generator) -> Iterator[float]:
    """Kill processes that save one model after the other, at random times."""
    with saved() as path:

        def save() -> None:
            for net in itertools.cycle((model(OLD), model(NEW))):
                net.save(path)

        for _ in range(KILLS):
            assert killed_after(save, rng.uniform(0, LONGEST_WAIT))
            whole(path)
            yield 0.0
        model(NEW).save(path)
        assert [each.name for each in path.parent.iterdir()] == [path.name]


def saving(path: Path, before: Hook, after: Hook, told: bool = False) -> Callable[[], None]:
    """Return a save with functions around its system calls; ``told``: that must raise OSError."""

    def work() -> None:
        new = model(NEW)
        intercept(before, after)
        with contextlib.suppress(*[OSError] * told):
            new.save(path)
            assert not told, "nothing was said"

    return work


def killed_at_each_call(rng: np.random.Generator) -> Iterator[float]:
    """Kill a process before and after each system call of a save."""

    def end(at: int, now: int, name: str) -> None:
        if now == at:
            os.kill(os.getpid(), signal.SIGKILL)

    calls = calls_of_a_save()
    renamed = calls.index("replace") + 1
    for at, is_after in itertools.product(range(1, len(calls) + 1), (False, True)):
        killer = functools.partial(end, at)
        with saved() as path:
            hooks = (nothing, killer) if is_after else (killer, nothing)
            assert ended(saving(path, *hooks)) == -signal.SIGKILL
            assert whole(path) == (NEW if at >= renamed + 1 - is_after else OLD), (at, calls)
            yield 0.0


def failing(rng: np.random.Generator) -> Iterator[float]:
    """Let each system call of a save fail, as on a full disk."""

    def fail(at: int, now: int, name: str) -> None:
        if now == at:
            raise OSError(28, "no space left")

    calls = calls_of_a_save()
    for at, name in enumerate(calls, 1):
        with saved() as path:
            trials.forked(saving(path, functools.partial(fail, at), nothing, told=True))
            done = at > calls.index("replace") + 1
            assert whole(path) == (NEW if done else OLD), (at, name)
            assert [each.name for each in path.parent.iterdir()] == [path.name], name
            yield 0.0


def limited(rng: np.random.Generator) -> Iterator[float]:
    """Save with room for less and less of the file."""
    size = len(stored.text_of(model(NEW)))
    for room in range(0, size, max(1, size // 40)):
        with saved() as path:
            trials.forked(functools.partial(_with_room, path, room))
            assert whole(path) == OLD
            assert [each.name for each in path.parent.iterdir()] == [path.name]
            yield 0.0


def _with_room(path: Path, room: int) -> None:
    save = saving(path, nothing, nothing, told=True)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    save()


TRIALS = {
    "killed at random times": killed,
    "killed at each call": killed_at_each_call,
    "calls that fail": failing,
    "no room": limited,
}
