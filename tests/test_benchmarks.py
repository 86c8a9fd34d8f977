"""The benchmarks' own small parts: statistics of timings, sizes, and that every script starts."""

from __future__ import annotations

import sys
from pathlib import Path

import children
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
harness = pytest.importorskip("harness", reason="needs the folder benchmarks")
SCRIPTS = sorted(
    path.name
    for path in BENCHMARKS.glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(script: str) -> None:
    found = children.python(BENCHMARKS / script, "--help", folders=[BENCHMARKS])
    assert "usage:" in children.printed(found)


def test_timing_of_several_turns() -> None:
    timing = harness.Timing.of([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (timing.median, timing.best, timing.turns) == (3.0, 1.0, 5)
    assert timing.spread == pytest.approx(0.5)  # quartiles 1.5 and 4.5
    assert harness.Timing.of([2.0]).spread == 0


def test_candidates_take_turns_and_only_after_the_check() -> None:
    calls: list[str] = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = harness.interleave(candidates, check=lambda: calls.append("!"), rounds=3, turn=1e-6)
    assert calls[0] == "!"
    assert set(calls[1:]) == {"a", "b"}
    assert [timing.turns for timing in timings.values()] == [3, 3]

    def fail() -> None:
        raise AssertionError("wrong result")

    calls.clear()
    with pytest.raises(AssertionError, match="wrong result"):
        harness.interleave(candidates, check=fail)
    assert calls == []


@pytest.mark.parametrize("parameters", [1_000, 100_000, 10_000_000])
def test_networks_of_the_scaling_have_about_so_many_parameters(parameters: int) -> None:
    scaling = pytest.importorskip("scaling")
    case = scaling.network(parameters, 2_048)
    assert scaling.count(case) == pytest.approx(parameters, rel=0.05)
