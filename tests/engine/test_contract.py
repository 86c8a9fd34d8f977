"""One seam, two sides: what the native engine and the reference must have in common, and have."""

import inspect

import cases
import pytest

from fastmlp._engine import compiled, native, protocol, thread_count
from fastmlp._engine.numpy import numpy_engine

# What the native side has besides, for its own modules only.
NATIVE_ONLY = {"Engine": {"coalitions", "predict_into"}, "Predictor": set()}


def pair(name):
    """Return the contract, of predictors that of the NumPy side, and an object of either side."""
    network = cases.build([3, 4, 2])
    engines = compiled(network), numpy_engine.Engine(network)
    if name == "Engine":
        return protocol.Engine, engines
    sides = tuple(engine.predictor() for engine in engines)
    return type(sides[1]), sides


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def signature(function):
    """Return names and defaults of the parameters."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in found if p.name != "self"]


@pytest.mark.parametrize("name", NATIVE_ONLY)
def test_both_sides_have_what_the_contract_says_and_no_more(name):
    protocol, (native, numpy) = pair(name)
    wanted = public(protocol)
    assert public(native) - NATIVE_ONLY[name] == wanted
    assert public(type(numpy)) | public_attributes(numpy) == wanted


def public_attributes(thing):
    return {name for name in vars(thing) if not name.startswith("_")}


@pytest.mark.parametrize("name", NATIVE_ONLY)
def test_methods_have_the_same_parameters_and_defaults(name):
    protocol, sides = pair(name)
    methods = [key for key in public(protocol) if inspect.isfunction(getattr(protocol, key))]
    assert len(methods) > 1
    for method in methods:
        for side in sides:
            expected = signature(getattr(protocol, method))
            assert signature(getattr(type(side), method)) == expected, (side, method)


def test_threads_knows_the_numbers_of_the_native_side():
    for name in ("MAX_THREADS", "CALL_ROWS"):
        assert getattr(thread_count, name) == native.LIMITS[name]
