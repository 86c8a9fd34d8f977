"""Real processes that sum by torch.distributed: equal to one process, no hang if one fails."""

import json
import os
import signal
import socket
import threading

import cases
import children
import numpy as np
import pytest

import fastmlp

pytest.importorskip("torch", reason="TorchCommunicator needs torch")

SECONDS = 120.0  # none waits so long; one that did would give up


def gloo(size, folder, work, timeout=SECONDS):
    """Run process_ranks.py on some ranks; return the processes, and what each rank has written."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    program, ended = children.TESTS / "process_ranks.py", [None] * size

    def start(rank):
        given = folder, work, address, rank, size, timeout
        options = {"folders": [children.TESTS], "cwd": folder, "OMP_NUM_THREADS": "1"}
        ended[rank] = children.python(program, *map(str, given), **options)

    threads = [threading.Thread(target=start, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    if work == "is_stopped":
        for thread in threads[:-1]:
            thread.join()
        os.kill(int((folder / "begun").read_text()), signal.SIGKILL)
    for thread in threads:
        thread.join()
    found = [folder / str(rank) for rank in range(size)]
    return ended, [json.loads(path.read_text()) for path in found if path.exists()]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_train_as_one(size, tmp_path):
    ended, found = gloo(size, tmp_path, "equal")
    for each in ended:
        children.printed(each)
    assert len(found) == size
    assert all(each == found[0] for each in found)
    for dtype in cases.DTYPES:
        both = [found[0][f"{how} {dtype}"] for how in ("alone", "together")]
        alone, together = ((losses, np.array(weights)) for losses, weights, _ in both)
        cases.agree(dtype, alone, together)


@pytest.mark.parametrize(
    ("work", "size", "timeout", "codes", "said"),
    [
        ("is_killed", 2, SECONDS, [1, -signal.SIGKILL], "communicator failed on rank 0 of 2"),
        ("is_stopped", 2, 5.0, [1, -signal.SIGKILL], "communicator failed on rank 0 of 2"),
        ("is_in_a_daemon_thread", 2, SECONDS, [0, 0], "rank 1 of 2: RuntimeError: the process end"),
        *(
            pytest.param(work, 4, timeout, [1, 1, 1, -signal.SIGKILL], "on rank 0 of 4", marks=slow)
            for work, timeout in [("is_killed", SECONDS), ("is_stopped", 5.0)]
            for slow in [pytest.mark.slow]
        ),
    ],
)
def test_a_process_that_is_gone_or_hangs_ends_all_fits(tmp_path, work, size, timeout, codes, said):
    ended, _ = gloo(size, tmp_path, work, timeout)
    assert [each.returncode for each in ended] == codes
    assert said in ended[0].stderr


WRONG = [
    (("node", 0, 1), ValueError, "address is 'node' but the machine of rank 0 and a port"),
    (("node:0", 0, 1), ValueError, "address is 'node:0'"),
    ((None, 0, 1), ValueError, "address is None"),
    (("node:1", 2, 2), ValueError, "rank is 2 and size 2 but ranks are 0 to size - 1"),
    (("node:1", -1, 2), ValueError, "rank"),
    (("node:1", 0, 0), ValueError, "size"),
    (("node:1", 0, 1, 0.0), ValueError, "timeout"),
    (("127.0.0.1:1", 1, 2, 0.5), ConnectionError, "rank 1 of 2 has not found the others at 127"),
]


@pytest.mark.parametrize(("given", "kind", "said"), WRONG)
def test_wrong_arguments_and_absent_ranks_are_named(given, kind, said):
    with pytest.raises(kind, match=said):
        fastmlp.TorchCommunicator(*given)
