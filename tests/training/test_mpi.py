"""Real processes, started by mpiexec: what threads as ranks cannot show (test_processes.py)."""

import importlib.util
import json
import re
import shutil

import cases
import children
import numpy as np
import pytest

import fastmlp

MPIEXEC = shutil.which("mpiexec")
IS_THERE = MPIEXEC is not None and importlib.util.find_spec("mpi4py") is not None
pytestmark = [
    pytest.mark.skipif(not IS_THERE, reason="no mpi4py or mpiexec: pip install mpi4py mpich"),
    pytest.mark.skipif(bool(children.RUNNER), reason="an emulator cannot start mpiexec"),
]
SIZES = (1, 2, 4)


def mpi(size, folder, work, *options):
    """Run process_ranks.py on some ranks; returns the process, and what each rank has written."""
    program = children.TESTS / "process_ranks.py"
    ended = children.python(
        *options, program, folder, work, starter=[MPIEXEC, "-n", str(size)],
        folders=[children.TESTS], cwd=folder,
    )  # fmt: skip
    found = [folder / str(rank) for rank in range(size)]
    return ended, [json.loads(path.read_text()) for path in found if path.exists()]


def test_processes_train_as_one_and_repeat_it(tmp_path):
    for size in SIZES:
        runs = []
        for run in "ab":
            folder = tmp_path / f"{size}{run}"
            folder.mkdir()
            ended, found = mpi(size, folder, "equal")
            children.printed(ended)
            assert len(found) == size
            assert all(each == found[0] for each in found)
            runs.append(found[0])
        assert runs[0] == runs[1]
        for dtype in cases.DTYPES:
            both = [runs[0][f"{how} {dtype}"] for how in ("alone", "together")]
            alone, together = ((losses, np.array(weights)) for losses, weights, _ in both)
            cases.agree(dtype, alone, together, together)


def test_a_process_that_fails_ends_the_fit_of_all_and_the_next_fit_is_good(tmp_path):
    ended, found = mpi(3, tmp_path, "failures")
    children.printed(ended)
    assert len(found) == 3
    *told, last = found
    assert [each["equal"] for each in told] == [last["equal"]] * 2
    assert last["raises"][:2] == ["ValueError", "of a callback"]
    assert last["is_interrupted"][0] == "KeyboardInterrupt"
    for each in told:
        said = "the fit was ended by rank 2 of 3: ValueError: of a callback"
        assert each["raises"] == ["RankError", said, 2]
        said = "the fit was ended by rank 2 of 3: KeyboardInterrupt"
        assert each["is_interrupted"] == ["RankError", said, 2]
    for each in found:
        assert each["diverges"][0] == "DivergenceError"
        assert "training on rank 2 diverged in epoch 0" in each["diverges"][1]
        assert each["differs"][:2] == [
            "ValueError",
            "dtype of rank 2 is float64 but float32 of rank 0: pass the same on every rank",
        ]


@pytest.mark.parametrize(
    ("work", "options", "said"),
    [
        ("exits", (), ""),
        ("is_killed", (), ""),
        ("is_not_caught", ("-m", "mpi4py"), "ZeroDivisionError"),
    ],
)
def test_a_process_that_is_gone_takes_all_with_it(tmp_path, work, options, said):
    ended, found = mpi(3, tmp_path, work, *options)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert found == []
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_the_end_of_a_process_ends_the_fit_of_its_daemon_thread_and_tells_the_others(tmp_path):
    ended, _ = mpi(2, tmp_path, "is_in_a_daemon_thread")
    children.printed(ended)
    assert "by rank 1 of 2: RuntimeError: the process ended during the fit" in ended.stderr


def test_communicators_that_sum_over_no_group_are_refused(tmp_path):
    ended, (said,) = mpi(1, tmp_path, "refuses")
    children.printed(ended)
    assert len(said) == 3
    assert all("that does not sum over one group of processes" in each for each in said)


@pytest.mark.parametrize("size", SIZES)
def test_the_program_of_the_page_runs(size, tmp_path):
    page = (children.TESTS.parents[1] / "docs" / "processes.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "train.py").write_text(program)
    starter = [MPIEXEC, "-n", str(size)]
    ended = children.python(  # mpi4py puts the program's folder in the place of the first one
        *("-m", "mpi4py", "train.py"), starter=starter, folders=[tmp_path], cwd=tmp_path
    )
    assert children.printed(ended) == "20 True\n"
    assert fastmlp.load(tmp_path / "net.safetensors").history.loss
