"""What all ranks of a fit must have alike: by name, with both values, on every rank."""

import numpy as np
import pytest
import ranks
from ranks import X, Y, net, schedule, train
from states import refused

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine

# What is said of it: what rank 1 has instead, of the model and of the fit.
DIFFERENT = {
    "layer_sizes": ({"sizes": (3, 6, 1)}, {}),
    "activations": ({"activation": "tanh"}, {}),
    "dropout": ({"dropout": 0.5}, {}),
    "layer_norm": ({"layer_norm": "after"}, {}),
    "parametric": ({"parametric": True}, {}),
    "scale": ({"scale": True}, {}),
    "loss": ({"loss": fastmlp.Huber(0.5)}, {}),
    "dtype": ({"dtype": "float64"}, {}),
    "rng": ({"rng": 1}, {}),
    "optimizer": ({}, {"optimizer": fastmlp.Adam(beta_1=0.8)}),
    "l2": ({}, {"l2": 0.1}),
    "clip_norm": ({}, {"clip_norm": 1.0}),
    "groups": ({}, {"groups": fastmlp.Groups(bias_rate=0.5)}),
    "epochs": ({}, {"epochs": 4}),
    "batch_size": ({}, {"batch_size": 24}),
    "shuffle": ({}, {"shuffle": False}),
    "validation_data": ({}, {"validation_data": (X, Y)}),
    "learning_rates": ({}, {"optimizer": fastmlp.Adam(schedule(0.002))}),
}


def same(name):
    """Return what rank 0 has: a schedule of the same name where only its values differ."""
    return {"optimizer": fastmlp.Adam(schedule(0.001))} if name == "learning_rates" else {}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_named_with_both_values_on_every_rank(mlp, name):
    model, options = DIFFERENT[name]

    def work(communicator):
        other = communicator.rank == 1
        own = net(mlp, **(model if other else {}))
        with ranks.unchanged(own):
            train(own, communicator, **(options if other else same(name)))

    told = ranks.told(ranks.run(3, work), ValueError)
    assert f"{name} of rank 1 is " in told
    assert " of rank 0: " in told


def assign(model):
    model.biases = [np.ones(5), [0]]


def assigning(*epochs):
    return {"callbacks": [lambda state: assign(state.model) if state.epoch in epochs else None]}


# What rank 1 does before the fit, its options, and what all ranks hear.
UNLIKE = {
    "weights before the first step": (assign, {}, "the state of the model of rank 1 is"),
    "weights in epochs": (None, assigning(0, 1), "checksum of the weights of rank 1 is"),
    "weights after all epochs": (None, assigning(2), "checksum of the weights of rank 1 is"),
    "a fit that resumes": (lambda model: model.fit(X, Y, epochs=1), {"resume": True}, "rank 1"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_rank_that_is_unlike_the_other_is_noticed(mlp, name):
    prepare, options, words = UNLIKE[name]

    def work(communicator):
        model = net(mlp)
        if communicator.rank == 1 and prepare is not None:
            prepare(model)
        train(model, communicator, **(options if communicator.rank == 1 else {}))

    for error in ranks.raised(ranks.run(2, work)):
        assert words in str(error)


def test_engines_of_two_levels_are_refused():
    def work(communicator):
        train(net([fastmlp.MLP, reference.MLP][communicator.rank]), communicator)

    for error in ranks.raised(ranks.run(2, work)):
        assert f"CPU level of rank 1 is numpy but {native_engine.level()} of rank 0" in str(error)


# ---- communicators -------------------------------------------------------------------------------


class Bad:
    rank, size = 0, 1

    def __init__(self, **attributes):
        self.allreduce = print
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("communicator", "error", "said"),
    [
        (4, TypeError, "rank is None"),
        (Bad(rank=None), TypeError, "rank is None"),
        (Bad(size=2.0), TypeError, "size is 2.0"),
        (Bad(size=True), TypeError, "size is True"),
        (Bad(allreduce=None), TypeError, "without a method allreduce"),
        (Bad(rank=2, size=2), ValueError, "rank 2 and size 2"),
        (Bad(rank=-1), ValueError, "rank -1 and size 1"),
    ],
)
def test_what_is_no_communicator_is_refused(mlp, communicator, error, said):
    with refused(error, said, own := net(mlp)):
        train(own, communicator)


def test_a_communicator_that_fails_ends_the_fit_there(mlp):
    calls = []

    def allreduce(buffer):
        calls.append(len(buffer))
        if len(calls) == 5:
            raise OSError("the network is down")

    own = net(mlp)
    with refused(RuntimeError, r"rank 0 of 1 \(OSError: the network is down\)", own):
        train(own, Bad(allreduce=allreduce))
    assert len(calls) == 5


def test_a_rank_that_is_gone_ends_the_fit_of_the_others(mlp, monkeypatch):
    monkeypatch.setattr(ranks, "SECONDS", 1)

    def work(communicator):
        def leave(state):
            communicator.allreduce = lambda buffer: None
            raise ValueError("dead")

        train(net(mlp), communicator, callbacks=[leave] if communicator.rank == 2 else [])

    *others, dead = ranks.raised(ranks.run(3, work))
    assert str(dead) == "dead"
    for error in others:
        assert "another rank may have died" in str(error)
