"""What a model is at some moment, as one string: parameters, generator, everything fitted."""

from __future__ import annotations

import contextlib
import hashlib
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, Ensemble, History
from fastmlp._models.network import network_of


def state(model: Any) -> str:
    """Return a digest that two models share if they have the same bits and go on alike."""
    if isinstance(model, MLP):
        return digest([model.state_dict(), repr(network_of(model).rng.bit_generator.state)])
    if isinstance(model, Ensemble):
        return digest([state(member) for member in model])
    fitted = {k: v for k, v in vars(model).items() if k.endswith("_") and not k.startswith("_")}
    for name in ("coefs_", "intercepts_"):
        fitted[name] = getattr(model, name, None)
    return digest(fitted)


def same(a: Any, b: Any) -> None:
    """Fail unless two models have the same bits, will draw the same, and have seen the same."""
    members = zip(a, b, strict=True) if isinstance(a, Ensemble) else ()
    for one, other in ((a, b), *members):
        for name in ("loss", "val_loss", "learning_rate"):
            assert getattr(one.history, name) == getattr(other.history, name), name
    assert state(a) == state(b)


@contextlib.contextmanager
def refused(error: Any, words: str, model: Any) -> Iterator[Any]:
    """Expect an error that leaves a model, or all members of one, as they were."""

    def now() -> Any:
        nets = [model, *model] if isinstance(model, Ensemble) else [model]
        return state(model), digest([net.history for net in nets])

    before = now()
    with pytest.raises(error, match=words) as caught:
        yield caught
    assert now() == before


def digest(value: Any) -> str:
    """Return a digest of arrays, numbers, histories, and lists and dictionaries of them."""
    found = hashlib.sha256()
    _add(found.update, value)
    return found.hexdigest()


def _add(update: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        update(f"{value.dtype}{value.shape}".encode())
        update(repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
    elif isinstance(value, History):
        _add(update, {k: v for k, v in vars(value).items() if k != "seconds"})
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            update(str(key).encode())
            _add(update, value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        update(f"{len(value)}".encode())
        for item in value:
            _add(update, item)
    elif value is None or isinstance(value, str | bytes | bool | numbers.Number):
        update(repr(value).encode())
    else:  # an object without a value of its own
        update(type(value).__name__.encode())


def finite(value: Any) -> bool:
    """Whether no number in a result is NaN or infinite."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(finite(item) for item in value)
    return not isinstance(value, numbers.Real) or math.isfinite(value)
