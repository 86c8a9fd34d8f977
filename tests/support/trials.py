"""How faults are tried: in children, with a watchdog, counted. Tests and the campaign use it alike.

A trial is a generator function of a random generator, its luck. It yields once for each thing it
has tried: the seconds that the thing kept somebody waiting, 0 where that is not the question. It
fails by raising. A group is a table of trials; one that crashes or hangs takes its child with it
and is counted, and the next child goes on with the trials after it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import importlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import children
import numpy as np

from fastmlp._core import worker

Trial = Callable[[np.random.Generator], Iterator[float]]
NamedTrial = tuple[str, str]  # group, name
SEPARATOR = ": "  # no group has it in its name

# Group: where its table stands, and its share of a campaign's time.
GROUPS: dict[str, tuple[str, float]] = {
    "fuzz of MLP": ("fuzz_calls.TRIALS", 6),
    "fuzz of the estimators": ("fuzz_estimators.TRIALS", 6),
    "sparse rows": ("agreement.SPARSE", 3),
    "derivatives": ("agreement.DERIVATIVES", 3),
    "training against PyTorch": ("agreement.TORCH", 3),  # no trial without PyTorch
    "rules": ("agreement.RULES", 2),
    "files replaced meanwhile": ("replaced_files.CHANGES", 2),
    "out of memory": ("injection.MEMORY", 3),
    "out of memory for arrays": ("injection_arrays.MEMORY", 3),
    "threads that cannot start": ("injection.THREADS", 3),
    "near the memory limit": ("injection.LIMITS", 4),
    "interrupts": ("disturbances.SIGNALS", 6),
    "forks": ("disturbances.FORKS", 4),
    "exits with threads running": ("surroundings.EXITS", 3),
    "affinity changed meanwhile": ("surroundings.AFFINITY", 2),
    "divergence": ("extremes.DIVERGENCE", 4),
    "extreme values": ("extremes.VALUES", 2),
    "hostile files": ("hostile.TRIALS", 4),
    "saves cut short": ("cut.TRIALS", 2),
    "the machinery itself": ("trials.SELF", 0),
}
# Even a busy machine needs less.
HANG_SECONDS = float(os.environ.get("FASTMLP_HANG_SECONDS", "120"))
FORK_SECONDS = HANG_SECONDS / 3
LAST_WORDS = int(os.environ["FASTMLP_LAST_WORDS"]) if "FASTMLP_LAST_WORDS" in os.environ else None


@dataclass
class Outcome:
    """What came of one trial, or of all trials of a group."""

    tried: int = 0
    failed: int = 0
    longest: float = 0.0  # seconds
    growth: int = 0  # bytes of resident memory, after the first third
    messages: list[str] = field(default_factory=list)

    def __iadd__(self, other: Outcome) -> Outcome:
        self.tried += other.tried
        self.failed += other.failed
        self.longest = max(self.longest, other.longest)
        self.growth = max(self.growth, other.growth)
        self.messages += other.messages
        return self


def table(group: str) -> dict[str, Trial]:
    """Return the trials of a group; its module is imported only here."""
    module, name = GROUPS[group][0].split(".")
    found: dict[str, Trial] = getattr(importlib.import_module(module), name)
    return found


def chosen(session: Any) -> Callable[[NamedTrial], None]:
    """Return what a test calls: fail as one trial of a group has failed.

    The trials of one test that the session has chosen are run together, once, in one child: to
    start it and to import scikit-learn takes longer than most groups of trials.
    """
    together: dict[str, list[NamedTrial]] = {}
    batches: dict[NamedTrial, list[NamedTrial]] = {}
    for item in session.items:
        if "trial" in getattr(item, "fixturenames", ()):
            trial = item.callspec.params["trial"]
            batches[trial] = together.setdefault(item.nodeid.partition("[")[0], [])
            batches[trial].append(trial)
    outcomes: dict[NamedTrial, Outcome] = {}

    def check(trial: NamedTrial) -> None:
        if trial not in outcomes:
            outcomes.update(run(batches[trial], seconds=None, seed=0))
        outcome = outcomes[trial]
        assert not outcome.failed, "\n".join(outcome.messages)
        assert outcome.tried, "nothing was tried"

    return check


def every(*groups: str) -> list[NamedTrial]:
    """Return the trials of some groups, as tests are parametrized with them."""
    return [(group, name) for group in groups for name in table(group)]


def run(
    trials: Sequence[NamedTrial], seconds: float | None, seed: int
) -> dict[NamedTrial, Outcome]:
    """Run trials for some seconds altogether, or each of them once."""
    outcomes: dict[NamedTrial, Outcome] = {}
    limit = [] if seconds is None else ["--seconds", str(seconds / len(trials))]
    while left := [trial for trial in trials if trial not in outcomes]:
        with tempfile.TemporaryFile() as words:
            child = children.python(
                *("-W", "ignore", __file__, *map(SEPARATOR.join, left)),
                *("--seed", str(seed), *limit),
                timeout=None,
                folders=[children.TESTS],
                pass_fds=[words.fileno()],
                FASTMLP_LAST_WORDS=str(words.fileno()),
            )
            said = words.read().decode().strip()
        for line in child.stdout.splitlines():
            if line.startswith("["):
                group, name, found = json.loads(line)
                outcomes[group, name] = Outcome(**found)
        unfinished = [trial for trial in left if trial not in outcomes]
        if unfinished:  # the first of them was running when the child ended
            how = f"the child ended with {child.returncode}\n{said}\n{useful(child.stderr)}"
            outcomes[unfinished[0]] = Outcome(1, 1, messages=[f"{unfinished[0][1]}: {how}"])
    return outcomes


def run_here(name: str, trial: Trial, seconds: float | None, seed: int) -> Outcome:
    """Run one trial in this process: again and again for some seconds, or once."""
    outcome, early = Outcome(), None
    began = time.monotonic()
    for turn in itertools.count():
        try:
            for waited in trial(np.random.default_rng([seed, turn])):
                outcome += Outcome(tried=1, longest=waited)
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
                passed = time.monotonic() - began
                if seconds is not None and early is None and passed > seconds / 3:
                    early = resident()
                if seconds is not None and passed > seconds:
                    break
        except (Exception, KeyboardInterrupt):
            message = f"{name}, seed {seed}, turn {turn}: {traceback.format_exc(limit=-6)}"
            outcome += Outcome(1, 1, messages=[message][: outcome.failed == 0])
        if seconds is None or time.monotonic() - began > seconds:
            break
    outcome.growth = 0 if early is None else max(0, resident() - early)
    return outcome


def resident() -> int:
    """Return the bytes of memory that this process has, 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_of(call: Callable[[], Any]) -> tuple[int, Any]:
    """Return the most bytes that a call had allocated at once, and its result."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def forked(work: Callable[[], Any], seconds: float = FORK_SECONDS) -> float:
    """Do work in a forked child and return how long it took; fail if it fails or hangs."""
    began = time.perf_counter()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 2)  # where faulthandler writes, and the parent reads
        try:
            work()
        except BaseException:
            traceback.print_exc(limit=-6)
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as messages:
        status = wait_for(child, seconds)
        said = "" if status == 0 else useful(messages.read())
    assert status == 0, f"the forked child {'hung' if status is None else status}: {said}"
    return time.perf_counter() - began


def wait_for(child: int, seconds: float) -> int | None:
    """Return the exit status of a child, or minus its signal; end one that hangs, for None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGABRT)  # faulthandler says where it hung
    os.waitpid(child, 0)
    return None


def useful(errors: str) -> str:
    """Return the end of what a process has said, without the list of modules it had loaded."""
    lines = [line for line in errors.splitlines() if not line.startswith("Extension modules")]
    return "\n".join(lines)[-3000:]


def note(text: str) -> None:
    """Write down what is about to be tried, in case the process does not survive it."""
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    if LAST_WORDS is not None:
        os.pwrite(LAST_WORDS, text.encode(errors="replace")[:4000].ljust(4000), 0)


def workers() -> int:
    """Return how many threads of `fastmlp._core.worker` are at work."""
    running = worker._run.__code__
    stacks = (traceback.walk_stack(frame) for frame in sys._current_frames().values())
    return sum(frame.f_code is running for stack in stacks for frame, _ in stack)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so; fail if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds:g} seconds"
        time.sleep(0.002)


def _fails(rng: np.random.Generator) -> Iterator[float]:
    yield 0.0
    raise AssertionError("seen")


# What must be counted as failed, and what must not, for a test of all this.
SELF: dict[str, Trial] = {
    "holds": lambda rng: iter([0.25, 0.5]),
    "crashes": lambda rng: map(signal.raise_signal, [signal.SIGSEGV]),
    "hangs": lambda rng: map(time.sleep, [100.0]),
    "fails": _fails,
    "a child that hangs": lambda rng: map(forked, [functools.partial(time.sleep, 100.0)]),
    "holds too": lambda rng: iter([0.0]),
}


def main() -> None:
    """Run trials here, and print a line of JSON for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trials", nargs="+", help=f"GROUP or GROUP{SEPARATOR}NAME")
    parser.add_argument("-s", "--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faulthandler.enable()
    for words in options.trials:
        group, _, name = words.partition(SEPARATOR)
        trials = table(group)
        for each in [name] if name else trials:
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            outcome = run_here(each, trials[each], options.seconds, options.seed)
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps([group, each, vars(outcome)]), flush=True)
    faulthandler.cancel_dump_traceback_later()
    # Not through the interpreter's own end: what is tried there, exits try.
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    importlib.import_module("trials").main()  # one copy of this module, which the others import
