"""The choice of the CPU level, the shuffle of every engine, and what is left with none compiled."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import children
import numpy as np
import pytest
import without_native

import fastmlp
from fastmlp._engine import compiled, cpu, cpu_levels, native, native_engine
from fastmlp._engine.numpy.random import shuffle
from fastmlp._models import config
from fastmlp._network import spec


def run_python(code, **environment):
    return children.python("-c", code, **environment)


def test_show_config(capsys):
    assert fastmlp.show_config() is None
    text = capsys.readouterr().out
    found = config.config()
    assert found["fastmlp"] == fastmlp.__version__
    assert found["CPU"] == config.cpu_model() != ""
    assert found["CPU level"] in found["levels available"]
    assert found["inputs at a time"] == f"{cpu.block_bytes() // 1024} KiB"
    assert set(found["levels available"]) <= set(found["levels built"]) <= set(native_engine.LEVELS)
    for name, value in found.items():
        assert name in text
        assert (value[0] if isinstance(value, list) else str(value)) in text


@pytest.mark.parametrize("level", native_engine.available_levels())
def test_forced_level(level):
    code = "import fastmlp._engine.native_engine as b, sys; print(b.level(), *sys.modules)"
    result = run_python(code, FASTMLP_CPU=level)
    assert result.stdout.split()[0] == level, result.stderr
    loaded = [name for name in result.stdout.split() if "_kernels_" in name]
    assert all(f"_kernels_{level}_" in name for name in loaded)


@pytest.mark.parametrize("level", ["sse9", "AVX2", "neon,avx2"])
def test_forced_level_that_does_not_exist(level):
    result = run_python("import fastmlp; fastmlp.MLP([1, 1])", FASTMLP_CPU=level)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: FASTMLP_CPU is {level!r}, no such level: choose one of")
    assert all(name in last for name in native_engine.available_levels())


BUILT = ("avx512", "avx2", "baseline")
CHOICES = [
    (None, BUILT, BUILT, "avx512"),
    ("", BUILT, BUILT, "avx512"),
    (None, BUILT, ("avx2", "baseline"), "avx2"),
    ("baseline", BUILT, BUILT, "baseline"),
    ("avx512", BUILT, ("avx2", "baseline"), "a level that this CPU does not support"),
    ("neon", BUILT, BUILT, "a level that was not built"),
    ("fast", BUILT, BUILT, "no such level"),
    (None, (), (), "no compiled kernels"),
    (None, ("avx2",), (), "no compiled kernels"),
]


@pytest.mark.parametrize(("forced", "built", "available", "expected"), CHOICES)
def test_choice_of_level(forced, built, available, expected):
    if " " not in expected:
        assert cpu_levels.choose(forced, built, available) == expected
        return
    with pytest.raises(ImportError, match=expected) as caught:
        cpu_levels.choose(forced, built, available)
    assert all(level in str(caught.value) for level in available)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ((), ["baseline"]),
        (("avx2",), ["baseline"]),
        (("avx2", "fma"), ["avx2", "baseline"]),
        (("avx2", "fma", "avx512f"), ["avx2", "baseline"]),
        (
            ("avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
            ["avx512", "avx2", "baseline"],
        ),
        (("neon",), ["neon", "baseline"]),
    ],
)
def test_levels_of_a_processor(monkeypatch, features, expected):
    monkeypatch.setattr(cpu_levels, "built_levels", lambda: tuple(cpu_levels.LEVELS))
    monkeypatch.setattr(cpu_levels.cpu, "features", lambda: frozenset(features))
    assert list(cpu_levels.available_levels.__wrapped__()) == expected


def shuffled(n, seed, level):
    order = np.arange(n)
    native.shuffle(order, seed, level)
    return order.tolist()


PRIMES = (211, 257, 1009, 7919, 104729)
SEEDS = (0, 1, 7, 2**32 - 1, 2**32, 0x9E3779B97F4A7C15, 2**64 - 1)


@pytest.mark.parametrize("level", native_engine.available_levels())
def test_a_shuffle_is_a_permutation_of_the_seed_the_same_in_both_engines(level):
    assert shuffled(12, 7, level) == [8, 7, 11, 10, 6, 2, 1, 3, 5, 9, 0, 4]
    assert shuffled(100, 5, level) != shuffled(100, 6, level)
    assert shuffled(100, 2**64 - 1, level) != shuffled(100, 2**32 - 1, level)
    for n in (*range(201), *PRIMES, 2**17 + 1):
        ours = np.arange(n)
        for seed in SEEDS if n < 300 else SEEDS[-2:]:
            theirs = ours.copy()  # each shuffles the order that it finds
            native.shuffle(theirs, seed, level)
            shuffle(ours, seed)
            assert np.array_equal(theirs, ours), (n, seed)
        assert np.array_equal(np.sort(ours), np.arange(n))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_shuffle_gives_every_order_equally_often(n):
    """Chi-squared: 24 orders of 4, 10,000 draws; 65 is exceeded once in a million."""
    orders = Counter(tuple(shuffled(n, seed, native_engine.level())) for seed in range(10_000))
    expected = 10_000 / math.factorial(n)
    assert len(orders) == math.factorial(n)
    assert sum((count - expected) ** 2 for count in orders.values()) / expected < 65


def test_too_many_rows_to_shuffle(tmp_path):
    order = np.memmap(tmp_path / "order", np.int64, "w+", shape=2**32)  # no disk, no memory: a hole
    with pytest.raises(ValueError, match="4294967296 rows.*shuffle=False"):
        compiled(spec.build([1, 1])).shuffle(order, 1)


# ---- nothing compiled ----------------------------------------------------------------------------


def without(how, code, folder):
    """Run code where no compiled module can be loaded, or where there is none."""
    program = f"import without_native; {code}"
    if how == "broken":
        program = f"import without_native; without_native.block(); {code}"
        return children.printed(children.python("-c", program, folders=children.FOLDERS))
    sources = folder / "fastmlp"
    shutil.copytree(Path(fastmlp.__file__).parent, sources, ignore=shutil.ignore_patterns("*.so"))
    paths = children.importing(folder, *children.FOLDERS)
    # A package without compiled modules looks for an installed one that has them.
    alone = "import pkgutil; pkgutil.extend_path = lambda path, name: path; "
    return children.printed(children.python("-c", alone + program, **paths))


@pytest.mark.parametrize("how", ["broken", "absent"])
def test_the_reference_needs_nothing_compiled(how, tmp_path):
    found = without(how, "without_native.report()", tmp_path)
    assert json.loads(found) == json.loads(json.dumps(without_native.everything()))


@pytest.mark.parametrize(
    ("before", "remedy"),
    [("", "with a C compiler"), ("import sys; sys.frozen = True; ", "--collect-all fastmlp")],
)
@pytest.mark.parametrize("how", ["broken", "absent"])
def test_what_is_compiled_says_that_it_is_not_there(how, before, remedy, tmp_path):
    messages = json.loads(without(how, f"{before}without_native.complaints()", tmp_path))
    assert len(messages) == 4
    for message in messages:
        assert "since fastmlp._engine.cpu is missing or broken" in message
        assert remedy in message
        assert "fastmlp.reference.MLP" in message


@pytest.mark.parametrize("module", ["cpu", "native"])
def test_a_compiled_module_that_is_missing_is_named(module):
    """As in a program that was frozen without it; others may import it."""
    code = f"import sys; sys.modules['fastmlp._engine.{module}'] = None; import fastmlp"
    result = children.python("-c", f"{code}; fastmlp.MLP([1, 1])")
    assert f"since fastmlp._engine.{module} is missing" in result.stderr.splitlines()[-1]
