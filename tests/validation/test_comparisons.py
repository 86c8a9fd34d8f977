"""Arguments whose == is an array, raises an error or asks for more: refused in fastmlp's words."""

import operator

import numpy as np
import pandas
import pytest
from states import refused

import fastmlp


class Incomparable:
    """An object that nothing can be compared with; an integer to those who ask for one."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        raise ArithmeticError("the comparison failed")

    def __index__(self):
        return 4

    def __repr__(self):
        return type(self).__name__  # the same name of a test in every process


class Elsewhere(Incomparable):
    """The same, but no integer."""

    __index__ = None


# None of these is a valid count, name or path.
ODD = (
    *(np.array([2, 2]), np.array([]), np.array(2), np.array([2], object), np.array(["loss"] * 2)),
    *(pandas.Series([1, 2]), pandas.NA, np.ma.masked, [np.array([1, 2])], Elsewhere()),
)
X = np.random.default_rng(0).normal(size=(20, 3))
Y = X[:, 0]
# Each call with one argument that is odd; others of its kind have been made before.
CALLS = {
    "fit, batch_size": lambda net, odd: net.fit(X, Y, epochs=1, batch_size=odd),
    "partial_fit, batch_size": lambda net, odd: net.partial_fit(X, Y, batch_size=odd),
    "fit, epochs": lambda net, odd: net.fit(X, Y, epochs=odd),
    "fit, optimizer": lambda net, odd: net.fit(X, Y, epochs=1, optimizer=odd),
    "fit, l2": lambda net, odd: net.fit(X, Y, epochs=1, l2=odd),
    "partial_fit, clip_norm": lambda net, odd: net.partial_fit(X, Y, clip_norm=odd),
    "partial_fit, groups": lambda net, odd: net.partial_fit(X, Y, groups=odd),
    "fit, resume": lambda net, odd: net.fit(X, Y, epochs=1, resume=odd),
    "predictor, weights": lambda net, odd: net.predictor(weights=odd),
    "to_c, weights": lambda net, odd: net.to_c("net.c", weights=odd),
    "to_onnx, path": lambda net, odd: net.to_onnx(odd),
    "save, path": lambda net, odd: net.save(odd),
    "EarlyStopping, monitor": lambda _, odd: fastmlp.EarlyStopping(monitor=odd),
    "Checkpoint, monitor": lambda _, odd: fastmlp.Checkpoint("net", monitor=odd),
}


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments_are_refused_and_change_nothing(mlp, name, odd):
    net = mlp([3, 4, 1], rng=0)
    net.fit(X, Y, epochs=1, batch_size=4)
    net.partial_fit(X, Y, batch_size=4)  # its plan is kept
    words = "|".join((" is ", "expected str, bytes or os.PathLike", "must be a"))
    with refused((TypeError, ValueError), words, net) as caught:
        CALLS[name](net, odd)
    assert "ambiguous" not in str(caught.value)


def test_integers_of_other_types_are_not_compared(mlp):
    nets = [mlp([3, 4, 1], rng=0) for _ in range(2)]
    sizes = (4, Incomparable(), Incomparable(), np.int8(4), np.int64(4), 5, np.array(5)[()])
    for size in sizes:
        nets[0].partial_fit(X, Y, batch_size=size)
        nets[1].partial_fit(X, Y, batch_size=operator.index(size))
    for one, other in zip(*(net.weights for net in nets), strict=True):
        np.testing.assert_array_equal(one, other)
